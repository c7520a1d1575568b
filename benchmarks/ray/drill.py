"""What became of calls around the moment at which a node was killed. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from benchmarks.endpoint.bare import Loaded

SETTLED = 1.0
"""Seconds until the load is steady."""

SPAN = 3
"""Seconds over which throughput is taken: it changes from one to the next by itself."""

BACK = 0.9
"""The share of the throughput before at which it is back."""

ANSWERED, REFUSED = (200,), (429, 503, 504)


class Drill(msgspec.Struct, frozen=True):
    """A closed loop, all calls with the same budget, and a node killed some seconds after its start."""

    calls: Loaded
    budget: float
    killed: float

    @property
    def wrong(self) -> int:
        """Calls that were neither answered nor refused within their budget."""
        right = {*ANSWERED, *REFUSED}
        pairs = zip(self.calls.statuses, self.calls.seconds, strict=True)
        return sum(status not in right or seconds > self.budget for status, seconds in pairs)

    def count(self, statuses: Sequence[int]) -> int:
        """Calls that ended like this."""
        return sum(status in statuses for status in self.calls.statuses)

    @property
    def seconds(self) -> list[int]:
        """Good answers in each whole second, the second that begins with the kill among them."""
        first = self.killed % 1.0
        ends = [end for end, status in zip(self.calls.ends, self.calls.statuses, strict=True) if status in ANSWERED]
        edges = np.arange(first, self.calls.wall - 1.0 + 1e-9, 1.0)  # the last one has fewer clients
        return [int(n) for n in np.histogram(ends, np.append(edges, edges[-1] + 1.0))[0][: len(edges)]]

    @property
    def before(self) -> float:
        """Good answers a second before the kill."""
        return float(np.mean(self.seconds[int(SETTLED) : int(self.killed)]))

    @property
    def back(self) -> float:
        """Seconds after the kill from which throughput is what it was; NaN if it never is."""
        after = self.seconds[int(self.killed) :]
        for at in range(len(after) - SPAN + 1):
            if np.mean(after[at : at + SPAN]) >= BACK * self.before:
                return float(at)
        return float("nan")
