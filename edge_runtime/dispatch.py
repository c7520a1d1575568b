"""What routing needs of the world: the clock, the locks, the remotes, the device's turn, probes, and the log of
decisions."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Literal

from edge_runtime.decisions import DecisionLog
from edge_runtime.errors import EdgeError, LateError, RefusedError, RemoteError, UnreachableError
from edge_runtime.links import Links
from edge_runtime.remote import Pending, Remote
from edge_runtime.routing.calendar import Calendar
from edge_runtime.routing.events import (
    Answered,
    Began,
    Done,
    Event,
    Failed,
    GivenUp,
    Known,
    Linked,
    Paced,
    Planned,
    Probed,
    Probing,
    Ran,
    Ruled,
    Shed,
)
from edge_runtime.routing.policy import Plan, Policy, Request
from edge_runtime.routing.router import PROBE_SECONDS, Router, State

Turn = Literal["run", "settled", "over", "shed"]
"""What a call that waited is to do: run locally; take what the cloud gave; end, for its time is up; go without a local
run."""

NO_PROBES = 501
"""The status of a server that takes no probes: it is there, and is not asked again."""


class Dispatch:
    """One device's routing, shared by its models. Every method may be called from any thread."""

    def __init__(self, remotes: Sequence[Remote], policy: Policy, log: DecisionLog | None = None) -> None:
        self.remotes = _named(remotes)
        self._router = Router(State(policy, Calendar()))
        self._lock = threading.Lock()  # guards the router
        self._changed = threading.Condition(self._lock)
        self._waiting = 0
        self._numbers = itertools.count(1)
        self.draw = random.Random().random  # noqa: S311 - spreads load, keeps no secret
        """A random number in 0..1: routing itself draws none."""
        self._log = log
        self._prober: threading.Thread | None = None
        self._idle = False
        self._closed = False
        if log is not None:
            log.begin(self._lock, lambda: self._router.state)

    @property
    def policy(self) -> Policy:
        """What rules now; another one may be set while calls are under way, and rules from the next call on."""
        return self._router.policy

    @policy.setter
    def policy(self, policy: Policy) -> None:
        self._know(Ruled(monotonic(), policy))

    def know(
        self,
        model: str,
        local: float | None,
        cloud: float,
        pace: tuple[int, float, float] | None,
        worked: Mapping[str, float] = {},
    ) -> None:
        """A model that may be asked of the remotes: what answers are worth; bytes of input, typical and slowest seconds of
        a local run, and seconds of each remote's work, as far as they were measured."""
        now = monotonic()
        there = {name: seconds for name, seconds in worked.items() if name in self.remotes}
        self._know(Known(now, model, local, cloud, tuple(self.remotes), there))
        if pace is not None:
            self._know(Paced(now, model, *pace))

    def linked(self, links: Links) -> None:
        """What was measured of the way to the remotes, before any model is known."""
        for name in self.remotes:
            if (link := links.of(name)) is not None:
                self._know(Linked(monotonic(), name, link.round_trip, link.per_byte))

    def plan(self, request: Request) -> tuple[int, Plan]:
        """Decide a call that came now: its number, and the plan."""
        with self._lock:
            now = monotonic()
            call = next(self._numbers)
            made = self._router.plan(call, request, now)
            if self._log is not None:
                self._log.keep(Planned(now, call, request, made))
            if self._waiting:
                self._changed.notify_all()  # those that are held back may have to begin sooner now
            if self._idle or self._prober is None:
                self._wake_prober()
        return call, made

    def observe(self, event: Answered | Failed | GivenUp | Ran | Done) -> None:
        """Something became of a call."""
        with self._lock:
            self._router.observe(event)
            if self._log is not None:
                self._log.keep(event)
            if self._waiting:
                self._changed.notify_all()

    def failed(self, call: int, error: RemoteError) -> None:
        """The cloud gave this call an error."""
        self.observe(
            Failed(
                monotonic(), call, isinstance(error, UnreachableError), _only_this_model(error), self.draw(),
                error.retry_after if isinstance(error, RefusedError) else None,
            )
        )  # fmt: skip

    def wake(self) -> None:
        """A cloud has answered, or failed: whoever waits looks again."""
        with self._lock:
            self._changed.notify_all()

    def await_turn(self, call: int, settled: Callable[[], bool], until: float) -> Turn:
        """Wait for what comes first: the cloud, the moment at which the local run must begin, or the end."""
        calendar = self._router.calendar
        with self._lock:
            while True:
                if settled():
                    return "settled"
                now = monotonic()
                if now >= until:
                    return "over"
                wait = until - now
                if (following := calendar.next(now)) is not None:
                    start, promise = following
                    if promise.call == call:
                        if start <= now:
                            return self._begin(call, calendar.hopeless(promise, now), now)
                        wait = min(wait, start - now)
                self._waiting += 1
                self._changed.wait(wait)
                self._waiting -= 1

    def close(self) -> None:
        """End the probes. The remotes are their owner's."""
        with self._lock:
            self._closed = True
            self._changed.notify_all()
        if self._prober is not None:
            self._prober.join()
        if self._log is not None:
            self._log.close()

    def _begin(self, call: int, hopeless: bool, now: float) -> Turn:
        event = Shed(now, call) if hopeless else Began(now, call)
        self._router.observe(event)
        self._keep(event)
        if hopeless:
            self._changed.notify_all()
            return "shed"
        return "run"

    def _know(self, event: Known | Paced | Linked | Ruled) -> None:
        with self._lock:
            self._router.know(event)
            self._keep(event)

    def _keep(self, event: Event) -> None:
        if self._log is not None:
            self._log.keep(event)

    def _wake_prober(self) -> None:
        if self._prober is None and not self._closed:
            self._prober = threading.Thread(target=self._probe, name="edge-runtime-probe", daemon=True)
            self._prober.start()
        self._changed.notify_all()

    def _probe(self) -> None:
        """The probing thread's life."""
        under_way: dict[str, tuple[Pending, Probing]] = {}
        while True:
            for name in [name for name, (pending, p) in under_way.items() if _over(pending, p)]:
                self._probed(*under_way.pop(name))
            with self._lock:
                if self._closed:  # asked here: that it closes is told once, and would not be heard before the wait
                    break
                now = monotonic()
                again, probing = self._router.probe(now)
                if probing is not None:
                    self._router.probing(probing)
                    self._keep(probing)
                elif not any(_over(pending, p) for pending, p in under_way.values()):
                    again = min([again, *(p.at + PROBE_SECONDS for _, p in under_way.values())])
                    self._idle = again == float("inf")
                    self._changed.wait(None if self._idle else max(0.001, again - now))
                    self._idle = False
            if probing is not None:
                self._send_probe(probing, under_way)
        for pending, _ in under_way.values():
            pending.cancel()

    def _send_probe(self, probing: Probing, under_way: dict[str, tuple[Pending, Probing]]) -> None:
        try:
            pending = self.remotes[probing.endpoint].probe(probing.size)
        except EdgeError as error:
            self._tell_probed(probing, error, 0)
        else:
            under_way[probing.endpoint] = pending, probing
            pending.add_done_callback(self.wake)

    def _probed(self, pending: Pending, probing: Probing) -> None:
        try:
            reply = pending.result(0.0)
        except RemoteError as error:
            self._tell_probed(probing, error, pending.cancel())
        else:
            self._tell_probed(probing, None, probing.size, reply.uploading)

    def _tell_probed(
        self, probing: Probing, error: EdgeError | None, sent: int, uploading: float | None = None
    ) -> None:  # fmt: skip
        now = monotonic()
        refused = error if isinstance(error, RefusedError) else None
        event = Probed(
            now, probing.endpoint, probing.size, now - probing.at, uploading, failed=error is not None,
            absent=isinstance(error, UnreachableError | LateError), sent=sent, draw=self.draw(),
            retry_after=None if refused is None else refused.retry_after,
            never=refused is not None and refused.status == NO_PROBES,
        )  # fmt: skip
        with self._lock:
            self._router.probed(event)
            self._keep(event)
            self._changed.notify_all()


def _over(pending: Pending, probing: Probing) -> bool:
    return pending.done() or monotonic() >= probing.at + PROBE_SECONDS


def _only_this_model(error: RemoteError) -> bool:
    """The endpoint is there for others: it does not know this model, or not in this form, or broke over it."""
    if isinstance(error, RefusedError):
        return error.status not in {408, 429, 502, 503, 504}
    return not isinstance(error, UnreachableError)


def _named(remotes: Sequence[Remote]) -> Mapping[str, Remote]:
    """By their names, which are made different where they are not."""
    found: dict[str, Remote] = {}
    for remote in remotes:
        name, number = remote.name, 2
        while name in found:
            name, number = f"{remote.name}#{number}", number + 1
        found[name] = remote
    return found
