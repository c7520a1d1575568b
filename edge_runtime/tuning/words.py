"""A tournament's outcome in words: why this engine runs. Pure."""

from __future__ import annotations

from edge_runtime.bench.statistics import Ratio
from edge_runtime.bench.units import duration, size, times
from edge_runtime.profile import Measurement, Tuned
from edge_runtime.tuning.contest import Contender, Contest
from edge_runtime.tuning.race import ratio

SHOWN = 8
"""Candidates that lost, that are named one by one."""


def verdict(contest: Contest, winner: Contender, baseline: Contender | None) -> str:
    """Why the winner won: its figures, and its lead over the best with its backend's own settings."""
    share = contest.objective.share
    text = f"{winner.name}: {contest.objective.metric} {_figure(contest, winner)}"
    if baseline is not None and baseline is not winner:
        gap = ratio(baseline.figures(contest.objective), winner.figures(contest.objective), share)
        text += f", {_lead(gap)} {baseline.name}, the best with its backend's own settings"
    if winner.paced_cpu is not None and winner.rate is not None:
        text += f"; {duration(winner.paced_cpu)} of CPU time each at {winner.rate:.0f}/s"
    return text


def _figure(contest: Contest, contender: Contender) -> str:
    row = contest.standing([contender.candidate])[0]
    return f"{row.figure:.3g} J" if contest.objective.metric == "energy" else duration(row.figure)


def _lead(gap: Ratio) -> str:
    if gap.low is None or not gap.decided:
        return "no clear lead over"
    return f"{times(gap.value)} better than" if gap.value > 1 else f"{times(1 / gap.value)} worse than"


def explain(tuned: Tuned, stale: tuple[str, ...] = ()) -> list[str]:
    """An outcome as lines to read: why the winner runs, who else was measured, who lost and why, and what has changed
    since."""
    model = f"{tuned.model} {tuned.version}"
    total = 1 + len(tuned.runners_up) + len(tuned.lost)
    lines = [
        f"{model} runs as {tuned.winner.name} ({tuned.winner.key.engine}).",
        f"Of {total} candidates it was the best for {tuned.objective}, on {tuned.date[:10]}, after {tuned.seconds:.0f} s.",
        f"{tuned.verdict}.",
        *_details(tuned.winner),
    ]
    lines += [f"Runner-up: {_row(m)}." for m in tuned.runners_up]
    lines += [f"Lost: {lost.candidate}: {lost.why}." for lost in tuned.lost[-SHOWN:][::-1]]
    if len(tuned.lost) > SHOWN:
        lines.append(f"{len(tuned.lost) - SHOWN} more lost (--json has them all).")
    if stale:
        lines.append(f"It was measured before something changed: {'; '.join(stale)}. Until it is tuned again, it serves.")
    return lines


def _details(winner: Measurement) -> list[str]:
    lines = [f"Latency over {winner.runs} runs: {_percentiles(winner)}."]
    if winner.busy:
        p50, p95 = duration(winner.busy[50]), duration(winner.busy[95])
        lines.append(f"Beside a neighbour that keeps one core busy: p50 {p50}, p95 {p95}.")
    if winner.joules is not None:
        lines.append(f"Energy: {winner.joules:.3g} J an inference.")
    loading = [] if winner.load is None else [f"loads in {duration(winner.load)}"]
    memory = [] if winner.memory is None else [f"takes {size(winner.memory)}"]
    return lines + ([f"It {' and '.join((*loading, *memory))}."] if loading or memory else [])


def _row(m: Measurement) -> str:
    return f"{m.name}, {_percentiles(m)}"


def _percentiles(m: Measurement) -> str:
    return ", ".join(f"p{share} {duration(m.latency[share])}" for share in (50, 95, 99))
