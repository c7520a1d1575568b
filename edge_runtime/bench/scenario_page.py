"""Runs of scenarios as sections of a report's page."""

from __future__ import annotations

from collections.abc import Sequence

from edge_runtime.bench.page import Block, Cell, Notes, Section, Table
from edge_runtime.bench.plots import Call, timeline
from edge_runtime.bench.scenarios import Judged, Offline, ScenarioRun
from edge_runtime.bench.units import duration

_TEXT = (
    "Load with MLPerf LoadGen's scenarios, on the engine that the runtime chose. A query's latency counts from the "
    "instant that it was scheduled for: a stall counts for every query that it kept waiting. A run is VALID when its "
    "figure is within the limit and there were queries enough to be sure of that (early stopping, 99 % confidence)."
)
_SHOWN = 400
"""Queries of a picture: of more, every n-th."""


def sections(runs: Sequence[ScenarioRun]) -> tuple[Section, ...]:
    """One section; none without runs."""
    if not runs:
        return ()
    blocks: list[Block] = [_table(runs)]
    doubtful = [run for run in runs if run.judged.reasons]
    reasons = tuple(f"{run.model} {run.scenario.name}: {' '.join(run.judged.reasons)}" for run in doubtful)
    blocks += [Notes(reasons, "doubt")] if reasons else []
    blocks += [_picture(run) for run in runs if run.ended and not isinstance(run.scenario, Offline)]
    return (Section("Under load", _TEXT, tuple(blocks)),)


def _table(runs: Sequence[ScenarioRun]) -> Table:
    head = ("Model", "Scenario", "Verdict", "Figure", "Limit", "Queries", "Failed", "LoadGen")
    rows = tuple(_row(run) for run in runs)
    return Table(head, rows, "lllrrrrl", "Figure: the scenario's percentile of the latency, or samples a second (Offline).")


def _row(run: ScenarioRun) -> tuple[str | Cell, ...]:
    limit = getattr(run.scenario, "latency", None)
    other = "-" if run.loadgen is None else Cell(_verdict(run.loadgen).text, "", _figure(run, run.loadgen))
    return (
        Cell(f"{run.model} {run.version}", "", run.label),
        run.scenario.name,
        _verdict(run.judged),
        _figure(run, run.judged),
        "-" if limit is None else duration(limit),
        str(len(run.ended)),
        str(len(run.errors)),
        other,
    )


def _verdict(judged: Judged) -> Cell:
    return Cell("VALID", "good") if judged.valid else Cell("INVALID", "bad")


def _figure(run: ScenarioRun, judged: Judged) -> str:
    if isinstance(run.scenario, Offline):
        return f"{judged.figure:.1f}/s"
    return f"p{100 * run.scenario.percentile:g} {duration(judged.figure)}"


def _picture(run: ScenarioRun) -> Block:
    limit = getattr(run.scenario, "latency", None)
    step = max(1, len(run.ended) // _SHOWN)
    calls = [
        Call(due * 1e-9, latency * 1e-9, limit, run.scenario.name)
        for due, latency in list(zip(run.scheduled, run.latencies, strict=True))[::step]
    ]
    thinned = "" if step == 1 else f" One query in {step} is shown."
    title = f"{run.model}: {run.scenario.name}"
    return timeline(calls, title=title, caption=f"How long each query took, over when it was due.{thinned}")
