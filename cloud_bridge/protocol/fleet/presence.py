"""Whether a device is there: what it says as it connects, and its broker for it when it is gone. Pure.

Each connection of a device has a number, `bdSeq`, that is higher than those before it, and is said in its birth and in its
will alike: so the will of a connection that was over long ago, which comes late, tells nothing. A birth is said once for
each connection; what changes later is in the shadow `models`.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from cloud_bridge.protocol.fleet.names import Group, Model, Version
from cloud_bridge.protocol.fleet.wire import Message

State: TypeAlias = Literal["ready", "lost", "disconnected"]

_RANK: dict[State, int] = {"ready": 0, "lost": 1, "disconnected": 2}
"""Of what is told of one connection, what holds: its end, and a clean one was no loss."""


class Status(Message, frozen=True, kw_only=True):
    """How a device is: its birth (ready), its will (lost), or its farewell (disconnected)."""

    state: State
    session: Annotated[str, Meta(min_length=1, max_length=64)]
    """Of the process that speaks: a UUID."""
    bd_seq: Annotated[int, Meta(ge=0, le=2**53)]
    agent: Annotated[str, Meta(max_length=64)] = ""
    """The version of what runs there."""
    groups: Annotated[tuple[Group, ...], Meta(max_length=64)] = ()
    """The groups whose orders it takes."""
    models: Annotated[dict[Model, Version], Meta(max_length=256)] = {}
    """The active versions as it connected."""


class Presence(msgspec.Struct, frozen=True):
    """What is known of a device. The same for the same messages, in whatever order and however often they came."""

    birth: Status | None = None
    """Of the latest connection that was heard to begin: what the device is."""
    last: Status | None = None
    """What was told last of the latest connection: whether it is there."""

    @property
    def state(self) -> State | Literal["unknown"]:
        """Whether it is there."""
        return "unknown" if self.last is None else self.last.state

    def fold(self, status: Status) -> Presence:
        """With one more message."""
        birth = _later(self.birth, status) if status.state == "ready" else self.birth
        return Presence(birth, _later(self.last, status))


def next_number(before: int | None, now: float) -> int:
    """The `bdSeq` of a new connection: higher than the one before, and, for a device that has lost its disk, than what it
    had most likely come to: the wall clock's milliseconds since 1970, of which `now` is the seconds. Whole seconds would be
    reached by a device that tries to connect more often than once in each."""
    least = int(1000.0 * now)
    return least if before is None else max(least, before + 1)


def _later(known: Status | None, status: Status) -> Status:
    return status if known is None or _order(status) > _order(known) else known


def _order(status: Status) -> tuple[object, ...]:
    """By connection, then by how it ended. The rest decides between messages that contradict each other."""
    rest = status.agent, status.groups, tuple(sorted(status.models.items()))
    return (status.bd_seq, status.session, _RANK[status.state], *rest)
