"""What was said between one device and its controller for one command, and the same said again with nothing behind it: no
registry, no journal, no signature. Both sides of that, without a socket.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from cloud_bridge.control.link import Heard, Said
from cloud_bridge.protocol.fleet.topics import Tree

ROOT = "bare/v1"
"""Below it the bare conversation is held: as long as the fleet's own root."""

TREE = Tree(ROOT)


class Line(msgspec.Struct, frozen=True):
    """One message."""

    device: bool
    """Whether the device says it."""
    tail: str
    """Its topic after the device's name."""
    payload: bytes
    expiry: float | None = None


Script = Sequence[Line]


def line(message: Said | Heard) -> Line:
    """A message of a real conversation."""
    return Line(isinstance(message, Said), message.topic.split("/", 4)[4], message.payload, message.expiry)


def thing_of(topic: str) -> str:
    """Whose conversation a topic is of."""
    return topic.split("/", 4)[3]


class Side:
    """One side's part: what follows from each message of the other."""

    def __init__(self, script: Script, *, device: bool) -> None:
        self._turns: list[list[Line]] = [[]]
        for each in script:
            if each.device != device:
                self._turns.append([])
            else:
                self._turns[-1].append(each)
        self.last = len(self._turns) - 1
        """The number of messages that the other side says."""

    def turn(self, thing: str, number: int) -> list[Said]:
        """What is said after so many messages of the other side; 0: what is said first."""
        return [
            Said(topic=f"{ROOT}/things/{thing}/{each.tail}", payload=each.payload, expiry=each.expiry)
            for each in self._turns[number]
        ]
