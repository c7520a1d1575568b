"""One self-contained page of HTML: a title, what was found, and sections of text, tables and charts.

No script, no font, no image and no address is fetched: the page shows the same on a bench without a network, on paper and
in ten years. The same values give the same bytes. All text that comes in is escaped here; only charts bring markup.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, TypeAlias

import msgspec

from edge_runtime.bench.style import CSS
from edge_runtime.bench.svg import escape as _e

Mark = Literal["", "best", "good", "bad", "muted"]


class Cell(msgspec.Struct, frozen=True):
    """A table's cell that is more than plain text: marked, or with a second, smaller line."""

    text: str
    mark: Mark = ""
    note: str = ""


class Table(msgspec.Struct, frozen=True):
    """Rows under a head. `align` has one letter a column: l for words, r for figures."""

    head: tuple[str, ...]
    rows: tuple[tuple[str | Cell, ...], ...]
    align: str = ""
    caption: str = ""


class Notes(msgspec.Struct, frozen=True):
    """Sentences one below the other: doubts, failures, remarks."""

    items: tuple[str, ...]
    mark: Literal["doubt", "failure", "remark"] = "remark"


class Code(msgspec.Struct, frozen=True):
    """What to type."""

    text: str


class Chart(msgspec.Struct, frozen=True):
    """A chart's markup, as `charts` and `plots` draw it, with a title above and what it shows in words below."""

    markup: str
    title: str = ""
    caption: str = ""


class Pair(msgspec.Struct, frozen=True):
    """Two charts beside each other where there is room, below each other on a phone."""

    left: Chart
    right: Chart


Block: TypeAlias = "Table | Notes | Code | Chart | Pair"


class Section(msgspec.Struct, frozen=True):
    """A part of the page. An empty line in `text` begins a new paragraph."""

    title: str
    text: str = ""
    blocks: tuple[Block, ...] = ()


class Headline(msgspec.Struct, frozen=True):
    """One finding in large type: "6.13 ms" of "ppocr_det", with what it means."""

    label: str
    figure: str
    text: str
    mark: Mark = ""


def page(
    title: str, lead: str, sections: Sequence[Section], *, headlines: Sequence[Headline] = (), footer: str = ""
) -> str:
    """The whole page. `lead` is the verdict: what a reader who stops after one sentence should know."""
    slugs = _slugs([section.title for section in sections])
    links = "".join(f'<a href="#{slug}">{_e(s.title)}</a>' for slug, s in zip(slugs, sections, strict=True))
    nav = f'<nav aria-label="Sections">{links}</nav>' if len(sections) > 2 else ""
    cards = f'<div class="cards">{"".join(map(_headline, headlines))}</div>' if headlines else ""
    end = f"<footer>{_e(footer)}</footer>" if footer else ""
    body = "".join(
        f'<section id="{slug}"><h2>{_e(s.title)}</h2>{_paragraphs(s.text)}{"".join(map(_block, s.blocks))}</section>'
        for slug, s in zip(slugs, sections, strict=True)
    )
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">'
        f"<title>{_e(title)}</title><style>{CSS}</style>"
    )
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body><main>'
        f'<header><h1>{_e(title)}</h1><p class="lead">{_e(lead)}</p></header>{cards}{nav}{body}{end}'
        "</main></body></html>\n"
    )


def _headline(headline: Headline) -> str:
    mark = f" {headline.mark}" if headline.mark else ""
    return (
        f'<div class="card{mark}"><div class="name">{_e(headline.label)}</div>'
        f'<div class="big">{_e(headline.figure)}</div><div class="what">{_e(headline.text)}</div></div>'
    )


def _block(block: Block) -> str:
    match block:
        case Table():
            return _table(block)
        case Notes():
            items = "".join(f"<li>{_e(item)}</li>" for item in block.items)
            return f'<ul class="notes {block.mark}">{items}</ul>'
        case Code():
            return f"<pre><code>{_e(block.text)}</code></pre>"
        case Chart():
            title = f"<h3>{_e(block.title)}</h3>" if block.title else ""
            caption = f"<figcaption>{_e(block.caption)}</figcaption>" if block.caption else ""
            return f"<figure>{title}{block.markup}{caption}</figure>"
        case Pair():
            return f'<div class="pair">{_block(block.left)}{_block(block.right)}</div>'


def _table(table: Table) -> str:
    align = table.align.ljust(len(table.head), "l")
    sides = ["" if letter == "l" else ' class="r"' for letter in align]
    names = "".join(f'<th scope="col"{side}>{_e(text)}</th>' for text, side in zip(table.head, sides, strict=True))
    head = f"<thead><tr>{names}</tr></thead>" if any(table.head) else ""
    rows = "".join(f"<tr>{''.join(map(_cell, row, align))}</tr>" for row in table.rows)
    caption = f'<p class="caption">{_e(table.caption)}</p>' if table.caption else ""
    return f'<div class="scroll"><table>{head}<tbody>{rows}</tbody></table></div>{caption}'


def _cell(cell: str | Cell, letter: str) -> str:
    cell = Cell(cell) if isinstance(cell, str) else cell
    classes = " ".join(name for name in ("r" if letter == "r" else "", cell.mark) if name)
    note = f"<small>{_e(cell.note)}</small>" if cell.note else ""
    attribute = f' class="{classes}"' if classes else ""
    return f"<td{attribute}>{_e(cell.text)}{note}</td>"


def _paragraphs(text: str) -> str:
    return "".join(f"<p>{_e(part.strip())}</p>" for part in text.split("\n\n") if part.strip())


def _slugs(titles: Sequence[str]) -> list[str]:
    """A name for each section's address, all different."""
    slugs: list[str] = []
    for title in titles:
        slug = base = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "section"
        number = 2
        while slug in slugs:
            slug, number = f"{base}-{number}", number + 1
        slugs.append(slug)
    return slugs
