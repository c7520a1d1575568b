"""What a rollout is to do: who, in which order, how fast, and when it stops by itself. Values, written as JSON.

{"groups": [{"name": "first", "things": ["press-1"]}, {"name": "rest", "things": ["press-2", "press-3"], "success": 90}],
 "rate": {"kind": "exponential", "base": 10, "factor": 2, "every": 20, "of": "succeeded", "maximum": 1000},
 "in_flight": 50, "retries": 1, "timeouts": {"step": 300, "execution": 3600},
 "stops": [{"failure": "ALL", "percent": 20, "least": 10, "action": "cancel"}]}
"""

from __future__ import annotations

from collections import Counter
from math import log
from typing import Annotated, Literal, TypeAlias

import msgspec

from cloud_bridge.protocol.fleet import names
from cloud_bridge.protocol.fleet.jobs import State as Status
from cloud_bridge.protocol.fleet.names import Thing
from edge_runtime.errors import InputError

EXECUTED: frozenset[Status] = frozenset(("SUCCEEDED", "FAILED", "TIMED_OUT", "REJECTED"))
"""Ends that say something about the job; the others an operator brought about."""

FASTEST = 1_000_000
"""Things per minute."""

MOST = 64 << 20
"""Bytes of a written rollout: a million things."""

PerMinute: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=FASTEST)]
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=1_000_000_000)]
Percent: TypeAlias = Annotated[float, msgspec.Meta(ge=0.0, le=100.0)]
Seconds: TypeAlias = Annotated[float, msgspec.Meta(gt=0.0, le=1e9)]


class Value(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Part of a rollout."""


class Group(Value, frozen=True):
    """Things that are told together; the next group begins when enough of this one have succeeded."""

    name: names.Group
    things: tuple[Thing, ...]
    success: Percent = 100.0
    """Of its things, in percent. When all have ended and it was not reached, the rollout pauses before the next group."""

    def reached(self, succeeded: int) -> bool:
        """Whether so many are enough."""
        return 100.0 * succeeded >= self.success * len(self.things)


class Constant(Value, frozen=True, tag_field="kind", tag="constant"):
    """The same rate from first to last."""

    per_minute: PerMinute

    def limit(self, notified: int, succeeded: int) -> int:
        """Things per minute."""
        return self.per_minute


class Exponential(Value, frozen=True, tag_field="kind", tag="exponential"):
    """Slow at first: multiplied each time that so many things more were notified, or have succeeded."""

    base: PerMinute
    """Things per minute at first."""
    factor: Annotated[float, msgspec.Meta(ge=1.0, le=100.0)]
    every: Count
    of: Literal["notified", "succeeded"] = "notified"
    maximum: PerMinute = FASTEST

    def limit(self, notified: int, succeeded: int) -> int:
        """Things per minute after so many."""
        steps = (notified if self.of == "notified" else succeeded) // self.every
        if steps * log(self.factor) >= log(FASTEST):
            return self.maximum
        return min(self.maximum, int(self.base * self.factor**steps))


class Stop(Value, frozen=True):
    """Stop the rollout when so many percent of what was executed failed in this way."""

    failure: Literal["FAILED", "REJECTED", "TIMED_OUT", "ALL"]
    percent: Annotated[float, msgspec.Meta(gt=0.0, le=100.0)]
    """Of the executions that have ended, each retry being one, since the rollout was last resumed."""
    least: Count = 1
    """Executions that must have ended before percents mean anything."""
    action: Literal["cancel", "pause"] = "cancel"


class Timeouts(Value, frozen=True):
    """Seconds; None: no end."""

    step: Seconds | None = None
    """An execution that is IN_PROGRESS, without a word from its thing."""
    execution: Seconds | None = None
    """An execution, from when its thing was told."""
    rollout: Seconds | None = None
    """All of it: who has not ended by then is timed out, who has not been told is not told any more."""


class Rollout(Value, frozen=True):
    """One job's way through the fleet. Raises InputError for one that contradicts itself."""

    groups: tuple[Group, ...]
    rate: Constant | Exponential | None = None
    """None: as fast as `in_flight` lets it."""
    in_flight: Count | None = None
    """Things at most that were told and have not ended."""
    stops: tuple[Stop, ...] = ()
    timeouts: Timeouts = Timeouts()
    retries: Annotated[int, msgspec.Meta(ge=0, le=100)] = 0
    """Times that a thing is told again after FAILED or TIMED_OUT; not after REJECTED: it would say so again."""

    def __post_init__(self) -> None:
        if not self.groups:
            raise InputError("a rollout needs a group: give it one with the things to tell")
        twice = [name for name, count in Counter(group.name for group in self.groups).items() if count > 1]
        if twice:
            raise InputError(f"two groups of the rollout are called {twice[0]!r}: name each differently")
        if len(set(things := [thing for group in self.groups for thing in group.things])) < len(things):
            thing = Counter(things).most_common(1)[0][0]
            raise InputError(f"{thing!r} is in the rollout twice: a thing is told once, by the first group that has it")


def write(rollout: Rollout) -> bytes:
    """As JSON."""
    return msgspec.json.encode(rollout)


def read(data: bytes) -> Rollout:
    """From JSON. Raises InputError for what is no rollout."""
    if len(data) > MOST:
        raise InputError(f"a rollout of {len(data)} bytes: {MOST} at most; split it into several jobs")
    try:
        return msgspec.json.decode(data, type=Rollout)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"this is no rollout: {error}") from error


def check(rollout: Rollout) -> Rollout:
    """One that was made in Python, held to the same bounds as one that is read. Raises InputError."""
    try:
        return read(write(rollout))
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"this is no rollout: {error}") from error
