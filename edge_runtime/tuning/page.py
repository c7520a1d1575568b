"""Tournaments as one self-contained page: who won, by how much, who lost and why."""

from __future__ import annotations

from collections.abc import Sequence

from edge_runtime.bench.charts import Bar, bars
from edge_runtime.bench.html import Block, Cell, Headline, Section, Table, page
from edge_runtime.bench.plots import Curve, ecdf
from edge_runtime.bench.units import duration, size
from edge_runtime.profile import Measurement, Tuned

_HOW = (
    "Every variant of a model ran on every engine found here, each way in a process of its own, after its outputs "
    "were held against the model's golden samples. Those near the leader were tried with every setting of their "
    "engine. In each round each contender had its turn, in a random order, so that a change of the machine's "
    "clock meets all alike; the slower half left until the leader was ahead beyond the noise. Of a tie the one "
    "that takes less CPU time won. The winner was then measured again, beside the best engine with its own "
    "settings, and won only if it did not lose there."
)
_BARS = (
    "A bar ends at the median of the warm runs; on the whisker, the short stroke is p95 and the long one p99. The "
    "winner is on top."
)


def render(tuned: Sequence[Tuned]) -> str:
    """The page of some tournaments. The same outcomes give the same bytes."""
    headlines = [
        Headline(f"{t.model} {t.version}", duration(t.winner.at(t.objective.share)), t.winner.name, "good") for t in tuned
    ]
    sections = (*map(_section, tuned), Section("How it was decided", _HOW))
    engines = sorted({t.winner.key.backend for t in tuned})
    lead = (
        f"The best: {tuned[0].verdict}." if len(tuned) == 1
        else f"{len(tuned)} models, each on the engine that was measured best for it here: {', '.join(engines)}."
    )  # fmt: skip
    return page("Edge Runtime tournament", lead, sections, headlines=headlines, footer=f"measured {tuned[-1].date}")


def _section(tuned: Tuned) -> Section:
    finalists = (tuned.winner, *tuned.runners_up)
    rows = [_bar(m, number) for number, m in enumerate(finalists)]
    curves = [Curve(m.name, m.latency[1:], number) for number, m in enumerate(finalists)]
    blocks: list[Block] = [
        bars(rows, "seconds", title="Latency of one inference", caption=_BARS),
        ecdf(curves, "seconds", title="Distribution of the runs"),
        _table(finalists),
    ]
    if tuned.lost:
        lost = tuple((Cell(row.candidate), row.why) for row in reversed(tuned.lost))
        blocks.append(Table(("Lost", "Why"), lost, "ll", "In the order in which they left, the last first."))
    count = len(finalists) + len(tuned.lost)
    text = f"The best: {tuned.verdict}.\n\nLooked for: {tuned.objective}. {count} candidates, {tuned.seconds:.0f} s."
    return Section(f"{tuned.model} {tuned.version}", text, tuple(blocks))


def _bar(m: Measurement, number: int) -> Bar:
    return Bar(m.name, m.at(0.5), f"p99 {duration(m.at(0.99))}", tail=(m.at(0.95), m.at(0.99)), series=number)


def _table(finalists: Sequence[Measurement]) -> Table:
    head = ("Finalist", "p50", "p95", "p99", "CPU", "p95 busy", "Load", "Memory", "Runs")
    rows: tuple[tuple[str | Cell, ...], ...] = tuple(
        (
            Cell(m.name, "", m.key.engine), *(duration(m.at(share)) for share in (0.5, 0.95, 0.99)),
            "-" if m.cpu is None else duration(m.cpu), "-" if not m.busy else duration(m.busy[95]),
            "-" if m.load is None else duration(m.load), size(m.memory), str(m.runs),
        )
        for m in finalists
    )  # fmt: skip
    caption = (
        "CPU: processor time of one inference at a fixed rate, gaps included, of those that tied. p95 busy: "
        "beside a neighbour that keeps one core busy, of the winner and the best engine with its own settings."
    )
    return Table(head, rows, "lrrrrrrrr", caption)
