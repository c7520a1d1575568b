"""`cloud-bridge bench`: how long an endpoint takes to answer, by the bytes that are sent to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from time import monotonic

import numpy as np

from edge_runtime.errors import UnreachableError
from edge_runtime.links import MeasuredLink
from edge_runtime.remote import Remote

SIZES = (1_500, 12_000, 60_000, 240_000)
"""Bytes of a probe."""

PATIENCE = 30.0
"""Seconds that one may take."""


def measure(remote: Remote, rounds: int, progress: Callable[[str, float], None]) -> MeasuredLink:
    """Probes of every size in turns, so that a change of the link meets all alike. Raises a RemoteError when the endpoint
    does not answer, or takes no probes."""
    if not remote.health(PATIENCE):
        raise UnreachableError(f"{remote.name} does not take calls: is `cloud-bridge serve` running there?")
    took: dict[int, list[float]] = {size: [] for size in SIZES}
    remote.probe(0).result(PATIENCE)  # the first one connects
    for number in range(rounds):
        for size in SIZES:
            progress(f"{size / 1e3:g} kB", (number * len(SIZES) + SIZES.index(size)) / (rounds * len(SIZES)))
            start = monotonic()
            remote.probe(size).result(PATIENCE)
            took[size].append(monotonic() - start)
    return fitted(remote.name, {size: tuple(seconds) for size, seconds in took.items()})


def fitted(endpoint: str, seconds: Mapping[int, tuple[float, ...]]) -> MeasuredLink:
    """The line through the medians, by Theil and Sen: the median of the slopes between all pairs."""
    medians = {size: float(np.median(each)) for size, each in seconds.items()}
    sizes = sorted(medians)
    slopes = [(medians[b] - medians[a]) / (b - a) for i, a in enumerate(sizes) for b in sizes[i + 1 :]]
    per_byte = max(1e-10, float(np.median(slopes)))
    round_trip = max(0.0, float(np.median([medians[size] - size * per_byte for size in sizes])))
    return MeasuredLink(endpoint, datetime.now(UTC).isoformat(timespec="seconds"), round_trip, per_byte, dict(seconds))
