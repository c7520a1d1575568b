"""A cell of the comparison, and the world that is drawn for it."""

from __future__ import annotations

import msgspec
import numpy as np

from benchmarks.routing.links import LinkTrace
from edge_runtime.routing.events import Known, Paced
from edge_runtime.routing.policy import Request
from edge_runtime.routing.world import Uplink, World

WORTH_LOCAL = 0.70
WORTH_CLOUD = 0.80
FAST_LOCAL = 0.018
"""Seconds of a local run of a fast device."""

LOCAL_SLOW = 0.1
"""Seconds of a local run from which a device is called slow."""

MODEL, ENDPOINT = "model", "cloud"
RATE = 5.0
"""Calls a second."""

BURST, BURST_GAP = 5, 0.010
"""Calls of a burst, and the seconds between them."""

TRIP = 0.040
"""Seconds of a round trip where none was recorded."""


class Cell(msgspec.Struct, frozen=True):
    """What is varied."""

    link: str
    workload: str
    """ "poisson", "periodic" or "bursts"."""
    budget: float
    size: int
    local: float
    """Seconds of a typical local run."""
    seed: int = 0


def build(cell: Cell, trace: LinkTrace, calls: int) -> World:
    """Draw a cell's world. The same cell gives the same one, whoever is to decide in it."""
    random = np.random.default_rng([cell.seed, *f"{cell.link}/{cell.workload}/{cell.budget}/{cell.size}".encode()])
    offset = float(random.uniform(0.0, trace.seconds))
    arrivals = _arrivals(cell.workload, calls, random)
    served = random.lognormal(np.log(0.015), 0.3, calls) + random.exponential(0.003, calls)
    served += _busy(arrivals, random) * random.exponential(0.040, calls)
    local = random.lognormal(np.log(cell.local), 0.12, calls) * np.where(random.random(calls) < 0.005, 2.0, 1.0)
    # What a benchmark of the device would have told before.
    pace = Paced(0.0, MODEL, cell.size, float(np.median(local)), float(np.quantile(local, 0.99)))
    return World(
        (Request(MODEL, cell.budget, cell.size),) * calls,
        tuple(arrivals.tolist()),
        tuple(served.tolist()),
        tuple(local.tolist()),
        tuple(_trips(trace, arrivals + offset, random).tolist()),
        {ENDPOINT: Uplink(trace.times, trace.rates, offset)},
        (Known(0.0, MODEL, WORTH_LOCAL, WORTH_CLOUD, (ENDPOINT,)), pace),
    )


def _arrivals(workload: str, calls: int, random: np.random.Generator) -> np.ndarray:
    if workload == "poisson":
        return np.cumsum(random.exponential(1.0 / RATE, calls))
    if workload == "periodic":
        return np.arange(1, calls + 1) / RATE
    bursts = np.cumsum(random.exponential(BURST / RATE, -(-calls // BURST)) + BURST * BURST_GAP)
    arrivals: np.ndarray = np.ravel(bursts[:, None] + np.arange(BURST) * BURST_GAP)
    return arrivals[:calls]


def _busy(arrivals: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Whether the endpoint is busy with others then: 5 % of the time, some seconds at a time."""
    seconds = int(arrivals[-1]) + 2
    starts = np.flatnonzero(random.random(seconds) < 0.05 / 3)
    busy = np.zeros(seconds, bool)
    for start in starts:
        busy[start : start + 3] = True
    found: np.ndarray = busy[arrivals.astype(int)]
    return found


def _trips(trace: LinkTrace, at: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Round trips: those recorded; else about a constant, as pings on mobile links are."""
    if len(trace.trips) > 1:
        recorded = np.array([trace.trip(float(t)) or TRIP for t in at])
        return recorded * random.lognormal(0.0, 0.1, len(at))
    base = trace.trips[0] if trace.trips else TRIP
    return base * (0.9 + random.lognormal(-2.0, 0.8, len(at)))
