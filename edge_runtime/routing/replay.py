"""What another policy would have done with the calls of a log. Pure.

A call that stayed on the device says nothing of the cloud. In hindsight the link is known all the same, from the calls and
probes before and after it: it is made into a world, and a router with the other policy is simulated in it. The policy of
the log is simulated there too: how far that is from what was logged tells how much to believe of the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from edge_runtime.errors import InputError
from edge_runtime.routing.events import Answered, Done, Event, GivenUp, Known, Paced, Planned, Probed, Ran, Ruled
from edge_runtime.routing.policy import Plan, Policy, Request
from edge_runtime.routing.router import Router, State
from edge_runtime.routing.simulator import Outcome, Simulator
from edge_runtime.routing.world import Uplink, World

SLOWEST, FASTEST = 250.0, 1e9
"""Bytes per second between which a link's rate is taken to be."""


class Fate(msgspec.Struct, frozen=True):
    """What became of one call, in a log or in a simulation. Seconds and bytes."""

    at: float
    """Since the first call."""
    target: str
    """Whose answer came in time: "local", "cloud", or "none"."""
    elapsed: float
    budget: float | None
    worth: float
    sent: float
    wasted: float
    reason: str


class Summary(msgspec.Struct, frozen=True):
    """One policy over all calls."""

    name: str
    calls: int
    met: int
    cloud: int
    local: int
    worth: float
    """Mean, of answers in time."""
    sent: float
    wasted: float
    """Bytes."""


class Replay(msgspec.Struct, frozen=True):
    """A log, and other policies in its world."""

    plans: int
    same: int
    """Plans of the log that come out the same when it is replayed with its own policy."""
    lost: int
    """Events that the log lacks."""
    fates: dict[str, tuple[Fate, ...]]
    """By policy: "as logged" first."""

    @property
    def summaries(self) -> tuple[Summary, ...]:
        return tuple(_summary(name, fates) for name, fates in self.fates.items())


LOGGED, AGAIN = "as logged", "the same, simulated"


def replay(state: State, events: Sequence[Event], policies: dict[str, Policy], lost: int = 0) -> Replay:
    """Hold these policies against a log that began with `state`. Raises InputError for a log without a call that had a
    cloud to go to."""
    known = _known(state, events)
    policy = _ruling(state, events)
    router = Router(msgspec.convert(msgspec.to_builtins(state), State))
    hindsight = _Hindsight(router)
    plans = same = 0
    for event in events:
        made = hindsight.see(event)
        if isinstance(event, Planned):
            plans, same = plans + 1, same + (made == event.plan)
    world = hindsight.world(known, policy)
    fates = {LOGGED: hindsight.fates(), **{n: _simulated(world, p, known) for n, p in {AGAIN: policy, **policies}.items()}}
    return Replay(plans, same, lost, fates)


def _known(state: State, events: Iterable[Event]) -> tuple[Known | Paced, ...]:
    """The models, and how long their local runs take."""
    found: list[Known | Paced] = []
    for name, local in state.models.items():
        found.append(local.known)
        found += [Paced(0.0, name, size, typical, slowest) for size, typical, slowest in local.pace.known.values()]
    return (*found, *(event for event in events if isinstance(event, Known | Paced)))


def _ruling(state: State, events: Iterable[Event]) -> Policy:
    """The policy that ruled last."""
    return next((e.policy for e in reversed(list(events)) if isinstance(e, Ruled)), state.policy)


