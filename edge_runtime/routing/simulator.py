"""A policy in a world: calls come, bytes go first in first out over the links, one thing at a time runs on the device.
What the benchmark of routing drives, and `edge-runtime replay`. Pure."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Protocol

import msgspec

from edge_runtime.routing.calendar import Calendar
from edge_runtime.routing.events import Answered, Began, Done, Failed, GivenUp, Probed, Probing, Ran, Run, Shed
from edge_runtime.routing.policy import Plan, Request
from edge_runtime.routing.world import Pipe, Transfer, World

_SOON = 1e-9
_NEVER = float("inf")


class Decider(Protocol):
    """Who decides: the router that ships, or something with the same face."""

    @property
    def calendar(self) -> Calendar: ...
    def plan(self, call: int, request: Request, now: float) -> Plan: ...
    def observe(self, event: Answered | Failed | GivenUp | Began | Shed | Ran | Done) -> None: ...
    def probe(self, now: float) -> tuple[float, Probing | None]: ...
    def probing(self, event: Probing) -> None: ...
    def probed(self, event: Probed) -> None: ...


class Witness(Protocol):
    """Sees what no device could."""

    def uploaded(self, size: float, seconds: float) -> None:
        """So many bytes of one transfer went, in so many seconds."""

    def answered(self, seconds: float) -> None:
        """A call's round trip and the endpoint's work took so long."""


class Outcome(msgspec.Struct):
    """What became of one call."""

    arrived: float
    plan: Plan
    target: str = "none"
    """Whose answer came in time: "local", "cloud", "none"."""
    elapsed: float = 0.0
    sent: float = 0.0
    """Bytes."""
    ran: bool = False
    """Locally, whether it was needed or not."""
    cloud_came: bool | None = None
    """Whether the cloud's answer came in time, where it was asked."""


class Found(msgspec.Struct):
    """A policy's run in one world."""

    outcomes: list[Outcome]
    probed: float = 0.0
    """Bytes of probes."""


