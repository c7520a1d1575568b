"""What is known, and what follows from it. Deterministic: it changes only by what it is told, each with its instant; the
plans it makes are told to whoever keeps a log, and a new router fed with that log makes the same ones. Not locked:
callers lock."""

from __future__ import annotations

from collections.abc import Iterable
from math import exp

import msgspec

from edge_runtime.routing.calendar import Calendar, Promise
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
    Run,
    Shed,
)
from edge_runtime.routing.link import NEVER, WEIGHT, Breaker, Link
from edge_runtime.routing.odds import Odds
from edge_runtime.routing.pace import Pace
from edge_runtime.routing.policy import Here, Plan, Policy, Request, There, plan

TELLING = 3_000
"""Bytes from which the time that they took to come tells how fast the link is."""

FADES = 1.0
"""Seconds after which a predicted wait counts for 37 %."""

PROBE_SECONDS = 4.0
"""A probe that has not come back by then has failed."""


class Service(msgspec.Struct):
    """One model at one endpoint."""

    breaker: Breaker
    odds: Odds = Odds()
    served: float = 0.0
    """Seconds of the endpoint's work in a call, lately; waiting for its turn included, where the endpoint does not tell it
    apart."""
    wait: float = 0.0
    """Seconds that the endpoint predicted for the next call to wait, at the instant `told`."""
    told: float = NEVER
    received: int = 0
    """Bytes of its last answer."""

    def seconds(self, now: float) -> float:
        """What a call that came now would take there: a queue is forgotten as others' calls come and go."""
        return self.served + (self.wait * exp(-(now - self.told) / FADES) if self.wait else 0.0)


class Trial(msgspec.Struct, frozen=True):
    """A call under way at an endpoint."""

    model: str
    size: int
    asked: float
    until: float
    ahead: int
    """Bytes of earlier calls that had not left when it was sent."""
    predicted: float | None


class Endpoint(msgspec.Struct):
    """One cloud."""

    link: Link
    breaker: Breaker
    services: dict[str, Service] = {}
    under_way: dict[int, Trial] = {}
    probing: float | None = None
    """When the probe left that has not come back."""
    probed: bool = True
    """It takes probes, as far as is known."""

    def service(self, model: str) -> Service:
        """What is known of this model there."""
        if (service := self.services.get(model)) is None:
            service = self.services[model] = Service(Breaker())
        return service

    def ahead(self, now: float) -> int:
        """Bytes of earlier calls that have not left yet, as far as can be told from here."""
        if not self.under_way or (per_byte := self.link.per_byte) is None:
            return 0
        sent = int((now - min(t.asked for t in self.under_way.values())) / per_byte)
        return max(0, sum(t.size for t in self.under_way.values()) - sent)


class Local(msgspec.Struct):
    """A model, and how its local runs go."""

    known: Known
    pace: Pace


class State(msgspec.Struct):
    """All that a router knows; as JSON it begins each file of a decision log."""

    policy: Policy
    calendar: Calendar
    models: dict[str, Local] = {}
    endpoints: dict[str, Endpoint] = {}
    called: float = NEVER
    size: int = 0
    """Bytes of the last call."""


