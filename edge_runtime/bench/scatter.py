"""What a faster candidate costs in accuracy: each as a dot, and the line of those that no other beats in both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil, floor, log10

import msgspec

from edge_runtime.bench.page import Chart
from edge_runtime.bench.svg import Swatch, columns, escape, foot, legend, level, series, tip
from edge_runtime.bench.units import Axis, axis, figure

_HEIGHT = 240
_LINE = 15
"""Pixels between the lines of two labels."""
_LETTER = 1.8
"""Percent of the width that a letter takes, about: of a plot of 400 pixels, as a phone has it."""


class Dot(msgspec.Struct, frozen=True):
    """One candidate. `series` picks the colour that it has in the other charts."""

    label: str
    seconds: float
    accuracy: float
    series: int = 0


def frontier(dots: Sequence[Dot], *, lower: bool = False) -> list[Dot]:
    """Those that no other beats in latency and accuracy at once, the fastest first. `lower`: less is more accurate."""
    sign, found = -1.0 if lower else 1.0, list[Dot]()
    for dot in sorted(dots, key=lambda d: (d.seconds, -sign * d.accuracy)):
        if not found or sign * dot.accuracy > sign * found[-1].accuracy:
            found.append(dot)
    return found


def pareto(dots: Sequence[Dot], metric: str, *, lower: bool = False, title: str = "", caption: str = "") -> Chart:
    """Accuracy (upwards) over the median latency (to the right, from zero): the best is at the top left. `lower`: less is
    more accurate, and the axis runs down."""
    across = axis(max((dot.seconds for dot in dots), default=0.0), "seconds")
    up = _Up(_around([dot.accuracy for dot in dots]), lower)
    best = frontier(dots, lower=lower)
    levels = "".join(level(up.at(tick), up.axis.label(tick)) for tick in up.axis.ticks)
    marks = "".join(_dot(dot, across, up, metric, dot in best) for dot in dots)
    plot = (
        f'<svg height="{_HEIGHT}" role="img" aria-label="{escape(title or "accuracy over latency")}">{levels}'
        f"{columns(across, _HEIGHT)}{_line(best, across, up)}{_names(dots, across, up)}{marks}</svg>{foot(across)}"
    )
    swatches = [
        Swatch("worth choosing: nothing measured beats it in both", '<circle class="dot any" cx="13" cy="6" r="5"/>'),
        Swatch("another is faster and as accurate", '<circle class="dot any beaten" cx="13" cy="6" r="5"/>'),
        Swatch("the best accuracy up to a latency", '<line class="front" x2="26" y1="6" y2="6"/>'),
    ]
    return Chart(f'<div class="plot wide">{plot}</div>{legend(swatches)}', title, caption)


class _Up(msgspec.Struct, frozen=True):
    """Where an accuracy lies, in percent from the top."""

    axis: Axis
    lower: bool

    def at(self, value: float) -> float:
        return self.axis.at(value) if self.lower else 100 - self.axis.at(value)


def _around(values: Sequence[float]) -> Axis:
    """An axis around values that need not be near zero, with round marks and some room on both sides."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    room = max((high - low) * 0.3, abs(high) * 1e-4, 1e-9)
    raw = (high - low + 2 * room) / 4
    power = 10.0 ** floor(log10(raw))
    step = next(power * n for n in (1, 2, 2.5, 5, 10) if power * n >= raw * 0.999)
    first, last = floor((low - room) / step), ceil((high + room) / step)
    ticks = tuple(round(step * i, 12) for i in range(first, last + 1))
    return Axis(ticks[0], ticks[-1], False, ticks, 1.0, "")


def _dot(dot: Dot, across: Axis, up: _Up, metric: str, best: bool) -> str:
    told = tip(f"{dot.label}: {figure(dot.seconds, 'seconds')}, {metric} {dot.accuracy:.4g}")
    kind = "dot" if best else "dot beaten"
    place = f'cx="{across.at(dot.seconds):g}%" cy="{up.at(dot.accuracy):g}%"'
    return f'<circle class="{kind} {series(dot.series)}" {place} r="5.5">{told}</circle>'


def _line(best: Sequence[Dot], across: Axis, up: _Up) -> str:
    """The steps of the frontier, from the bottom to the right edge."""
    if not best:
        return ""
    steps = "".join(f"H{across.at(dot.seconds):g}V{up.at(dot.accuracy):g}" for dot in best)
    return (
        f'<svg viewBox="0 0 100 100" preserveAspectRatio="none" height="{_HEIGHT}">'
        f'<path class="front" d="M{across.at(best[0].seconds):g} 100{steps}H100"/></svg>'
    )


def _names(dots: Sequence[Dot], across: Axis, up: _Up) -> str:
    """A label near each dot, where neither a dot nor another label is."""
    places = [(across.at(dot.seconds), up.at(dot.accuracy) / 100 * _HEIGHT) for dot in dots]
    taken = [_Box(x - 1, x + 1, y - 6, y + 6) for x, y in places]
    texts = []
    for dot, (x, y) in sorted(zip(dots, places, strict=True), key=lambda d: (d[1][1], d[1][0])):
        width = len(dot.label) * _LETTER
        spots = list(_spots(x, y, width))
        spot = next((s for s in spots if s.box.inside and not any(s.box.meets(box) for box in taken)), spots[0])
        taken.append(spot.box)
        place = f'x="{x:g}%" dx="{spot.shift}" y="{spot.y:.0f}" dy="4" text-anchor="{spot.anchor}"'
        texts.append(f'<text class="name {series(dot.series)}" {place}>{escape(dot.label)}</text>')
    return "".join(texts)


class _Box(msgspec.Struct, frozen=True):
    """What is taken: percent of the width, pixels of the height."""

    left: float
    right: float
    top: float
    bottom: float

    @property
    def inside(self) -> bool:
        return self.left >= 0 and self.right <= 100 and self.top >= 0 and self.bottom <= _HEIGHT

    def meets(self, other: _Box) -> bool:
        across = self.left < other.right and other.left < self.right
        return across and self.top < other.bottom and other.top < self.bottom


class _Spot(msgspec.Struct, frozen=True):
    """A place for a label."""

    anchor: str
    shift: int
    y: float
    box: _Box


def _spots(x: float, y: float, width: float) -> Iterator[_Spot]:
    """Where a label may stand, the nearest first: over its dot, under it, beside it, then further up and down."""
    for n in range(1, _HEIGHT // _LINE):
        for line in (y - n * _LINE, y + n * _LINE):
            yield _Spot("middle", 0, line, _Box(x - width / 2, x + width / 2, line - 7, line + 7))
        if n == 1:
            yield _Spot("start", 10, y, _Box(x + 1.2, x + 1.2 + width, y - 7, y + 7))
            yield _Spot("end", -10, y, _Box(x - 1.2 - width, x - 1.2, y - 7, y + 7))
        for line in (y - n * _LINE, y + n * _LINE):
            yield _Spot("start", 4, line, _Box(x, x + width, line - 7, line + 7))
            yield _Spot("end", -4, line, _Box(x - width, x, line - 7, line + 7))
