"""A world to simulate calls in: when they come, how long each would take here and there, and the links. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise

import msgspec

from edge_runtime.routing.events import Known, Paced
from edge_runtime.routing.policy import Request


class Uplink:
    """Bytes over time on a recorded link, from some moment of it on; the recording is repeated."""

    def __init__(self, times: Sequence[float], rates: Sequence[float], offset: float = 0.0) -> None:
        """From each of `times` (from 0, seconds) to the next `rates` bytes per second, never 0; it begins `offset`
        seconds in."""
        self._times = list(times)
        widths = (end - begin for begin, end in pairwise(times))
        self._moved = [0.0, *accumulate(width * rate for width, rate in zip(widths, rates, strict=True))]
        self._rates = list(rates)
        self._seconds, self._bytes = self._times[-1], self._moved[-1]
        self.offset = offset

    @property
    def mean(self) -> float:
        """Bytes per second over all of it."""
        return self._bytes / self._seconds

    def moved(self, at: float) -> float:
        """Bytes that could have gone by this instant."""
        turns, within = divmod(at + self.offset, self._seconds)
        i = min(bisect_right(self._times, within) - 1, len(self._rates) - 1)
        return turns * self._bytes + self._moved[i] + (within - self._times[i]) * self._rates[i]

    def finish(self, start: float, size: float) -> float:
        """When `size` bytes that begin at `start` have gone."""
        turns, within = divmod(self.moved(start) + size, self._bytes)
        i = min(bisect_right(self._moved, within) - 1, len(self._rates) - 1)
        return turns * self._seconds + self._times[i] + (within - self._moved[i]) / self._rates[i] - self.offset


class Transfer(msgspec.Struct, eq=False):
    """A request or a probe on its way up."""

    size: float
    then: Callable[[float, float], None]
    """Called with the instant at which all of it has gone, and the seconds that it took by itself."""


class Pipe:
    """An uplink's queue: first in, first out. Each act returns when the head will have gone, if it is another one now."""

    def __init__(self, uplink: Uplink) -> None:
        self._uplink = uplink
        self._queue: deque[Transfer] = deque()
        self.since = 0.0
        self.version = 0

    @property
    def head(self) -> Transfer:
        """What goes now, since `since`."""
        return self._queue[0]

    def put(self, transfer: Transfer, now: float) -> float | None:
        self._queue.append(transfer)
        return self._begin(now) if len(self._queue) == 1 else None

    def gone(self, now: float) -> tuple[Transfer, float | None]:
        """The head has gone; and when the next will have."""
        transfer = self._queue.popleft()
        return transfer, self._begin(now) if self._queue else None

    def cancel(self, transfer: Transfer, now: float) -> tuple[float, float | None]:
        """First the bytes of it that had gone."""
        if transfer not in self._queue:
            return transfer.size, None
        head = transfer is self._queue[0]
        sent = self._uplink.moved(now) - self._uplink.moved(self.since) if head else 0.0
        self._queue.remove(transfer)
        if head:
            self.version += 1  # what was to happen when it had gone will not
        return min(sent, transfer.size), self._begin(now) if head and self._queue else None

    def _begin(self, now: float) -> float:
        self.since = now
        self.version += 1
        return self._uplink.finish(now, self._queue[0].size)


class World(msgspec.Struct, frozen=True):
    """Per call, in the order in which they come: instants and seconds. The same for every policy."""

    requests: tuple[Request, ...]
    arrivals: tuple[float, ...]
    served: tuple[float, ...]
    """The endpoint's work, waiting there included."""
    local: tuple[float, ...]
    trips: tuple[float, ...]
    links: dict[str, Uplink]
    known: tuple[Known | Paced, ...]
    """What the router is told before the first call."""
    patience: float = 30.0
    """How long a call without a budget waits."""

    def budget(self, call: int) -> float:
        """Seconds that this call has."""
        budget = self.requests[call].budget
        return self.patience if budget is None else budget
