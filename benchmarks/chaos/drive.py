"""A run: the plan carried out, then calm, then the wait until all agree. One thread, one clock."""

from __future__ import annotations

import heapq
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count

import msgspec

from benchmarks.chaos import shadows
from benchmarks.chaos.broker import Mosquitto
from benchmarks.chaos.evidence import state
from benchmarks.chaos.operator import Desires, Operator
from benchmarks.chaos.plan import Blow, Ordered, Plan
from benchmarks.chaos.stage import Process, Stage
from benchmarks.chaos.way import Done
from cloud_bridge.fleet.controller import cancel, tell
from cloud_bridge.fleet.events import Aborted
from cloud_bridge.fleet.registry import Registry
from cloud_bridge.fleet.state import OVER
from cloud_bridge.protocol.fleet.jobs import TERMINAL
from cloud_bridge.protocol.fleet.shadow import CONFIG, MODELS
from edge_runtime.errors import RemoteError

TICK = 0.02
LOOK = 1.0
"""Seconds between two looks at whether all agree."""


class Seen(msgspec.Struct, frozen=True):
    """What a run was like."""

    kills: dict[str, int]
    proxy: Done
    settling: float
    """Seconds from the last disturbance until all agreed; infinite: they had not when the patience was over."""
    unsettled: tuple[str, ...]
    """What did not agree then."""
    looks: tuple[tuple[float, int, str], ...]
    """After how many seconds how much did not agree, and the first of it."""
    dead: tuple[str, ...]
    """Processes that ended by themselves."""


class Run:
    """One."""

    def __init__(
        self, stage: Stage, operator: Operator, registry: Registry, plan: Plan, progress: Callable[[float], object]
    ) -> None:
        self._stage, self._operator, self._registry, self._plan = stage, operator, registry, plan
        self._progress = progress
        self.desires = Desires(stage.url)
        self._kills: Counter[str] = Counter()
        self._dead: list[str] = []
        self._looks: list[tuple[float, int, str]] = []
        self._due: list[tuple[float, int, Callable[[], object]]] = []
        self._number = count()

    def carry_out(self, seconds: float, patience: float) -> Seen:
        """All of the plan in so many seconds, then as many more as it takes for all to agree."""
        begin = time.monotonic()
        for what in self._plan.ordered:
            self._at(begin + what.at, partial(self._order, what, begin))
        for wish in self._plan.desired:
            self._at(begin + wish.at, partial(self.desires.desire, wish))
        for blow in self._plan.blows:
            self._at(begin + blow.at, partial(self._strike, blow))
        self._until(begin + seconds, begin)
        self._until(max([begin + seconds, *(at for at, _, _ in self._due)]), begin)  # what was killed is started again
        self._dead += self._stage.dead()
        self._stage.disturb({"act": "calm"})
        proxy = self._stage.done()
        settling, unsettled = self._settle(patience, begin)
        self._dead += self._stage.dead()
        self.desires.close()
        return Seen(dict(self._kills), proxy, settling, unsettled, tuple(self._looks), tuple(self._dead))

    def _at(self, when: float, act: Callable[[], object]) -> None:
        heapq.heappush(self._due, (when, next(self._number), act))

    def _until(self, end: float, begin: float) -> None:
        while (now := time.monotonic()) < end:
            self._act(now)
            self.desires.step(now)
            self._progress(now - begin)
            time.sleep(TICK)
        self._act(end)

    def _act(self, now: float) -> None:
        """What is due by now; what a busy registry did not take, a second later."""
        while self._due and self._due[0][0] <= now:
            _, _, act = heapq.heappop(self._due)
            try:
                act()
            except RemoteError:
                self._at(now + 1.0, act)

    def _order(self, what: Ordered, begin: float) -> None:
        self._operator.order(self._registry, what)
        for at, thing in what.cancels:
            self._at(begin + at, partial(self._cancel, what.job, thing))
        if what.abort is not None:
            at, force = what.abort
            self._at(begin + at, lambda: tell(self._registry, what.job, Aborted(time.time(), force=force)))

    def _cancel(self, job: str, thing: str) -> None:
        cancel(self._registry, job, thing, time.time())

    def _strike(self, blow: Blow) -> None:
        if blow.what == "proxy":
            self._stage.disturb(blow.told)
            return
        struck: Process | Mosquitto = self._stage.broker
        match blow.what:
            case "devices":
                struck = self._stage.devices[blow.which]
            case "controller":
                struck = self._stage.controllers[blow.which]
        if struck.runs:  # else it is away already
            struck.kill()
            self._at(time.monotonic() + blow.away, struck.start)
            self._kills[blow.what] += 1

    def _settle(self, patience: float, begin: float) -> tuple[float, tuple[str, ...]]:
        calm = time.monotonic()
        while True:
            self._until(time.monotonic() + LOOK, begin)
            unsettled = (*self._unsettled(),)
            took = time.monotonic() - calm
            self._looks.append((took, len(unsettled), next(iter(unsettled), "")))
            if not unsettled:
                return took, ()
            if took > patience or self._stage.dead():
                return float("inf"), unsettled

    def _unsettled(self) -> Iterator[str]:
        yield from (f"{name} of {thing} is not desired yet" for thing, name in self.desires.open)
        moved: set[str] = set()
        for what in self._plan.ordered:
            phase = self._registry.jobs.get(what.job).phase
            if phase not in OVER:
                yield f"{what.job} is {phase}"
            for thing, execution in self._registry.jobs.executions(what.job).items():
                if execution.status not in TERMINAL:
                    yield f"{what.job} on {thing} is {execution.status}, {execution.status_details}"
                if execution.status not in ("FAILED", "REJECTED") and what.kind != "collect":
                    moved.add(thing)
        yield from self._of_devices(moved)

    def _of_devices(self, moved: set[str]) -> Iterator[str]:
        owed = self._stage.owed()
        ready = {device.thing for device in self._registry.devices.all(state="ready")}
        for thing in self._plan.groups:
            if thing not in ready:
                yield f"{thing} is not ready"
            if (owes := owed.get(thing)) is None or owes.job or owes.waiting or owes.trial:
                yield f"{thing} owes {owes}"
            active = state(self._stage.folder / "devices" / thing).active
            for name in (CONFIG, MODELS):
                shadow, wanted = self._registry.devices.shadow(thing, name), self.desires.wanted.get((thing, name), {})
                for words in shadows.apart(name, wanted, shadow, active, thing in moved):
                    yield f"shadow {name} of {thing}: {words}"
