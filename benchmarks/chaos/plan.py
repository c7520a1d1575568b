"""What is ordered, what is desired, and what is destroyed, and when: all of it from a seed. Pure.

A job is what it does (a kind) and how it goes on (a course):

    good, wrong, slow, ill   deploys a version that is right; with other outputs; over its budget; not well on trial
    activate, missing        of a version that is there; that is not
    rollback, collect        of the model; of the decision log

    plain     to its end                       stop      in small steps, until a threshold stops it
    retry     up to three times more           cancel    half of its devices are called off
    abort     called off as a whole            expire    it expires while it is rolled out
    late      a step takes longer than it may
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import msgspec

from cloud_bridge.fleet.spec import Constant, Group, Rollout, Stop, Timeouts

Kind: TypeAlias = Literal["good", "wrong", "slow", "ill", "activate", "missing", "rollback", "collect"]
Course: TypeAlias = Literal["plain", "retry", "cancel", "abort", "expire", "late", "stop"]

MIX: Sequence[tuple[Kind, Course, int]] = (
    ("good", "plain", 6), ("good", "retry", 4), ("good", "cancel", 4), ("good", "abort", 3), ("good", "expire", 3),
    ("good", "late", 2), ("wrong", "plain", 2), ("wrong", "stop", 3), ("slow", "plain", 1), ("slow", "stop", 1),
    ("ill", "plain", 2), ("ill", "stop", 1), ("activate", "plain", 5), ("activate", "cancel", 2), ("missing", "plain", 1),
    ("rollback", "plain", 4), ("rollback", "cancel", 1), ("collect", "plain", 4), ("collect", "expire", 1),
)  # fmt: skip
"""Fifty jobs: so many of each."""

DEPLOYED: Sequence[Kind] = ("good", "wrong", "slow", "ill")
FIRST = ("0.9", "1.0")
"""Versions that every device has from the beginning; the second is active."""
NOWHERE = "9.9"
LIFE = 3600.0
GROUPS = 10


class Ordered(msgspec.Struct, frozen=True):
    """A job, and what the operator does about it later, in seconds from the beginning."""

    at: float
    job: str
    kind: Kind
    course: Course
    version: str
    groups: tuple[str, ...]
    """To whom it is given, unless it is to `things` by name."""
    things: tuple[str, ...]
    rollout: Rollout
    soak: float = 0.0
    life: float = LIFE
    cancels: tuple[tuple[float, str], ...] = ()
    abort: tuple[float, bool] | None = None
    """When, and whether with force."""


class Desired(msgspec.Struct, frozen=True):
    """A change of what is desired of some things."""

    at: float
    shadow: Literal["config", "models"]
    things: tuple[str, ...]
    change: dict[str, Any]


class Blow(msgspec.Struct, frozen=True):
    """A disturbance: a process is killed, and is away for so long; or the proxy is told something."""

    at: float
    what: Literal["devices", "controller", "broker", "proxy"]
    which: int = 0
    away: float = 0.0
    told: dict[str, Any] = {}


class Size(msgspec.Struct, frozen=True):
    """How much of everything."""

    seconds: float
    devices: int
    jobs: int
    processes: int
    controllers: int
    haste: float = 1.0
    """How many times more often something is destroyed than in a long run, and for a shorter time."""


class Plan(msgspec.Struct, frozen=True):
    """All of it."""

    groups: dict[str, tuple[str, ...]]
    """Of each thing."""
    ordered: tuple[Ordered, ...]
    desired: tuple[Desired, ...]
    blows: tuple[Blow, ...]

    def versions(self, *kinds: Kind) -> tuple[str, ...]:
        """That jobs of these kinds deploy."""
        return tuple(each.version for each in self.ordered if each.kind in kinds)


def plan(seed: int, size: Size) -> Plan:
    """The same for the same seed and size."""
    draw = random.Random(seed)  # noqa: S311 - no secret
    groups: dict[str, tuple[str, ...]] = {
        f"thing-{number:03}": (f"group-{number % GROUPS}",) for number in range(size.devices)
    }
    whole = [(kind, course) for kind, course, count in MIX for _ in range(count)]
    mix: list[tuple[Kind, Course]] = []
    while len(mix) < size.jobs:
        mix += draw.sample(whole, len(whole))
    times = sorted(draw.uniform(0.0, 0.8 * size.seconds) for _ in range(size.jobs))
    ordered = tuple(
        _ordered(draw, groups, number, at, *mix[number]) for number, at in enumerate(times)
    )  # fmt: skip
    wishes = draw.randint(1, 2) + round(size.seconds * size.haste / 8.0)
    desired = sorted((_desired(draw, groups, size.seconds) for _ in range(wishes)), key=lambda each: each.at)
    return Plan(groups, ordered, tuple(desired), tuple(sorted(_blows(draw, size), key=lambda blow: blow.at)))


def _ordered(
    draw: random.Random, groups: dict[str, tuple[str, ...]], number: int, at: float, kind: Kind, course: Course
) -> Ordered:
    named, things = _some(draw, groups)
    life = draw.uniform(4.0, 12.0) if course == "expire" else LIFE
    soak = {"late": 60.0, "retry": draw.uniform(4.0, 8.0)}.get(course, draw.choice((0.0, 0.0, 1.0, 2.0)))
    version = f"{2 + DEPLOYED.index(kind)}.{number}" if kind in DEPLOYED else draw.choice(FIRST)
    cancels = [(at + draw.uniform(0.2, 6.0), thing) for thing in things[::2]] if course == "cancel" else []
    abort = (at + draw.uniform(1.0, 8.0), draw.random() < 0.5) if course == "abort" else None
    return Ordered(
        at, f"job-{number:02}-{kind}-{course}", kind, course, NOWHERE if kind == "missing" else version, named, things,
        _rollout(draw, things, course), soak, life, tuple(cancels), abort,
    )  # fmt: skip


def _rollout(draw: random.Random, things: tuple[str, ...], course: Course) -> Rollout:
    whole = (Group("all", things, success=0.0),)
    match course:
        case "retry":
            return Rollout(whole, retries=3)
        case "stop":
            return Rollout(whole, in_flight=2, stops=(Stop("ALL", 50.0, least=2),))
        case "abort" | "expire":
            return Rollout(whole, rate=Constant(60 * max(1, len(things) // 8)))
        case "late":
            return Rollout(whole, timeouts=Timeouts(step=draw.uniform(4.0, 8.0)))
        case _ if len(things) > 5:
            parts = (Group("first", things[:3], success=0.0), Group("rest", things[3:], success=0.0))
            return draw.choice((Rollout(whole), Rollout(parts, in_flight=10)))
    return Rollout(whole)


def _desired(draw: random.Random, groups: dict[str, tuple[str, ...]], seconds: float) -> Desired:
    _, things = _some(draw, groups)
    at = draw.uniform(0.0, 0.9 * seconds)
    if draw.random() < 0.5:
        wish = draw.choice((*FIRST, *FIRST, NOWHERE, None))
        return Desired(at, "models", things, {"active": {"tiny": wish}})
    budget = draw.choice((draw.uniform(5.0, 60.0), draw.uniform(5.0, 60.0), -1.0, None))
    policy = draw.choice(({"quantile": draw.uniform(0.5, 0.99)}, {"byte_price": draw.uniform(0.0, 1e-6)}))
    return Desired(at, "config", things, draw.choice(({"budgets": {"tiny": budget}}, {"policy": policy})))


def _some(draw: random.Random, groups: dict[str, tuple[str, ...]]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Groups and their things; or things by name, and no group."""
    chance, names = draw.random(), sorted({name for named in groups.values() for name in named})
    if chance < 0.25:
        return (), tuple(sorted(draw.sample(sorted(groups), min(len(groups), draw.randint(1, 8)))))
    count = len(names) if chance > 0.95 else draw.randint(1, 2)
    chosen = tuple(sorted(draw.sample(names, min(len(names), count))))
    return chosen, tuple(thing for thing, named in groups.items() if not set(named).isdisjoint(chosen))


