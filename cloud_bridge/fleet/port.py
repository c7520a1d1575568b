"""What a controller needs of a broker: a way out. What comes in is handed to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec


class Incoming(msgspec.Struct, frozen=True):
    """What a thing, or the broker for it, has said."""

    topic: str
    payload: bytes


class Outgoing(msgspec.Struct, frozen=True):
    """What is to be said, at QoS 1."""

    topic: str
    payload: bytes
    expiry: float | None = None
    """Seconds after which nobody wants it any more; None: never."""
    retain: bool = False


class Port(Protocol):
    """A way to the broker."""

    def publish(self, messages: Sequence[Outgoing]) -> None:
        """Returns when the broker has accepted each. Raises RemoteError when one may not have got there: all of them may
        then be said again, and devices take what comes twice for once."""
