"""What an inference costs beside time: CPU time at a fixed rate, and energy."""

from __future__ import annotations

from edge_runtime.bench.energy import Meter
from edge_runtime.bench.process import Worker
from edge_runtime.errors import RunError

PERIOD, PACED = 0.01, 10
"""At a fixed rate a candidate is asked a hundred times a second (or half as often as the slowest could answer), so many
times at most: an engine whose threads burn a core while they wait shows it."""
METERED = 0.3
"""Seconds over which energy is counted: meters count in steps."""


def paced_cpu(worker: Worker, slowest: float) -> float | None:
    """CPU seconds of a run at a fixed rate, at which a run of `slowest` seconds is done in time. None where it failed: what
    was measured before stays."""
    period = max(PERIOD, 2 * slowest)
    runs = min(PACED, max(2, round(0.3 / period)))
    try:
        return worker.paced(runs, period).cpu * 1e-9 / runs
    except RunError:
        return None


def joules(worker: Worker, meter: Meter | None) -> float | None:
    """Joules of a run, one right after the other, of all that the meter counts. None without a meter, or where it
    failed."""
    if meter is None:
        return None
    try:
        worker.turn(1, 0.01, both=True)
        before = meter.read()
        turn = worker.turn(3, METERED, both=True)
    except RunError:
        return None
    return meter.joules(before, turn.cpu * 1e-9) / len(turn.times)
