"""What is noted of a command while devices carry it out: who heard of it, who did it how often, whose end was accepted."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import msgspec

from benchmarks.fleet.script import Line, line
from cloud_bridge.control.link import Heard, Said

_JOBS = "/jobs/"
_HEARD, _ANSWERED, _TOLD = "/jobs/notify-next", "/update/accepted", "/update"
_SHADOWS = 2
_UNDER_WAY = b'"IN_PROGRESS"'


class Noted(msgspec.Struct, frozen=True):
    """Of one command. Instants are UNIX seconds, the last ones."""

    devices: int
    heard: int
    """Devices that it came to."""
    done: int
    """Devices that did it."""
    twice: int
    """Devices that did it more than once."""
    accepted: int
    """Devices whose last word was accepted."""
    last_heard: float
    last_done: float
    last_accepted: float
    script: tuple[Line, ...] = ()
    """What the first device heard and said."""


class Board:
    """For one event loop; steps may be done by threads."""

    def __init__(self, devices: int, first: str) -> None:
        self._first = first
        self._reports: Counter[str] = Counter()
        self._settled: dict[str, asyncio.Event] = {}
        self.begin(devices)

    def begin(self, devices: int) -> None:
        """A new command, to so many devices."""
        self._devices = devices
        self._heard: dict[str, float] = {}
        self._done: Counter[str] = Counter()
        self._last: set[str] = set()
        self._accepted: dict[str, float] = {}
        self._at = 0.0
        self._script: list[Line] = []

    def hear(self, thing: str, message: Heard) -> None:
        """A device heard this."""
        if thing == self._first and _JOBS in message.topic:
            self._script.append(line(message))
        if message.topic.endswith(_ANSWERED) and _JOBS not in message.topic:
            self._reports[thing] += 1
            if self._reports[thing] == _SHADOWS:
                self._settled.setdefault(thing, asyncio.Event()).set()
        if message.topic.endswith(_HEARD):
            self._heard.setdefault(thing, time.time())
        elif thing in self._last and message.topic.endswith(_ANSWERED):
            self._accepted.setdefault(thing, time.time())

    async def settle(self, thing: str) -> None:
        """Wait until the controller has both shadows of a device."""
        await self._settled.setdefault(thing, asyncio.Event()).wait()

    def say(self, thing: str, message: Said) -> None:
        """A device says this."""
        if thing == self._first and _JOBS in message.topic:
            self._script.append(line(message))
        if message.topic.endswith(_TOLD) and _JOBS in message.topic and _UNDER_WAY not in message.payload:
            self._last.add(thing)

    def do(self, thing: str) -> None:
        """A device carries it out."""
        self._done[thing] += 1
        self._at = time.time()

    @property
    def over(self) -> bool:
        """Whether every device's last word was accepted."""
        return len(self._accepted) == self._devices

    def read(self) -> Noted:
        """What was noted."""
        return Noted(
            self._devices, len(self._heard), len(self._done), sum(count > 1 for count in self._done.values()),
            len(self._accepted), max(self._heard.values(), default=0.0), self._at,
            max(self._accepted.values(), default=0.0), tuple(self._script),
        )  # fmt: skip
