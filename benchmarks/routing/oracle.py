"""A greedy oracle: it knows exactly how long each call would take, and sends what will be in time, and nothing else. It
does not look ahead over later calls."""

from __future__ import annotations

from benchmarks.routing.world import ENDPOINT
from edge_runtime.routing.world import World


def oracle(world: World) -> list[tuple[str, float]]:
    """Per call who answers in time ("cloud", "local", "none") and the bytes sent."""
    link = device = 0.0
    found: list[tuple[str, float]] = []
    size = world.requests[0].size
    for call, (at, served, local, trip) in enumerate(
        zip(world.arrivals, world.served, world.local, world.trips, strict=True)
    ):
        deadline = at + world.budget(call)
        gone = world.links[ENDPOINT].finish(max(at, link), size)
        if gone + trip + served <= deadline:
            link = gone
            found.append(("cloud", size))
            continue
        ended = max(at, device) + local
        if ended <= deadline:
            device = ended
            found.append(("local", 0.0))
        else:
            found.append(("none", 0.0))
    return found