class _Hindsight:
    """Collects, along a log, what its world was like."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self._calls: dict[int, Planned] = {}
        self._done: dict[int, Done] = {}
        self._served: dict[int, float] = {}
        self._local: dict[int, float] = {}
        self._sent: dict[int, int] = {}
        self._trips: dict[int, float] = {}
        self._rates: dict[str, list[tuple[float, float]]] = {}

    def see(self, event: Event) -> Plan | None:
        """One more line; the plan, where it is one of a call."""
        made = None
        if isinstance(event, Planned):
            made = self._router.plan(event.call, event.request, event.at)
            if (
                event.plan.predicted is not None
                or event.plan.target == "cloud"
                or self._router.may_ask(event.request.model)
            ):
                self._calls[event.call] = event
        else:
            where = self._router.where(event)
            self._router.tell(event)
            self._note(event, where)
        return made

    def _note(self, event: Event, where: str | None) -> None:
        if isinstance(event, Done):
            self._done[event.call] = event
            if event.ran is not None:
                self._local[event.call] = event.ran.seconds
        elif isinstance(event, Ran):
            self._local[event.call] = event.run.seconds
        elif isinstance(event, GivenUp):
            self._sent[event.call] = event.sent
        elif isinstance(event, Answered) and event.served is not None:
            self._served[event.call] = event.served
        if where is not None and isinstance(event, Answered | GivenUp | Probed):
            link = self._router.state.endpoints[where].link
            if link.per_byte:
                rate = min(max(1.0 / link.per_byte, SLOWEST), FASTEST)
                self._rates.setdefault(where, []).append((event.at, rate))
            if isinstance(event, Answered):
                self._trips[event.call] = link.round_trip

    def world(self, known: tuple[Known | Paced, ...], policy: Policy) -> World:
        """The calls, and each link as it is known in hindsight: between two observations as the later one found it."""
        if not self._calls:
            raise InputError("the log has no call of a model that a cloud could have answered")
        calls = list(self._calls.values())
        start = calls[0].at
        end = calls[-1].at + 60.0
        names = sorted({name for k in known if isinstance(k, Known) for name in k.endpoints})
        links = {name: _uplink(self._rates.get(name, []), start, end) for name in names}
        served = _filled([self._served.get(c.call) for c in calls], 0.0)
        trips = _filled([self._trips.get(c.call) for c in calls], 0.05)
        local = [self._local.get(c.call) or self._router.typical(c.request) for c in calls]
        return World(
            tuple(c.request for c in calls), tuple(c.at - start for c in calls), tuple(served), tuple(local), tuple(trips),
            links, known, policy.patience,
        )  # fmt: skip

    def fates(self) -> tuple[Fate, ...]:
        """As it was."""
        found = []
        first = next(iter(self._calls.values())).at
        for number, planned in self._calls.items():
            done = self._done.get(number)
            if done is None:
                continue  # the log ends in the middle of it
            target = done.target if done.met else "none"
            asked = planned.plan.target == "cloud"
            sent = float(self._sent.get(number, planned.request.size)) if asked else 0.0
            worth = self._router.worth(planned.request.model, target)
            wasted = 0.0 if target == "cloud" else sent
            at, budget = planned.at - first, planned.request.budget
            found.append(Fate(at, target, done.elapsed, budget, worth, sent, wasted, planned.plan.reason))
        return tuple(found)


def _uplink(rates: Sequence[tuple[float, float]], start: float, end: float) -> Uplink:
    """What was observed at an instant holds for the time before it."""
    times, speeds = [0.0], []
    for at, rate in rates:
        if times[-1] < at - start < end - start:
            times.append(at - start)
            speeds.append(rate)
    speeds.append(speeds[-1] if speeds else SLOWEST)
    return Uplink([*times, end - start], speeds)


def _filled(values: Sequence[float | None], default: float) -> list[float]:
    """Where nothing was seen, what was seen next; after the last, the last."""
    filled: list[float] = []
    following = next((v for v in reversed(values) if v is not None), default)
    for value in reversed(values):
        following = following if value is None else value
        filled.append(following)
    return filled[::-1]


def _simulated(world: World, policy: Policy, known: tuple[Known | Paced, ...]) -> tuple[Fate, ...]:
    router = Router()
    router.know(Ruled(0.0, policy))
    for event in known:
        router.know(event)
    outcomes = Simulator(world, router).run().outcomes
    return tuple(_fate(router, world.requests[i], outcome) for i, outcome in enumerate(outcomes))


def _fate(router: Router, request: Request, outcome: Outcome) -> Fate:
    worth = router.worth(request.model, outcome.target)
    wasted = outcome.sent if outcome.cloud_came is False else 0.0
    return Fate(
        outcome.arrived, outcome.target, outcome.elapsed, request.budget, worth, outcome.sent, wasted, outcome.plan.reason
    )  # fmt: skip


def _summary(name: str, fates: Sequence[Fate]) -> Summary:
    return Summary(
        name, len(fates), sum(f.target != "none" for f in fates), sum(f.target == "cloud" for f in fates),
        sum(f.target == "local" for f in fates), sum(f.worth for f in fates) / max(1, len(fates)),
        sum(f.sent for f in fates), sum(f.wasted for f in fates),
    )  # fmt: skip
