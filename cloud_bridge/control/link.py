"""A way to a broker, as a port: messages both ways, and word of whether it is there. `paho.py` has the real one.

A message is acknowledged when its reader says so, not when it has come: what it asks for is on the disk by then. This side
keeps nothing: whoever speaks says again at the next `Up` what was not taken.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

import msgspec

from cloud_bridge.protocol.fleet.topics import Kind, Tree

LONGEST = 60.0
"""Seconds between two tries to connect, at most."""


class Said(msgspec.Struct, frozen=True):
    """A message to be sent."""

    topic: str
    payload: bytes
    expiry: float | None = None
    """Seconds after which a broker may drop it: nobody wants it any more; None: never."""
    qos: int = 1
    retain: bool = False
    correlation: bytes | None = None
    reply: str | None = None
    """The topic that an answer is expected on."""
    status: str = ""
    """The user property of an answer."""
    form: str = "application/json"


class Heard(msgspec.Struct, frozen=True):
    """A message that has come, and waits to be acknowledged."""

    topic: str
    payload: bytes
    correlation: bytes | None = None
    status: str = ""
    """The user property of an answer."""
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


class Taken(msgspec.Struct, frozen=True):
    """The broker has a message that was said, or has refused it."""

    number: int
    refused: str = ""
    """Why; empty: it has it."""


Event: TypeAlias = Up | Down | Heard | Taken


class Link(Protocol):
    """A way to a broker. Everything may be called from any thread."""

    def open(self, will: Callable[[], Said | None], tell: Callable[[Event], None]) -> None:
        """Connect, and again whenever that ends; `will` is asked before each try for what the broker is to say if it is
        lost. Events come on a thread of the link's, in their order: what is told has to hand them on at once."""
        ...

    def say(self, message: Said) -> int:
        """Send it, if the broker is there: the number that `Taken` calls it by, which may come before this returns; 0 where
        the broker is not there. Raises InputError for one that is too large for the broker."""
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


def said(tree: Tree, kind: Kind, payload: bytes, **names: str) -> Said:
    """A message of this kind, as its kind says."""
    expiry = kind.expiry if isinstance(kind.expiry, float) else None
    topic = tree.topic(kind, **names)
    return Said(topic=topic, payload=payload, qos=kind.qos, retain=kind.retain, expiry=expiry)


def pause(failures: int, draw: float) -> float:
    """Seconds until the next try after so many failures in a row, by a random number in 0..1: any up to a bound that
    doubles, lest a fleet comes back all at once."""
    return draw * min(LONGEST, 2.0 ** min(failures, 16))
