"""What a rollout is told, and what it decides: values, a line of its log each. `at` is in UNIX seconds.

A rollout changes by these alone, so that the lines in their order give the same decisions again.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec

from cloud_bridge.fleet.spec import Rollout
from cloud_bridge.protocol.fleet.jobs import State as Status

Instant: TypeAlias = Annotated[float, msgspec.Meta(ge=0.0, le=1e12)]
Number: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
Outcome: TypeAlias = Literal["succeeded", "failed", "aborted"]


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="event", tag=str.lower):
    """One line of a log."""

    at: Instant


class Began(Line, frozen=True):
    """The first line: what it is to do."""

    job: str
    rollout: Rollout


class Changed(Line, frozen=True):
    """A thing's execution has another status, or its thing has spoken."""

    thing: str
    number: Number
    """Which of the thing's executions of this job: 1, and one more for each retry."""
    status: Status


class Paused(Line, frozen=True):
    """An operator wants nobody else to be told for now."""

    why: str = ""


class Resumed(Line, frozen=True):
    """An operator wants it to go on: past a group that failed, and with thresholds that count anew."""


class Aborted(Line, frozen=True):
    """An operator wants it to end."""

    force: bool = False
    """Cancel executions that are IN_PROGRESS, too; otherwise they come to their own end."""
    why: str = ""


class Act(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="act", tag=str.lower):
    """What is to be done."""


class Notify(Act, frozen=True):
    """Tell a thing: its execution `number` is QUEUED."""

    thing: str
    number: Number


class Cancel(Act, frozen=True):
    """A thing's execution is CANCELED."""

    thing: str
    number: Number


class TimeOut(Act, frozen=True):
    """A thing's execution is TIMED_OUT."""

    thing: str
    number: Number


class Finish(Act, frozen=True):
    """The rollout has ended."""

    outcome: Outcome
    """succeeded: every group reached its threshold; failed: one did not; aborted: it was stopped before."""


Action: TypeAlias = Notify | Cancel | TimeOut | Finish


class Decided(Line, frozen=True):
    """What followed at that instant from all lines before."""

    actions: tuple[Action, ...]


Event: TypeAlias = Changed | Paused | Resumed | Aborted