class Router:
    """Plans calls, and learns from what becomes of them."""

    def __init__(self, state: State | None = None) -> None:
        self.state = State(Policy(), Calendar()) if state is None else state
        self._where = {call: e for e in self.state.endpoints.values() for call in e.under_way}

    @property
    def policy(self) -> Policy:
        return self.state.policy

    @property
    def calendar(self) -> Calendar:
        return self.state.calendar

    def know(self, event: Known | Paced | Linked | Ruled) -> None:
        """A model, its pace, a link, or another policy."""
        if isinstance(event, Ruled):
            self.state.policy = event.policy
        elif isinstance(event, Paced):
            self.state.models[event.model].pace.seed(event.size, event.typical, event.slowest)
        elif isinstance(event, Linked):
            link = Link(event.per_byte, event.round_trip)  # not heard of since: the first call's answer counts for more
            self.state.endpoints[event.endpoint] = Endpoint(link, Breaker())
        else:
            self.state.models[event.model] = Local(event, Pace())
            self.state.called = max(self.state.called, event.at)  # so that the link is known by the first call
            for name in event.endpoints:
                endpoint = self.state.endpoints.setdefault(name, Endpoint(Link(), Breaker()))
                endpoint.service(event.model).served = event.worked.get(name, 0.0)

    def tell(self, event: Event) -> None:
        """Any line of a log but a plan."""
        if isinstance(event, Known | Paced | Linked | Ruled):
            self.know(event)
        elif isinstance(event, Probing):
            self.probing(event)
        elif isinstance(event, Probed):
            self.probed(event)
        elif not isinstance(event, Planned):
            self.observe(event)

    def where(self, event: Event) -> str | None:
        """The endpoint that an event is about, before it is told."""
        if isinstance(event, Probed | Probing):
            return event.endpoint
        if isinstance(event, Answered | GivenUp | Failed):
            return next((name for name, e in self.state.endpoints.items() if event.call in e.under_way), None)
        return None

    def may_ask(self, model: str) -> bool:
        """Whether a cloud can answer for this model."""
        return bool(self.state.models[model].known.endpoints)

    def worth(self, model: str, target: str) -> float:
        """Of an answer in time by "local" or "cloud"; 0 of "none"."""
        known = self.state.models[model].known
        return (known.local if target == "local" else known.cloud if target == "cloud" else None) or 0.0

    def typical(self, request: Request) -> float:
        """Seconds that a local run takes mostly."""
        pace = self.state.models[request.model].pace.of(request.size)
        return 0.0 if pace is None else pace[0]

    def plan(self, call: int, request: Request, now: float) -> Plan:
        """Decide call number `call`, which came now."""
        state = self.state
        model, calendar = state.models[request.model], state.calendar
        state.called, state.size = now, request.size
        here, promise = self._here(call, model, request, now)
        calendar.arrived(now, 0.0 if promise is None else promise.typical)
        made = plan(request, here, self._there(model, request, now), state.policy, now)
        if made.target == "cloud":
            self._ask(call, request, made, now)
        if promise is None:
            return made
        if made.begun:
            calendar.take(call, now, promise.typical)
        elif made.target == "local":
            calendar.promise(msgspec.structs.replace(promise, at_once=True))
        elif made.hold is not None:
            calendar.promise(promise)
        return made

    def observe(self, event: Answered | Failed | GivenUp | Began | Shed | Ran | Done) -> None:
        """Something became of a call."""
        if isinstance(event, Done):
            self.calendar.drop(event.call)
            if event.ran is not None:
                self._ran(event.call, event.ran)
        elif isinstance(event, Ran):
            self._ran(event.call, event.run)
        elif isinstance(event, Began):
            self.calendar.begin(event.call, event.at)
        elif isinstance(event, Shed):
            self.calendar.drop(event.call)
        elif (endpoint := self._where.pop(event.call, None)) is not None:
            trial = endpoint.under_way.pop(event.call)
            if isinstance(event, Answered):
                self._answered(endpoint, trial, event)
            elif isinstance(event, GivenUp):
                self._given_up(endpoint, trial, event)
            else:
                self._failed(endpoint, trial, event)

    def probe(self, now: float) -> tuple[float, Probing | None]:
        """The probe that is due now, or None; and when to ask again."""
        policy = self.policy
        again = now + policy.probe_after
        if now - self.state.called > policy.probe_for:
            return float("inf"), None  # until the next call
        size = int(min(max(policy.probe_share * self.state.size, policy.least_probe), policy.most_probe))
        for name, endpoint in self.state.endpoints.items():
            if endpoint.probing is not None or endpoint.under_way or not endpoint.probed:
                continue
            breaker = endpoint.breaker
            due = breaker.down_until if breaker.failures else endpoint.link.heard + policy.probe_after
            if due <= now:
                return now, Probing(now, name, size)
            again = min(again, due)
        return again, None

    def probing(self, event: Probing) -> None:
        """A probe has left."""
        endpoint = self.state.endpoints[event.endpoint]
        endpoint.probing = event.at
        endpoint.breaker.trying(event.at + PROBE_SECONDS)

    def probed(self, event: Probed) -> None:
        """A probe has come back, or has not."""
        endpoint = self.state.endpoints[event.endpoint]
        asked, endpoint.probing = endpoint.probing, None
        if event.never:
            endpoint.probed = False
        if not event.failed or event.never:
            endpoint.breaker.answered()
            endpoint.link.moved(event.size, event.seconds, event.at, _per_byte(event.size, event.uploading))
            return
        endpoint.breaker.failed(
            event.at if asked is None else asked, event.at, self.policy, event.draw, absent=event.absent,
            retry_after=event.retry_after,
        )  # fmt: skip

    def _ran(self, call: int, run: Run) -> None:
        self.calendar.end(call)
        if not run.failed:
            self.state.models[run.model].pace.observe(run.size, run.seconds)

    def _here(self, call: int, model: Local, request: Request, now: float) -> tuple[Here | None, Promise | None]:
        worth = model.known.local
        if worth is None:
            return None, None
        typical, slowest = model.pace.of(request.size) or (0.0, 0.0)
        policy, calendar = self.state.policy, self.state.calendar
        safe = max(slowest, policy.margin * typical)
        limit = policy.patience if request.budget is None else request.budget
        promise = Promise(call, now + limit, typical, safe + policy.spare(limit))
        if calendar.idle:
            return Here(typical, safe, promise.deadline - promise.safe, now, worth, True), promise
        ready = calendar.ready(now, promise.deadline)
        return Here(typical, safe, calendar.start(promise), ready, worth), promise

    def _there(self, model: Local, request: Request, now: float) -> list[There]:
        worth = model.known.cloud
        if worth is None:
            return []
        names = model.known.endpoints
        if len(names) == 1:
            return [self._way(names[0], request, worth, now)]
        return [self._way(name, request, worth, now) for name in _two(names, request.draw)]

    def _way(self, name: str, request: Request, worth: float, now: float) -> There:
        endpoint = self.state.endpoints[name]
        service = endpoint.service(request.model)
        ahead = endpoint.ahead(now) if endpoint.under_way else 0
        on_the_way = endpoint.link.seconds(request.size + service.received + ahead)
        there = service.seconds(now)
        seconds = None if on_the_way is None else on_the_way + there
        return There(
            name, request.size, seconds, service.odds, worth, service.served,
            max(endpoint.breaker.down_until, service.breaker.down_until),
        )  # fmt: skip

    def _ask(self, call: int, request: Request, made: Plan, now: float) -> None:
        endpoint = self.state.endpoints[made.endpoint]
        until = now + (made.give_up or 0.0)
        endpoint.under_way[call] = Trial(
            request.model, request.size, now, until, endpoint.ahead(now), made.predicted
        )  # fmt: skip
        self._where[call] = endpoint
        endpoint.breaker.trying(until)
        endpoint.service(request.model).breaker.trying(until)

    def _answered(self, endpoint: Endpoint, trial: Trial, event: Answered) -> None:
        service = endpoint.service(trial.model)
        endpoint.breaker.answered()
        service.breaker.answered()
        if event.served is not None:
            fresh = service.served == 0.0
            worked = max(0.0, event.served - (event.waited or 0.0))
            service.served += (1.0 if fresh else WEIGHT) * (worked - service.served)
        if event.wait is not None:
            service.wait, service.told = event.wait, event.at
        service.received = event.received
        took = event.at - trial.asked
        on_the_way = took - (service.served if event.served is None else event.served)
        per_byte = _per_byte(trial.size, event.uploading)
        endpoint.link.moved(trial.size + event.received + trial.ahead, on_the_way, event.at, per_byte)
        self._learn(service, trial, event.at <= trial.until)

    def _given_up(self, endpoint: Endpoint, trial: Trial, event: GivenUp) -> None:
        if not event.late:
            return
        service = endpoint.service(trial.model)
        took = event.at - trial.asked
        size = trial.size + trial.ahead
        sent = (
            min(size, event.sent + trial.ahead)
            if event.sent
            else min(trial.ahead, int(took / (endpoint.link.per_byte or 1)))
        )
        endpoint.link.stuck(sent, size, max(took - service.served, 0.1 * took), 4.0 * took, event.at)
        self._learn(service, trial, False)

    def _failed(self, endpoint: Endpoint, trial: Trial, event: Failed) -> None:
        breaker = endpoint.service(trial.model).breaker if event.only_model else endpoint.breaker
        breaker.failed(
            trial.asked, event.at, self.policy, event.draw, absent=event.absent, retry_after=event.retry_after
        )  # fmt: skip
        self.calendar.hurry(event.call)
        if event.absent:
            endpoint.link.heard = NEVER  # when it is back it may be another link

    def _learn(self, service: Service, trial: Trial, came: bool) -> None:
        if trial.predicted is not None:
            time = trial.until - trial.asked
            service.odds = service.odds.learnt(time, trial.predicted, came, self.policy.learning)


def _per_byte(size: int, uploading: float | None) -> float | None:
    """What the endpoint's own clock tells; nothing of what comes in one or two packets."""
    return None if uploading is None or size < TELLING else max(uploading / size, 1e-10)


def _two(endpoints: tuple[str, ...], draw: float) -> Iterable[str]:
    """Two of them at random, or all where there are no more: the better of two keeps many devices from all choosing the
    same."""
    count = len(endpoints)
    if count <= 2:
        return endpoints
    number = min(int(draw * count * (count - 1)), count * (count - 1) - 1)
    one, other = divmod(number, count - 1)
    return endpoints[one], endpoints[other + (other >= one)]
