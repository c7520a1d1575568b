"""Ratios around 1: a dot a row with its interval as a line, left of the middle is faster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from edge_runtime.bench.page import Chart
from edge_runtime.bench.svg import Swatch, escape, foot, legend, tip
from edge_runtime.bench.units import CROSS, Axis

_HEIGHT = 30
_MOST = 4.0
"""The axis ends there at the latest; past it, an arrow says that a line goes on."""
_MARKS = (0.25, 0.33, 0.5, 0.67, 0.8, 0.9, 0.95, 1.0, 1.05, 1.1, 1.25, 1.5, 2.0, 3.0, 4.0)


class Branch(msgspec.Struct, frozen=True):
    """One row: a ratio and the interval it lies in, where there is one."""

    label: str
    value: float
    low: float | None
    high: float | None
    mark: Literal["good", "bad", "muted"]

    @property
    def said(self) -> str:
        """The row in words."""
        sure = "" if self.low is None or self.high is None else f", interval {self.low:.2f} to {self.high:.2f}"
        return f"{self.label}: {self.value:.2f}{CROSS}{sure}"


def forest(rows: Sequence[Branch], *, title: str = "", caption: str = "") -> Chart:
    """All rows over one logarithmic axis that has 1 on it: half and double are equally far from it."""
    scale = ratio_axis([v for row in rows for v in (row.value, row.low, row.high) if v is not None])
    drawn = "".join(_row(row, scale) for row in rows)
    under = f'<div class="label blank"></div><div class="value blank"></div><div class="track">{foot(scale)}</div>'
    swatches = [
        Swatch(text, f'<g class="{mark}"><line class="span" x2="26" y1="6" y2="6"/><circle cx="13" cy="6" r="4.5"/></g>')
        for mark, text in (("good", "faster"), ("bad", "slower"), ("muted", "inconclusive: the interval has 1 in it"))
    ]
    return Chart(f'<div class="rows forest">{drawn}{under}</div>{legend(swatches)}', title, caption)


def ratio_axis(values: Sequence[float]) -> Axis:
    """A logarithmic axis around 1 with room for these ratios, as far as it goes."""
    reach = min(_MOST, max([1.1, *(max(v, 1 / v) for v in values if v > 0)]) * 1.03)
    inside = [tick for tick in _MARKS if 1 / reach <= tick <= reach]
    low, high = 1 / reach, reach
    places = {tick: Axis(low, high, True, (), 1.0, "").at(tick) for tick in inside}
    kept = [1.0]
    for tick in sorted(inside, key=lambda t: (t not in (low, high), t not in (0.5, 0.8, 1.25, 2.0), abs(places[t] - 50))):
        if all(abs(places[tick] - places[other]) >= 10 for other in kept):
            kept.append(tick)
    ticks = sorted(kept)
    odd = ticks.index(1.0) % 2  # a phone shows every other figure: 1 is to be one of them
    return Axis(low, high, True, tuple(ticks[odd:]), 1.0, CROSS)


def _row(row: Branch, scale: Axis) -> str:
    middle = _HEIGHT / 2
    grid = "".join(
        f'<line class="{"one" if tick == 1 else "grid"}" x1="{x:g}%" x2="{x:g}%" y1="0" y2="{_HEIGHT}"/>'
        for tick, x in ((tick, scale.at(tick)) for tick in scale.ticks)
    )
    drawn = ""
    if row.low is not None and row.high is not None:
        low, high = scale.at(row.low), scale.at(row.high)
        drawn += f'<line class="span" x1="{low:g}%" x2="{high:g}%" y1="{middle:g}" y2="{middle:g}"/>'
        if row.high > scale.high:
            drawn += f'<svg x="100%"><path d="M0 {middle - 5:g}l8 5-8 5z"/></svg>'
        if row.low < scale.low:
            drawn += f'<svg x="0"><path d="M0 {middle - 5:g}l-8 5 8 5z"/></svg>'
    drawn += f'<circle cx="{scale.at(row.value):g}%" cy="{middle:g}" r="5"/>'
    return (
        f'<div class="label">{escape(row.label)}</div><div class="value">{row.value:.2f}{CROSS}</div>'
        f'<svg class="track" height="{_HEIGHT}" role="img" aria-label="{escape(row.said)}">'
        f'{tip(row.said)}{grid}<g class="{row.mark}">{drawn}</g></svg>'
    )