class Simulator:
    """Events in the order of their instants."""

    def __init__(self, world: World, decider: Decider, witness: Witness | None = None) -> None:
        self._world, self._decider, self._witness = world, decider, witness
        self._pipes = {name: Pipe(uplink) for name, uplink in world.links.items()}
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._number = 0
        self._asked: dict[int, tuple[Pipe, Transfer]] = {}
        self._ready: set[int] = set()
        self._open: set[int] = set()
        self._running = False
        self._found = Found([])

    def run(self) -> Found:
        """All of the world's calls."""
        for call, at in enumerate(self._world.arrivals):
            self._at(at, lambda now, call=call: self._arrive(call, now))  # type: ignore[misc]
        self._at(0.0, self._probe)
        last = max(at + self._world.budget(call) for call, at in enumerate(self._world.arrivals))
        while self._events:
            now, _, act = heapq.heappop(self._events)
            if now > last:
                break
            act(now)
        return self._found

    def _at(self, at: float, act: Callable[[float], None]) -> None:
        self._number += 1
        heapq.heappush(self._events, (at, self._number, act))

    def _arrive(self, call: int, now: float) -> None:
        request = self._world.requests[call]
        made = self._decider.plan(call, request, now)
        self._found.outcomes.append(Outcome(now, made))
        self._open.add(call)
        self._at(now + self._world.budget(call), lambda now: self._deadline(call, now))
        if made.begun:
            self._begin(call, now)
        if made.target == "cloud":
            pipe, transfer = (
                self._pipes[made.endpoint],
                Transfer(request.size, lambda now, took: self._sent(call, took, now)),
            )
            self._asked[call] = pipe, transfer
            self._await_head(pipe, pipe.put(transfer, now))
        self._device(now)

    def _await_head(self, pipe: Pipe, at: float | None) -> None:
        if at is not None:
            version = pipe.version
            self._at(at, lambda now: self._gone(pipe, version, now))

    def _gone(self, pipe: Pipe, version: int, now: float) -> None:
        if version != pipe.version:
            return  # it was cancelled
        if self._witness is not None:
            self._witness.uploaded(pipe.head.size, now - pipe.since)
        since = pipe.since
        transfer, following = pipe.gone(now)
        self._await_head(pipe, following)
        transfer.then(now, now - since)

    def _sent(self, call: int, took: float, now: float) -> None:
        self._found.outcomes[call].sent = self._world.requests[call].size
        self._at(now + self._world.trips[call] + self._world.served[call], lambda now: self._answer(call, took, now))

    def _answer(self, call: int, took: float, now: float) -> None:
        if self._asked.pop(call, None) is None:
            return
        self._found.outcomes[call].cloud_came = True
        if self._witness is not None:
            self._witness.answered(self._world.trips[call] + self._world.served[call])
        self._decider.observe(Answered(now, call, 0, self._world.served[call], took))
        self._end(call, "cloud", now)

    def _deadline(self, call: int, now: float) -> None:
        if (asked := self._asked.pop(call, None)) is not None:
            self._give_up(call, *asked, now)
        self._end(call, "local" if call in self._ready else "none", now)

    def _give_up(self, call: int, pipe: Pipe, transfer: Transfer, now: float) -> None:
        outcome, since = self._found.outcomes[call], pipe.since
        outcome.sent, following = pipe.cancel(transfer, now)
        if self._witness is not None and 0.0 < outcome.sent < transfer.size:
            self._witness.uploaded(outcome.sent, now - since)
        self._await_head(pipe, following)
        outcome.cloud_came = False
        self._decider.observe(GivenUp(now, call, int(outcome.sent)))

    def _end(self, call: int, target: str, now: float) -> None:
        if call not in self._open:
            return
        self._open.discard(call)
        outcome = self._found.outcomes[call]
        outcome.target, outcome.elapsed = target, now - outcome.arrived
        self._decider.observe(Done(now, call, target, outcome.elapsed, target != "none"))
        self._device(now)

    def _device(self, now: float) -> None:
        """Begin with a local run, or wait until one must begin."""
        while not self._running and (following := self._decider.calendar.next(now)) is not None:
            start, promise = following
            if start > now + _SOON:
                self._at(start, self._device)
                return
            if self._decider.calendar.hopeless(promise, now):
                self._decider.observe(Shed(now, promise.call))
                continue
            self._decider.observe(Began(now, promise.call))
            self._begin(promise.call, now)

    def _begin(self, call: int, now: float) -> None:
        self._running = True
        self._found.outcomes[call].ran = True
        self._at(now + self._world.local[call], lambda now: self._ran(call, now))

    def _ran(self, call: int, now: float) -> None:
        self._running = False
        request = self._world.requests[call]
        self._decider.observe(Ran(now, call, Run(request.model, request.size, self._world.local[call])))
        if call in self._open:
            self._ready.add(call)  # the cloud's answer is still the better one
            if call not in self._asked:
                self._end(call, "local", now)
        self._device(now)

    def _probe(self, now: float) -> None:
        again, probing = self._decider.probe(now)
        if probing is not None:
            self._send_probe(probing, now)
        later = self._world.arrivals[len(self._found.outcomes) :]
        if again == _NEVER and not later:
            return
        self._at(max(later[0] if again == _NEVER else again, now + 0.01), self._probe)

    def _send_probe(self, probing: Probing, now: float) -> None:
        self._decider.probing(probing)
        self._found.probed += probing.size
        trip = self._world.trips[max(0, len(self._found.outcomes) - 1)]  # that of the last call

        def back(then: float, took: float) -> None:
            self._decider.probed(Probed(then, probing.endpoint, probing.size, then - now, took))

        pipe = self._pipes[probing.endpoint]
        transfer = Transfer(probing.size, lambda gone, took: self._at(gone + trip, lambda then: back(then, took)))
        self._await_head(pipe, pipe.put(transfer, now))
