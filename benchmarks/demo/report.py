"""The demo's rows as a page for people and as values for a JSON file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from benchmarks.demo.rows import Row
from edge_runtime.bench import html, plots
from edge_runtime.bench.page import Cell, Chart, Headline, Section, Table, page
from edge_runtime.bench.report import Report
from edge_runtime.bench.statistics import percentiles
from edge_runtime.bench.units import duration

_HOW = (
    "Each dot is one call: how long it took, from the call to the answer, against the dashed line of what it was allowed. "
    "Its colour tells who answered: the cloud, or the device itself."
)


def median_and_worst(row: Row) -> tuple[float, float]:
    """Of the answers of a row, in seconds."""
    elapsed = [call.elapsed for call in row.calls]
    return percentiles(elapsed, (0.5,))[0].value, max(elapsed)


def where(row: Row) -> str:
    """How many calls were answered where."""
    cloud = sum(call.target == "cloud" for call in row.calls)
    local = len(row.calls) - cloud
    return " + ".join(f"{count} {name}" for count, name in ((cloud, "cloud"), (local, "local")) if count)


def as_values(rows: Sequence[Row], measured: Report) -> dict[str, Any]:
    """All that was found, raw values kept."""
    found = [
        {**msgspec.to_builtins(row), "met": row.met, "passed": row.passed, "median": median_and_worst(row)[0]}
        for row in rows
    ]
    return {"rows": found, "bench": msgspec.to_builtins(measured)}


def as_page(rows: Sequence[Row], measured: Report) -> str:
    """One self-contained page: the table, a picture of each run over a link, and what was measured of the engines."""
    calls, met = sum(len(row.calls) for row in rows), sum(row.met for row in rows)
    wrong = [row for row in rows if not row.passed]
    lead = (
        f"{calls} calls, {met} of them answered inside their budget; "
        + ("every answer was right." if not wrong else f"{len(wrong)} of {len(rows)} rows are not as they should be.")
    )  # fmt: skip
    sections = (
        Section(
            "What ran, and what came of it",
            "A page is read line by line, a conversation is heard frame by frame, and one net runs through every engine. "
            "In the rows that name a kill, a process was ended with SIGKILL in the middle of a call.",
            (_table(rows),),
        ),
        Section("Every call against its budget", _HOW, tuple(_timeline(row) for row in rows if row.pipeline == "read")),
        *html.sections(measured),
    )
    footer = f"edge-runtime {measured.fingerprint.project}, {measured.date}"
    return page("Edge Runtime: the main job", lead, sections, headlines=_headlines(rows), footer=footer)


def _table(rows: Sequence[Row]) -> Table:
    head = ("Pipeline", "Link", "Answered", "What came of it", "Median", "Slowest", "Budgets met")
    body = []
    for row in rows:
        median, worst = median_and_worst(row)
        met = Cell(f"{row.met} of {len(row.calls)}", "good" if row.met == len(row.calls) else "bad")
        right = Cell(row.score, "" if row.right else "bad", row.ran)
        body.append((row.pipeline, row.link, where(row), right, duration(median), duration(worst), met))
    return Table(head, tuple(body), "llllrrr")


def _timeline(row: Row) -> Chart:
    calls = [plots.Call(call.at, call.elapsed, call.budget, call.target) for call in row.calls]
    events = () if row.killed is None else ((row.killed, "SIGKILL"),)
    return plots.timeline(calls, events=events, title=f"{row.pipeline}: {row.link}")


def _headlines(rows: Sequence[Row]) -> tuple[Headline, ...]:
    calls, met = sum(len(row.calls) for row in rows), sum(row.met for row in rows)
    kills = [row for row in rows if row.killed is not None]
    cloud = sum(call.target == "cloud" for row in rows for call in row.calls)
    survived = sum(row.met for row in kills)
    among = sum(len(row.calls) for row in kills)
    return (
        Headline("budgets met", f"{met} of {calls}", "calls answered in time", "good" if met == calls else "bad"),
        Headline("answered by the cloud", str(cloud), "lines of text, over HTTP and over MQTT"),
        Headline(
            "with a process killed", f"{survived} of {among}", "calls in time", "good" if survived == among else "bad"
        ),
    )
