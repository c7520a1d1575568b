"""The policies that ours is held against, with the same calendar for local runs and the same probes. Where a rival needs
to know how fast the link is, it sees what no device could: how long each upload took by itself, without the round trip."""

from __future__ import annotations

from collections import deque
from typing import Protocol

import numpy as np

from benchmarks.routing.world import ENDPOINT
from edge_runtime.routing.calendar import Calendar, Promise
from edge_runtime.routing.events import Answered, Began, Done, Failed, GivenUp, Paced, Probed, Probing, Ran, Shed
from edge_runtime.routing.pace import Pace
from edge_runtime.routing.policy import Plan, Policy, Request
from edge_runtime.routing.world import World


class Rule(Protocol):
    """How a rival predicts the cloud's time for this cell's payload, in seconds; None where it knows nothing yet."""

    def seen(self, per_byte: float | None, rest: float | None) -> None: ...
    def seconds(self) -> float | None: ...


class Always:
    """Predicts the same, whatever is seen."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def seen(self, per_byte: float | None, rest: float | None) -> None:
        pass

    def seconds(self) -> float | None:
        return self._seconds


class Smoothed:
    """Running means, with 1/8 of the newest; plus `deviations` times the mean deviation (RFC 6298 takes four)."""

    def __init__(self, size: int, deviations: float = 0.0) -> None:
        self._size, self._deviations = size, deviations
        self._per_byte: float | None = None
        self._rest = 0.055
        self._mean: float | None = None
        self._deviation = 0.0

    def seen(self, per_byte: float | None, rest: float | None) -> None:
        if per_byte is not None:
            self._per_byte = per_byte if self._per_byte is None else self._per_byte + (per_byte - self._per_byte) / 8
        if rest is not None:
            self._rest += (rest - self._rest) / 8
        if self._per_byte is None or not self._deviations:
            return
        sample = (self._per_byte if per_byte is None else per_byte) * self._size + (self._rest if rest is None else rest)
        if self._mean is None:
            self._mean, self._deviation = sample, sample / 2
        else:
            self._deviation += (abs(sample - self._mean) - self._deviation) / 4
            self._mean += (sample - self._mean) / 8

    def seconds(self) -> float | None:
        if self._per_byte is None:
            return None
        if self._mean is not None:
            return self._mean + self._deviations * self._deviation
        return self._per_byte * self._size + self._rest


class Quantile:
    """The 95 % quantile of the last 64."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._samples: deque[float] = deque(maxlen=64)
        self._rest = 0.055

    def seen(self, per_byte: float | None, rest: float | None) -> None:
        if rest is not None:
            self._rest += (rest - self._rest) / 8
        if per_byte is not None:
            self._samples.append(per_byte * self._size + self._rest)

    def seconds(self) -> float | None:
        return float(np.quantile(self._samples, 0.95)) if self._samples else None


class Rival:
    """Sends what is predicted to be in time. With `held` the local run is held back; without it there is none beside."""

    def __init__(self, rule: Rule, *, held: bool, policy: Policy = Policy()) -> None:
        self.calendar = Calendar()
        self.pace = Pace()
        self._rule, self._is_held, self._policy = rule, held, policy
        self._asked: dict[int, float] = {}
        self._heard = float("-inf")
        self._size = 0
        self._probing = False

    def uploaded(self, size: float, seconds: float) -> None:
        """An upload took so long, whole or as far as it came."""
        self._rule.seen(seconds / size, None)

    def plan(self, call: int, request: Request, now: float) -> Plan:
        assert request.budget is not None  # noqa: S101
        self._size = request.size
        typical, slowest = self.pace.of(request.size) or (0.0, 0.0)
        self.calendar.arrived(now, typical)
        guard = max(self._policy.guard, self._policy.guard_share * request.budget)
        safe = max(slowest, self._policy.margin * typical)
        promise = Promise(call, now + request.budget, typical, safe + guard)
        seconds = self._rule.seconds()
        if seconds is None or seconds <= request.budget:
            hold = max(0.0, self.calendar.start(promise) - now) if self._is_held else None
            if self._is_held:
                self.calendar.promise(promise)
            self._asked[call] = now
            return Plan("cloud", "", ENDPOINT, hold=hold, give_up=request.budget)
        self.calendar.promise(Promise(call, promise.deadline, typical, promise.safe, at_once=True))
        return Plan("local", "")

    def observe(self, event: Answered | Failed | GivenUp | Began | Shed | Ran | Done) -> None:
        if isinstance(event, Began):
            self.calendar.begin(event.call, event.at)
        elif isinstance(event, Ran):
            self.calendar.end(event.call)
            self.pace.observe(event.run.size, event.run.seconds)
        elif isinstance(event, Done | Shed):
            self.calendar.drop(event.call)
        elif isinstance(event, Answered | GivenUp):
            self._heard = event.at
            self._asked.pop(event.call, None)

    def answered(self, seconds: float) -> None:
        """Round trip and work of a call that was answered."""
        self._rule.seen(None, seconds)

    def probe(self, now: float) -> tuple[float, Probing | None]:
        due = self._heard + self._policy.probe_after
        if self._probing or self._asked:
            return now + self._policy.probe_after, None
        if due > now:
            return due, None
        size = int(min(max(self._policy.probe_share * self._size, self._policy.least_probe), self._policy.most_probe))
        return now, Probing(now, ENDPOINT, size)

    def probing(self, event: Probing) -> None:
        self._probing = True

    def probed(self, event: Probed) -> None:
        self._probing, self._heard = False, event.at


def rivals(world: World) -> dict[str, Rival]:
    """One of each, for a world whose calls are all alike, by name."""
    size = world.requests[0].size
    mean = size / world.links[ENDPOINT].mean + float(np.mean(world.trips) + np.mean(world.served))
    made = {
        "always local": Rival(Always(float("inf")), held=False),
        "always cloud": Rival(Always(0.0), held=False),
        "static mean": Rival(Always(mean), held=False),
        "EWMA": Rival(Smoothed(size), held=False),
        "RFC 6298": Rival(Smoothed(size, 4.0), held=False),
        "95 % quantile": Rival(Quantile(size), held=False),
        "EWMA + held-back local": Rival(Smoothed(size), held=True),
        "cloud + held-back local": Rival(Always(0.0), held=True),
    }
    for rival in made.values():
        for event in world.known:
            if isinstance(event, Paced):
                rival.pace.seed(event.size, event.typical, event.slowest)
    return made
