"""The parts that charts share: grids, marks, figures along an axis, and legends, as markup.

Places along an axis are in percent, so nothing is scaled: a phone shows the same chart narrower, not smaller.
"""

from __future__ import annotations

import html
from collections.abc import Sequence

import msgspec

from edge_runtime.bench.units import Axis

COLOURS = 8
"""Series that have a colour of their own; the next ones begin again."""


class Swatch(msgspec.Struct, frozen=True):
    """One entry of a legend: a glyph of 26 x 12 pixels and what it stands for."""

    label: str
    glyph: str
    series: int = 0


def escape(text: str) -> str:
    """Text as it may stand in markup, inside an attribute too."""
    return html.escape(text, quote=True)


def series(number: int) -> str:
    """The class that gives a series its colour."""
    return f"s{number % COLOURS}"


def tip(text: str) -> str:
    """What a pointer, or a screen reader, is told of a mark."""
    return f"<title>{escape(text)}</title>"


def columns(scale: Axis, height: int) -> str:
    """The vertical lines of a grid."""
    lines = []
    for tick in scale.ticks:
        x = f"{scale.at(tick):g}%"
        lines.append(f'<line class="{"base" if tick == 0 else "grid"}" x1="{x}" x2="{x}" y1="0" y2="{height}"/>')
    return "".join(lines)


def level(y: float, label: str, *, minor: bool = False) -> str:
    """A horizontal line of the grid at `y` percent from the top, with its figure to the left."""
    kind, name = "base" if y == 100 else "grid", ' class="minor"' if minor else ""
    line = f'<line class="{kind}" x1="0" x2="100%" y1="{y:g}%" y2="{y:g}%"/>'
    return f'{line}<text{name} x="-8" y="{y:g}%" dy="4" text-anchor="end">{escape(label)}</text>'


def foot(scale: Axis) -> str:
    """The figures under a chart. The last has the unit; a phone shows every other one, first and last among them."""
    texts, last = [], len(scale.ticks) - 1
    kept = {*range(0, last - 1, 2), last}
    for number, tick in enumerate(scale.ticks):
        name = ' class="minor"' if number not in kept and last > 3 else ""
        anchor = "end" if scale.at(tick) > 97 else "middle"
        label = f"{scale.label(tick)} {scale.unit}" if number == last else scale.label(tick)
        texts.append(f'<text{name} x="{scale.at(tick):g}%" y="14" text-anchor="{anchor}">{escape(label.strip())}</text>')
    if scale.log:
        texts.append('<text x="100%" y="30" text-anchor="end">logarithmic scale</text>')
    return f'<svg height="{34 if scale.log else 18}" aria-hidden="true">{"".join(texts)}</svg>'


def legend(entries: Sequence[Swatch]) -> str:
    """What each colour and stroke stands for."""
    return '<div class="legend">' + "".join(
        f'<span class="{series(e.series)}"><svg aria-hidden="true">{e.glyph}</svg>{escape(e.label)}</span>' for e in entries
    ) + "</div>"  # fmt: skip
