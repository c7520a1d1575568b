"""From what an operator asks for to whom an order is given, and how it is rolled out. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from cloud_bridge.fleet.spec import Constant, Exponential, Group, Rollout, Stop, Timeouts
from cloud_bridge.protocol.fleet import names
from cloud_bridge.protocol.fleet.presence import Presence
from edge_runtime.errors import InputError

REST = "rest"
"""In the order of groups: all that are in none of the others."""

NAMED = 48 * 1024
"""Bytes of names that an order takes; beyond that its things are named by their groups."""


class Known(msgspec.Struct, frozen=True):
    """A thing as the registry knows it."""

    thing: str
    groups: tuple[str, ...] = ()
    """Those that it named itself, and those that an operator put it in."""
    presence: Presence = Presence()

    @property
    def named(self) -> tuple[str, ...]:
        """The groups whose orders it takes."""
        return () if self.presence.birth is None else self.presence.birth.groups


class Targets(msgspec.Struct, frozen=True):
    """To whom, as an operator says it."""

    things: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    everybody: bool = False


class Pace(msgspec.Struct, frozen=True):
    """How fast, and when it stops by itself, as an operator says it."""

    order: tuple[str, ...] = ()
    """Groups, one after another."""
    success: float | None = None
    """Percent of a group that must have succeeded before the next one begins; None: all."""
    per_minute: int | None = None
    exponential: tuple[int, float, int] | None = None
    """Things a minute, the factor, and after how many more successes it is multiplied."""
    in_flight: int | None = None
    stop_at: tuple[float, int] | None = None
    """Percent of failures, and how many must have ended."""
    timeout: float | None = None
    retries: int = 0


def chosen(targets: Targets, fleet: Sequence[Known]) -> tuple[Known, ...]:
    """Whom that means, by name. Raises InputError where it means nobody, or somebody whom the registry does not know."""
    if not (targets.things or targets.groups or targets.everybody):
        raise InputError("say for whom it is: --thing NAME, --group NAME, or --all")
    known = {each.thing: each for each in fleet}
    for thing in targets.things:
        if names.check(thing, "thing") not in known:
            raise InputError(
                f"the registry knows no thing {thing!r}: it has never connected; `cloud-bridge fleet add {thing}` enters it"
            )
    for group in targets.groups:
        if not any(group in each.groups for each in fleet):
            raise InputError(
                f"no thing is in group {group!r}: devices name their groups at birth, and `cloud-bridge fleet add "
                f"THING --group {group[:64]}` puts others in"
            )
    found = [
        known[thing] for thing in sorted(known)
        if targets.everybody or thing in targets.things or not set(targets.groups).isdisjoint(known[thing].groups)
    ]  # fmt: skip
    if not found:
        raise InputError("the registry knows no thing yet: devices are entered as they connect")
    return tuple(found)


def addressed(targets: Targets, meant: Sequence[Known]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The things and the groups that an order names, so that each device that is meant obeys it. A device knows of no group
    but those that it has named itself."""
    groups = tuple(sorted({group for group in targets.groups if any(group in each.named for each in meant)}))
    one_by_one = [
        each.thing for each in meant if each.thing in targets.things or set(groups).isdisjoint(each.named)
    ]  # fmt: skip
    if targets.everybody and sum(len(thing) + 3 for thing in one_by_one) > NAMED:
        groups = tuple(sorted({group for each in meant for group in each.named}))
        one_by_one = [each.thing for each in meant if not each.named]
    if sum(len(thing) + 3 for thing in one_by_one) > NAMED:
        raise InputError(
            f"{len(one_by_one)} names do not fit into an order: let devices name a group, and give the order to that"
        )
    return tuple(one_by_one), groups


def targets_of(targets: Targets, pace: Pace) -> Targets:
    """Whom an order of groups means where nobody else is named: these groups."""
    if targets.things or targets.groups or targets.everybody or not pace.order:
        return targets
    if REST in pace.order:
        raise InputError(f"{REST} means all others: say of whom, with --thing, --group or --all")
    return Targets(groups=pace.order)


def rollout(meant: Sequence[Known], pace: Pace) -> Rollout:
    """The way through these things. Raises InputError for one that contradicts itself."""
    if pace.per_minute is not None and pace.exponential is not None:
        raise InputError("--per-minute and --exponential are two rates: give one")
    if pace.success is not None and not pace.order:
        raise InputError("--success is what a group needs before the next one begins: name them, --groups canary,rest")
    rate: Constant | Exponential | None = None if pace.per_minute is None else Constant(pace.per_minute)
    if pace.exponential is not None:
        base, factor, every = pace.exponential
        rate = Exponential(base, factor, every, of="succeeded")
    stops = () if pace.stop_at is None else (Stop("ALL", *pace.stop_at),)
    return Rollout(
        _stages(meant, pace.order, 100.0 if pace.success is None else pace.success), rate, pace.in_flight, stops,
        Timeouts(execution=pace.timeout), pace.retries,
    )  # fmt: skip


def written(spec: Rollout, fleet: Sequence[Known]) -> tuple[Known, ...]:
    """The things of a rollout that somebody wrote. Raises InputError for one that the registry does not know."""
    return chosen(Targets(things=tuple(thing for group in spec.groups for thing in group.things)), fleet)


def _stages(meant: Sequence[Known], order: Sequence[str], success: float) -> tuple[Group, ...]:
    if not order:
        return (Group("all", tuple(each.thing for each in meant), success),)
    stages: list[Group] = []
    left: Mapping[str, Known] = {each.thing: each for each in meant}
    elsewhere = {name for name in order if name != REST}
    for name in order:
        others = [thing for thing, each in left.items() if elsewhere.isdisjoint(each.groups)]
        mine = others if name == REST else [thing for thing, each in left.items() if name in each.groups]
        if not mine:
            raise InputError(f"none of those for whom it is would come with {name!r}: leave it out of --groups")
        stages.append(Group(name, tuple(mine), success))
        left = _without(left, mine)
    if left:
        few = ", ".join([*left][:3])
        raise InputError(f"{len(left)} are in none of the --groups: {few}; add {REST!r}, which means all others")
    return tuple(stages)


def _without(left: Mapping[str, Known], gone: Iterable[str]) -> Mapping[str, Known]:
    told = set(gone)
    return {thing: each for thing, each in left.items() if thing not in told}
