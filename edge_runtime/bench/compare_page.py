"""A comparison of two reports, and a gate's decision, as text for a terminal and as one self-contained page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from edge_runtime.bench.compare import Comparison, Row
from edge_runtime.bench.forest import Branch, forest
from edge_runtime.bench.gate import Decision
from edge_runtime.bench.page import Block, Cell, Headline, Mark, Notes, Section, Table, page
from edge_runtime.bench.report import columns
from edge_runtime.bench.statistics import Ratio
from edge_runtime.bench.units import CROSS, duration

_MARKS: dict[str, Mark] = {"faster": "good", "slower": "bad", "inconclusive": "muted"}
_FOREST = (
    "A dot is how long a run takes after, over how long it took before; left of the line at 1 is faster. The line "
    "through it is the ratio's 95 % interval. Where that has 1 in it, no change is claimed. The scale is logarithmic: "
    "half and double are equally far from 1."
)
_TABLE = (
    "Before and after are the medians as they were measured. The ratios are those of the rounds' medians and "
    "p95{unit}. Small figures: 95 % intervals."
)
_HOW = (
    "Every figure is a round's: a short stretch of time in which all candidates, and a fixed piece of work that no "
    "engine has a part in (the yardstick), took turns. What a candidate took is divided by what the yardstick took in "
    "the same round, so that a machine that was slower that day cancels.\n\nTwo runs of the same thing in two processes "
    "differ by more than the rounds of one show. So the interval of a ratio is a bootstrap over rounds, and is widened "
    "by what differs between processes: as much as reports with several processes (bench --repeat) show of it, and "
    "what is assumed where they have one."
)


def as_text(found: Comparison) -> str:
    """The comparison as a table for a terminal, its doubts, and the whole of it in one sentence at the end."""
    head = ("MODEL", "CANDIDATE", "BEFORE", "AFTER", "RATIO", "95 % INTERVAL", "P95 RATIO", "VERDICT")
    rows = [
        (row.model, row.label, duration(row.before), duration(row.after), f"{row.median.value:.2f}{CROSS}",
         _interval(row.median), f"{row.p95.value:.2f}{CROSS}", row.verdict)
        for row in found.rows
    ]  # fmt: skip
    lines = columns(head, rows, figures=range(2, len(head) - 1)) if rows else []
    lines += [f"  {row.name}: {note}" for row in found.rows for note in row.notes]
    lines += [f"  FAILS NOW {text}" for text in found.broken]
    lines += [f"  only before: {', '.join(found.only_before)}"] if found.only_before else []
    lines += [f"  only after: {', '.join(found.only_after)}"] if found.only_after else []
    lines += [f"  doubt: {text}" for text in found.doubts]
    return "\n".join(
        [*lines, "", _speed(found).strip(), found.lead] if found.speed is not None else [*lines, "", found.lead]
    )


def decided(found: Decision) -> str:
    """A gate's decision for a terminal: the comparison, how it was decided, and what fails."""
    verdict = [f"FAILED {text}" for text in found.failures] or [
        f"passed: no regression of more than {found.limit:.0%} that the noise cannot explain"
    ]
    return "\n".join([as_text(found.comparison), "", found.how, *verdict])


def render(found: Comparison) -> str:
    """The page of a comparison. The same reports give the same bytes."""
    sections = [
        Section("What changed", f"{_speed(found)}After over before: below 1 is faster.", tuple(_blocks(found))),
        Section("How it was compared", _HOW),
    ]
    footer = f"before: {found.before}, after: {found.after}"
    lead = f"{found.lead[:1].upper()}{found.lead[1:]}."
    return page("Edge Runtime: two reports", lead, sections, headlines=_headlines(found), footer=footer)


def _blocks(found: Comparison) -> list[Block]:
    blocks: list[Block] = []
    if found.rows:
        ordered = sorted(found.rows, key=lambda row: (row.model, row.median.value))
        branches = [
            Branch(row.name, row.median.value, row.median.low, row.median.high, _branch_mark(row)) for row in ordered
        ]
        blocks.append(forest(branches, title="Medians, after over before", caption=_FOREST))
        blocks.append(_table(ordered, normalised=found.speed is not None))
    blocks += [Notes(tuple(f"{text} (it ran before)" for text in found.broken), "failure")] if found.broken else []
    lists = [("Only in the report before", found.only_before), ("Only in the report after", found.only_after)]
    remarks = tuple(f"{name}: {', '.join(items)}." for name, items in lists if items)
    remarks = (*(f"{row.name}: {note}." for row in found.rows for note in row.notes), *remarks)
    blocks += [Notes(remarks)] if remarks else []
    blocks += [Notes(found.doubts, "doubt")] if found.doubts else []
    return blocks


def _table(rows: Sequence[Row], *, normalised: bool) -> Table:
    head = ("Candidate", "Before", "After", "Ratio", "p95 ratio", "Verdict")
    cells = tuple(
        (
            Cell(row.name), duration(row.before), duration(row.after),
            Cell(f"{row.median.value:.2f}{CROSS}", _MARKS[row.verdict], _interval(row.median)),
            Cell(f"{row.p95.value:.2f}{CROSS}", "", _interval(row.p95)), Cell(row.verdict, _MARKS[row.verdict]),
        )
        for row in rows
    )  # fmt: skip
    unit = ", each over the yardstick's median of the same round" if normalised else ""
    return Table(head, cells, "lrrrrl", _TABLE.format(unit=unit))


def _headlines(found: Comparison) -> list[Headline]:
    """The largest sure change either way."""
    slower = [row for row in found.rows if row.verdict == "slower"]
    faster = [row for row in found.rows if row.verdict == "faster"]
    cards = []
    if slower:
        row = max(slower, key=lambda r: r.median.value)
        cards.append(Headline("Slowed down most", f"{row.median.value:.2f}{CROSS}", row.name, "bad"))
    if faster:
        row = min(faster, key=lambda r: r.median.value)
        cards.append(Headline("Sped up most", f"{row.median.value:.2f}{CROSS}", row.name, "good"))
    if found.speed is not None:
        cards.append(Headline("The machine itself", f"{found.speed:.2f}{CROSS}", "the yardstick's time, after over before"))
    return cards


def _speed(found: Comparison) -> str:
    if found.speed is None:
        return ""
    return f"The machine itself took {found.speed:.2f} times as long as before for the yardstick; ratios are without that. "


def _branch_mark(row: Row) -> Literal["good", "bad", "muted"]:
    return "good" if row.verdict == "faster" else "bad" if row.verdict == "slower" else "muted"


def _interval(ratio: Ratio) -> str:
    return "too few rounds" if ratio.low is None or ratio.high is None else f"{ratio.low:.2f} to {ratio.high:.2f}"
