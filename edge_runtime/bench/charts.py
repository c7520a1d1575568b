"""Bars: one figure a row, each from zero, with how sure it is."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from edge_runtime.bench.page import Chart
from edge_runtime.bench.svg import Swatch, columns, escape, foot, legend, series, tip
from edge_runtime.bench.units import Axis, Kind, axis, figure

_HEIGHT = 38
_TOP, _THICK = 11, 16
_MIDDLE = _TOP + _THICK / 2
_CROWDED = 3.0
"""A tail is drawn to at most so many times the longest bar; past it, an arrow says that it goes on."""


class Bar(msgspec.Struct, frozen=True):
    """One bar: a value, the interval it lies in, and how far its tail goes. `series` picks the colour, from 0."""

    label: str
    value: float
    note: str = ""
    low: float | None = None
    high: float | None = None
    tail: tuple[float, ...] = ()
    """Marks on the whisker beyond the bar, ascending: p95 and p99."""
    series: int = 0

    def said(self, kind: Kind) -> str:
        """The bar in words."""
        text = f"{self.label}: {figure(self.value, kind)}"
        if self.low is not None and self.high is not None:
            text += f", 95 % interval {figure(self.low, kind)} to {figure(self.high, kind)}"
        return text + (f", tail {', '.join(figure(mark, kind) for mark in self.tail)}" if self.tail else "")


class Stack(msgspec.Struct, frozen=True):
    """One bar of up to three parts."""

    label: str
    values: tuple[float, ...]
    series: int = 0


def bars(rows: Sequence[Bar], kind: Kind, *, title: str = "", caption: str = "", marks: int = 5) -> Chart:
    """Horizontal bars from zero, each with its interval as a band and its tail as a whisker.

    `marks` is about how many figures the axis has.
    """
    scale = bar_axis(rows, kind, marks)
    drawn = (
        _row(row.label, figure(row.value, kind), row.note, row.said(kind), _bar(row, scale), row.series, scale)
        for row in rows
    )
    return Chart(f'<div class="rows">{"".join(drawn)}{_foot(scale)}</div>', title, caption)


def bar_axis(rows: Sequence[Bar], kind: Kind, marks: int = 5) -> Axis:
    """The axis on which these bars have room, and their tails where they are not far longer."""
    longest = max((row.value for row in rows), default=0.0)
    ends = [row.tail[-1] for row in rows if row.tail] + [row.high for row in rows if row.high is not None]
    return axis(max(longest, min(max(ends, default=0.0), _CROWDED * longest)), kind, marks=marks)


def stacked(
    rows: Sequence[Stack], parts: Sequence[str], kind: Kind, *, title: str = "", caption: str = "", marks: int = 5
) -> Chart:
    """Horizontal bars from zero, each made of up to three parts in the order of `parts`."""
    scale = axis(max((sum(row.values) for row in rows), default=0.0), kind, marks=marks)
    drawn = []
    for row in rows:
        said = f"{row.label}: " + ", ".join(f"{part} {figure(v, kind)}" for part, v in zip(parts, row.values, strict=True))
        start, pieces = 0.0, ""
        for number, value in enumerate(row.values):
            left, right = scale.at(start), scale.at(start + value)
            place = f'x="{left:g}%" y="{_TOP}" width="{right - left:.3f}%" height="{_THICK}"'
            pieces += f'<rect class="bar part{number}" {place}/>'
            start += value
        drawn.append(_row(row.label, figure(start, kind), "", said, pieces, row.series, scale))
    swatches = [
        Swatch(part, f'<rect class="bar part{i}" y="1" width="26" height="10" rx="2"/>') for i, part in enumerate(parts)
    ]
    return Chart(f'<div class="rows">{"".join(drawn)}{_foot(scale)}</div>{legend(swatches)}', title, caption)


def _row(label: str, value: str, note: str, said: str, drawn: str, number: int, scale: Axis) -> str:
    """One row: what it is, its figure, and what was drawn of it."""
    small = f"<small>{escape(note)}</small>" if note else ""
    return (
        f'<div class="label">{escape(label)}</div><div class="value">{escape(value)}{small}</div>'
        f'<svg class="track {series(number)}" height="{_HEIGHT}" role="img" aria-label="{escape(said)}">'
        f"{tip(said)}{columns(scale, _HEIGHT)}{drawn}</svg>"
    )


def _bar(row: Bar, scale: Axis) -> str:
    """The bar, the band of its interval, and the whisker with a stroke at each mark."""
    end = scale.at(row.value)
    drawn = f'<rect class="bar" x="0" y="{_TOP}" width="{end:g}%" height="{_THICK}" rx="2"/>'
    if row.low is not None and row.high is not None:
        low, high = scale.at(row.low), scale.at(row.high)
        drawn += f'<rect class="ci" x="{low:g}%" y="{_TOP}" width="{max(high - low, 0.1):.3f}%" height="{_THICK}"/>'
    for number, mark in enumerate(row.tail):
        if mark <= scale.high:
            x, half = f"{scale.at(mark):g}%", 4 if number < len(row.tail) - 1 else 7
            drawn += f'<line class="whisker" x1="{x}" x2="{x}" y1="{_MIDDLE - half:g}" y2="{_MIDDLE + half:g}"/>'
    if row.tail:
        last = scale.at(row.tail[-1])
        drawn += f'<line class="whisker" x1="{end:g}%" x2="{last:g}%" y1="{_MIDDLE:g}" y2="{_MIDDLE:g}"/>'
        if row.tail[-1] > scale.high:
            drawn += f'<svg x="100%"><path class="more" d="M0 {_MIDDLE - 5:g}l8 5-8 5z"/></svg>'
    return drawn


def _foot(scale: Axis) -> str:
    """The axis under the rows."""
    return f'<div class="label blank"></div><div class="value blank"></div><div class="track">{foot(scale)}</div>'
