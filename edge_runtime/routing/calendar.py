"""When a device that runs one thing at a time must begin with the local runs it has promised. Pure.

Earliest deadline first. A run is put off as long as it can be, since the cloud's answer may make it needless; but those
behind it must fit too, so latest starts are reckoned backwards from the last deadline.
"""

from __future__ import annotations

from bisect import insort

import msgspec

from edge_runtime.routing.link import NEVER

CROWDED = 0.5
"""Where so many of the last calls came while a local run of the one before could not have ended, nothing is put off: calls
come in bursts, and the device needs all of its time."""

SHED = 0.85
"""A run that has less than this share of its typical time left is not begun while others wait: it would be late, and make
them late."""

WEIGHT = 0.1
"""Of the newest call in the share of those that came so close."""


class Promise(msgspec.Struct, frozen=True):
    """A local run that may be needed. Instants and seconds."""

    call: int
    deadline: float
    """When its answer must be there."""
    typical: float
    safe: float
    """Before the deadline it must begin by so much, the guard included."""
    at_once: bool = False
    """Nothing else is tried for it."""


class Calendar(msgspec.Struct):
    """The promises of one device."""

    promises: list[Promise] = []
    """By deadline."""
    running: int | None = None
    free: float = 0.0
    """When the run under way is likely to end."""
    crowded: float = 0.0
    """The share of the last calls that came within one local run of the call before."""
    arrival: float = NEVER

    def arrived(self, now: float, typical: float) -> None:
        """A call came, whose local run takes so long."""
        self.crowded += WEIGHT * ((now - self.arrival < typical) - self.crowded)
        self.arrival = now

    def ready(self, now: float, deadline: float) -> float:
        """When a run with this deadline could begin, those before it done that nothing else is tried for."""
        free = now if self.running is None else max(now, self.free)
        if not self.promises:
            return free
        return free + sum(p.typical for p in self.promises if p.at_once and p.deadline <= deadline)

    def start(self, new: Promise) -> float:
        """The latest start of this run once it is promised too, such that those after it make their deadlines."""
        start = new.deadline - new.safe
        if not self.promises:
            return start
        later = float("inf")
        for promise in reversed(self.promises):
            if promise.deadline < new.deadline:
                break
            later = min(promise.deadline - promise.safe, later - promise.typical)
        return min(start, later - new.typical)

    def promise(self, new: Promise) -> None:
        """This run may be needed."""
        insort(self.promises, new, key=_deadline)

    def drop(self, call: int) -> None:
        """The run is not needed any more."""
        if self.promises:
            self.promises = [p for p in self.promises if p.call != call]

    def hurry(self, call: int) -> None:
        """Nothing else is tried for this call any more."""
        self.promises = [msgspec.structs.replace(p, at_once=True) if p.call == call else p for p in self.promises]

    @property
    def idle(self) -> bool:
        """Nothing runs, and nothing is promised."""
        return self.running is None and not self.promises

    def take(self, call: int, now: float, typical: float) -> None:
        """The idle device runs this one now."""
        self.running, self.free = call, now + typical

    def begin(self, call: int, now: float) -> None:
        """The device runs this one now."""
        self.free = now + sum(p.typical for p in self.promises if p.call == call)
        self.running = call
        self.drop(call)

    def end(self, call: int) -> None:
        """It does no more."""
        if self.running == call:
            self.running = None

    def next(self, now: float) -> tuple[float, Promise] | None:
        """The run that is first in line, and when the device must begin with it; None while it runs one or has none."""
        if self.running is not None or not self.promises:
            return None
        first = self.promises[0]
        if first.at_once or self.crowded > CROWDED:
            return now, first
        start = float("inf")
        for promise in reversed(self.promises):
            start = min(promise.deadline - promise.safe, start - promise.typical)
            if promise.at_once:
                start = min(start, now)
        return max(now, start), first

    def hopeless(self, promise: Promise, now: float) -> bool:
        """Whether it is too late to begin with this one, and others wait."""
        return len(self.promises) > 1 and now + SHED * promise.typical > promise.deadline


def _deadline(promise: Promise) -> float:
    return promise.deadline
