"""What a faster candidate costs in accuracy: each as a dot, and the line of those that no other beats in both."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor, log10

import msgspec

from edge_runtime.bench.page import Chart
from edge_runtime.bench.svg import Swatch, columns, escape, foot, legend, level, series, tip
from edge_runtime.bench.units import Axis, axis, figure

_HEIGHT = 240
_LINE = 15
"""Pixels between the lines of two labels."""
_NEAR = 34.0
"""Percent of the width that a label may take: dots closer than that must not have theirs on the same line."""


class Dot(msgspec.Struct, frozen=True):
    """One candidate. `series` picks the colour that it has in the other charts."""

    label: str
    seconds: float
    accuracy: float
    series: int = 0


def frontier(dots: Sequence[Dot]) -> list[Dot]:
    """Those that no other beats in latency and accuracy at once, the fastest first."""
    found: list[Dot] = []
    for dot in sorted(dots, key=lambda d: (d.seconds, -d.accuracy)):
        if not found or dot.accuracy > found[-1].accuracy:
            found.append(dot)
    return found


def pareto(dots: Sequence[Dot], metric: str, *, title: str = "", caption: str = "") -> Chart:
    """Accuracy (upwards) over the median latency (to the right, from zero): the best is at the top left."""
    across = axis(max((dot.seconds for dot in dots), default=0.0), "seconds")
    up = _around([dot.accuracy for dot in dots])
    best = frontier(dots)
    levels = "".join(level(100 - up.at(tick), up.label(tick)) for tick in up.ticks)
    marks = "".join(_dot(dot, across, up, metric, dot in best) for dot in dots)
    plot = (
        f'<svg height="{_HEIGHT}" role="img" aria-label="{escape(title or "accuracy over latency")}">{levels}'
        f"{columns(across, _HEIGHT)}{_line(best, across, up)}{marks}{_names(dots, across, up)}</svg>{foot(across)}"
    )
    swatches = [
        Swatch("candidate", '<circle class="dot" cx="13" cy="6" r="4.5"/>'),
        Swatch("beaten in both by another", '<circle class="dot beaten" cx="13" cy="6" r="4.5"/>'),
        Swatch("nothing measured is both faster and more accurate", '<line class="front" x2="26" y1="6" y2="6"/>'),
    ]
    return Chart(f'<div class="plot wide">{plot}</div>{legend(swatches)}', title, caption)


def _around(values: Sequence[float]) -> Axis:
    """An axis around values that need not be near zero, with round marks and some room on both sides."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    room = max((high - low) * 0.25, abs(high) * 0.005, 1e-9)
    raw = (high - low + 2 * room) / 4
    power = 10.0 ** floor(log10(raw))
    step = next(power * n for n in (1, 2, 2.5, 5, 10) if power * n >= raw * 0.999)
    first, last = floor((low - room) / step), ceil((high + room) / step)
    ticks = tuple(round(step * i, 12) for i in range(first, last + 1))
    return Axis(ticks[0], ticks[-1], False, ticks, 1.0, "")


def _dot(dot: Dot, across: Axis, up: Axis, metric: str, best: bool) -> str:
    told = tip(f"{dot.label}: {figure(dot.seconds, 'seconds')}, {metric} {dot.accuracy:.4g}")
    kind = "dot" if best else "dot beaten"
    place = f'cx="{across.at(dot.seconds):g}%" cy="{100 - up.at(dot.accuracy):g}%"'
    return f'<circle class="{kind} {series(dot.series)}" {place} r="5.5">{told}</circle>'


def _line(best: Sequence[Dot], across: Axis, up: Axis) -> str:
    """The steps of the frontier, from the bottom to the right edge."""
    if not best:
        return ""
    steps = "".join(f"H{across.at(dot.seconds):g}V{100 - up.at(dot.accuracy):g}" for dot in best)
    return (
        f'<svg viewBox="0 0 100 100" preserveAspectRatio="none" height="{_HEIGHT}">'
        f'<path class="front" d="M{across.at(best[0].seconds):g} 100{steps}H100"/></svg>'
    )


def _names(dots: Sequence[Dot], across: Axis, up: Axis) -> str:
    """A label beside each dot, moved up or down to where no other label is."""
    taken: list[tuple[float, float]] = []
    texts = []
    for dot in sorted(dots, key=lambda d: (-d.accuracy, d.seconds)):
        x, middle = across.at(dot.seconds), (100 - up.at(dot.accuracy)) / 100 * _HEIGHT
        tried = (middle + side * _LINE * n for n in range(len(dots) + 1) for side in (1, -1))
        free = (y for y in tried if all(abs(y - ty) >= _LINE - 1 or abs(x - tx) >= _NEAR for tx, ty in taken))
        y = next((y for y in free if 6 <= y <= _HEIGHT - 6), middle)
        taken.append((x, y))
        anchor, shift = ("end", -10) if x > 100 - _NEAR else ("start", 10)
        texts.append(
            f'<text class="name {series(dot.series)}" x="{x:g}%" dx="{shift}" y="{y:.0f}" dy="4" '
            f'text-anchor="{anchor}">{escape(dot.label)}</text>'
        )
    return "".join(texts)
