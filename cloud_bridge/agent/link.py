"""A device's way to its broker, as a port: messages both ways, and word of whether it is there. `mqtt.py` has the real one.

A message is acknowledged when its reader says so, not when it has come: what it asks for is on the disk by then. The broker
keeps what is said while the device is away; this side keeps nothing, and whoever speaks says it again at the next `Up`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

import msgspec

LONGEST = 60.0
"""Seconds between two tries to connect, at most."""


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """A message to be sent."""

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = False
    expiry: float | None = None
    """Seconds after which a broker may drop it."""
    correlation: bytes | None = None
    status: str = ""
    """The user property of an answer."""
    form: str = "application/json"


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """A message that has come, and waits to be acknowledged."""

    topic: str
    payload: bytes
    correlation: bytes | None = None
    expiry: float | None = None
    """Seconds that were left of it."""
    retained: bool = False
    """Whether it was said before this connection was there."""
    key: tuple[int, int, int] = (0, 0, 0)
    """The connection that it came by, and what it is called and how it is acknowledged there."""


class Up(msgspec.Struct, frozen=True):
    """The broker is there, and sends what it is asked for."""

    refused: tuple[str, ...] = ()
    """The filters that it does not grant."""


class Down(msgspec.Struct, frozen=True):
    """The broker is gone, or was not reached."""

    reason: str


Event: TypeAlias = Up | Down | Heard


class Link(Protocol):
    """A way to a broker. Everything may be called from any thread."""

    def open(self, will: Callable[[], Said], tell: Callable[[Event], None]) -> None:
        """Connect, and again whenever that ends; `will` is asked before each try. Events come on a thread of the link's,
        in their order: what is told has to hand them on at once."""
        ...

    def say(self, message: Said) -> bool:
        """Send it, if the broker is there; whether it is. Raises InputError for one that is too large for the broker."""
        ...

    def ack(self, heard: Heard) -> None:
        """This message need not come again."""
        ...

    def renew(self) -> None:
        """Give the connection up and make a new one: what was not acknowledged comes again."""
        ...

    def close(self, farewell: Said | None = None, timeout: float = 2.0) -> None:
        """Say a last word, for which there are so many seconds, and leave on purpose: the broker forgets the will."""
        ...


def pause(failures: int, draw: float) -> float:
    """Seconds until the next try after so many failures in a row, by a random number in 0..1: any up to a bound that
    doubles, lest a fleet comes back all at once."""
    return draw * min(LONGEST, 2.0 ** min(failures, 16))
