"""`cloud-bridge bench`: how long an endpoint takes to answer, by the bytes that are sent to it, and for each model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from time import monotonic
from typing import TypeAlias

import numpy as np

from edge_runtime.bench.inputs import seeded_inputs
from edge_runtime.bundles.installed import Installed
from edge_runtime.errors import RefusedError, UnreachableError
from edge_runtime.links import MeasuredLink
from edge_runtime.remote import Call, Remote

SIZES = (1_500, 12_000, 60_000, 240_000)
"""Bytes of a probe."""

PATIENCE = 30.0
"""Seconds that one may take."""


Worked: TypeAlias = "dict[str, tuple[float, ...]]"


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


def partners(store: Installed) -> list[Call]:
    """A call of each partner that the store's models have, its inputs of typical sizes."""
    manifests = [store.bundle(name).manifest for name in store.names() if store.active(name) is not None]
    return [
        Call(manifest.partner, seeded_inputs(manifest.signature.inputs, manifest.sizes, 0))
        for manifest in manifests
        if manifest.partner is not None
    ]


def work(remote: Remote, calls: Sequence[Call], rounds: int, progress: Callable[[str, float], None]) -> Worked:
    """Model -> what the endpoint says that it worked on each of `rounds` calls; nothing of one that it does not serve, nor
    where it does not say. The first call, in which an engine prepares itself, does not count."""
    worked: Worked = {}
    for number, call in enumerate(calls):
        progress(call.model, number / len(calls))
        try:
            replies = [remote.send(call, deadline=monotonic() + PATIENCE).result(PATIENCE) for _ in range(rounds + 1)]
        except RefusedError:
            continue
        worked[call.model] = tuple(reply.seconds for reply in replies[1:] if reply.seconds is not None)
    return worked


def fitted(endpoint: str, seconds: Mapping[int, tuple[float, ...]]) -> MeasuredLink:
    """The line through the medians, by Theil and Sen: the median of the slopes between all pairs."""
    medians = {size: float(np.median(each)) for size, each in seconds.items()}
    sizes = sorted(medians)
    slopes = [(medians[b] - medians[a]) / (b - a) for i, a in enumerate(sizes) for b in sizes[i + 1 :]]
    per_byte = max(1e-10, float(np.median(slopes)))
    round_trip = max(0.0, float(np.median([medians[size] - size * per_byte for size in sizes])))
    return MeasuredLink(endpoint, datetime.now(UTC).isoformat(timespec="seconds"), round_trip, per_byte, dict(seconds))
