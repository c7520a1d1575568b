"""A plot of lines through points, over two axes that begin at zero."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from edge_runtime.bench.page import Chart
from edge_runtime.bench.svg import Swatch, columns, escape, foot, legend, level, series, tip
from edge_runtime.bench.units import Axis, Kind, axis

_HEIGHT = 220


class Line(msgspec.Struct, frozen=True):
    """Points from left to right; `steps` holds each value until the next."""

    label: str
    points: tuple[tuple[float, float], ...]
    series: int = 0
    steps: bool = False
    dots: bool = False
    dash: str = ""


def lines(
    drawn: Sequence[Line], across: Kind, up: Kind, *, title: str = "", caption: str = "", wide: bool = False
) -> Chart:
    """All of them on the same axes. What lies above the upper end is drawn on it."""
    right = axis(max((x for line in drawn for x, _ in line.points), default=1.0), across, marks=6)
    high = axis(max((y for line in drawn for _, y in line.points), default=1.0), up)
    levels = "".join(level(100 - high.at(tick), f"{high.label(tick)} {high.unit}".strip()) for tick in high.ticks)
    paths = "".join(_path(line, right, high) for line in drawn)
    dots = "".join(_dots(line, right, high) for line in drawn if line.dots)
    plot = (
        f'<svg height="{_HEIGHT}" role="img" aria-label="{escape(title or "lines")}">{levels}{columns(right, _HEIGHT)}'
        f'<svg viewBox="0 0 100 100" preserveAspectRatio="none" height="{_HEIGHT}">{paths}</svg>{dots}</svg>{foot(right)}'
    )
    swatches = [
        Swatch(line.label, f'<line class="line" x2="26" y1="6" y2="6" stroke-dasharray="{line.dash}"/>', line.series)
        for line in drawn
    ]
    return Chart(f'<div class="plot{" wide" if wide else ""}">{plot}</div>{legend(swatches)}', title, caption)


def _path(line: Line, right: Axis, high: Axis) -> str:
    places = [(right.at(x), 100 - high.at(y)) for x, y in line.points]
    if not places:
        return ""
    (x, y), *rest = places
    path = f"M{x:g} {y:g}" + "".join(f"H{x:g}V{y:g}" if line.steps else f"L{x:g} {y:g}" for x, y in rest)
    return f'<path class="line {series(line.series)}" stroke-dasharray="{line.dash}" d="{path}">{tip(line.label)}</path>'


def _dots(line: Line, right: Axis, high: Axis) -> str:
    return "".join(
        f'<circle class="dot {series(line.series)}" cx="{right.at(x):g}%" cy="{100 - high.at(y):g}%" r="4">'
        f"{tip(f'{line.label}: {y:.3g} at {x:.3g}')}</circle>"
        for x, y in line.points
    )
