"""Links made up from a seed, with the statistics of recorded ones: for whoever has no recordings."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.routing.links import LEAST, LinkTrace, read
from edge_runtime.errors import InputError

SECONDS = 600
KINDS = {
    # median Mbit/s, sigma of its logarithm, seconds over which it keeps its mind, outages a minute, round trip in ms
    "lte-drive": (12.0, 0.9, 4.0, 1.0, 45.0),
    "lte-static": (18.0, 0.4, 10.0, 0.0, 40.0),
    "5g-drive": (40.0, 1.1, 3.0, 1.5, 35.0),
    "3g-bus": (1.8, 0.6, 6.0, 0.7, 100.0),
    "satellite": (14.0, 0.5, 2.0, 0.8, 50.0),
    "wifi-edge": (8.0, 1.3, 1.5, 2.0, 15.0),
}


def generated(seed: int = 0) -> list[LinkTrace]:
    """One link of each kind."""
    return [link(kind, seed) for kind in KINDS]


def link(kind: str, seed: int) -> LinkTrace:
    """A rate that wanders about its median (a first-order process of its logarithm), outages, and round trips that wander
    and now and then are long."""
    median, sigma, memory, outages, trip = KINDS[kind]
    random = np.random.default_rng([seed, *kind.encode()])
    step = 0.25
    count = int(SECONDS / step)
    rates = median * 125e3 * np.exp(_wander(random, count, sigma, memory / step))
    for at in np.flatnonzero(random.random(count) < outages * step / 60):
        rates[at : at + int(random.exponential(2.0) / step) + 1] = LEAST
    trips = trip / 1e3 * np.exp(np.abs(_wander(random, count, 0.35, 2.0 / step)))
    times = tuple((np.arange(count + 1) * step).tolist())
    return LinkTrace(f"made-{kind}", times, tuple(np.maximum(rates, LEAST).tolist()), times[:-1], tuple(trips.tolist()))


def _wander(random: np.random.Generator, count: int, sigma: float, memory: float) -> np.ndarray:
    keep = np.exp(-1.0 / memory)
    shocks = random.normal(0.0, sigma * np.sqrt(1 - keep**2), count)
    values = np.empty(count)
    value = random.normal(0.0, sigma)
    for i, shock in enumerate(shocks):
        value = keep * value + shock
        values[i] = value
    return values


def links_of(folder: Path | None) -> list[LinkTrace]:
    """The recordings in a folder; without one, made-up links. Raises InputError."""
    try:
        return generated() if folder is None else read(folder)
    except (OSError, ValueError) as error:
        raise InputError(str(error)) from error