def _blows(draw: random.Random, size: Size) -> list[Blow]:
    kinds: Sequence[tuple[float, Callable[[float], Blow]]] = (
        (10.0, lambda at: Blow(at, "devices", draw.randrange(size.processes), draw.uniform(0.0, 3.0))),
        (20.0, lambda at: Blow(at, "controller", draw.randrange(size.controllers), draw.uniform(0.0, 8.0 / size.haste))),
        (60.0, lambda at: Blow(at, "broker", away=draw.uniform(0.0, 4.0))),
        (8.0, lambda at: Blow(at, "proxy", told={"act": "cut", "share": draw.uniform(0.02, 0.4)})),
        (20.0, lambda at: Blow(at, "proxy", told=_for(draw, "dark", 10.0 / size.haste))),
        (20.0, lambda at: Blow(at, "proxy", told=_for(draw, "stall", 8.0 / size.haste))),
    )
    blows = [Blow(0.0, "proxy", told={"act": "rough", "again": 0.05, "held": 0.1})]
    for every, make in kinds:
        at = min(draw.expovariate(size.haste / every), draw.uniform(0.1, 0.7) * size.seconds)  # of each at least one
        while at < size.seconds:
            blows.append(make(at))
            at += draw.expovariate(size.haste / every)
    return blows


def _for(draw: random.Random, act: str, most: float) -> dict[str, Any]:
    return {"act": act, "share": draw.uniform(0.05, 0.5), "seconds": draw.uniform(0.5, most)}
