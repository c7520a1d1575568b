"""What may go wrong on the way, done for real: each trouble comes in the middle of a run and goes again."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import msgspec

from benchmarks.link.clock import HOUR, Clock, can_jump
from benchmarks.link.cloud import Cloud
from benchmarks.link.edge import Came, Drive
from benchmarks.link.ends import TRANSPORTS, Ends
from benchmarks.link.stage import Stage
from benchmarks.routing.links import LinkTrace

GOOD = LinkTrace("good", (0.0, 60.0), (2.5e6,), (0.0,), (0.03,))
"""20 Mbit/s and 30 ms."""

RATE, COMES, GOES, ENDS = 10.0, 4.0, 7.0, 12.0
"""Calls a second; seconds at which the trouble comes, is to be over, and the run ends."""

BUDGET = 0.5

LOOK_UP = "name look-up hangs"
CLOCK = "clock jumps an hour"


class Trouble(msgspec.Struct, frozen=True):
    """One kind of it, over one transport."""

    name: str
    transport: str
    gone: float
    """Seconds from the first call to when the cloud could be reached again."""
    drive: Drive

    @property
    def met(self) -> float:
        """Share of all calls that were answered in time."""
        return sum(c.met for c in self.drive.calls) / len(self.drive.calls)

    @property
    def back(self) -> float | None:
        """Seconds from when the cloud could be reached again to its first answer; None: it never came."""
        answered = (c.at + c.elapsed for c in self.drive.calls if c.target == "cloud")
        return next((at - self.gone for at in answered if at > self.gone), None)

    @property
    def local(self) -> int:
        """Calls that the device answered while the trouble lasted."""
        return sum(self._during(c) and c.target == "local" for c in self.drive.calls)

    @property
    def ends(self) -> bool:
        """Whether it goes again."""
        return self.name != LOOK_UP

    def __str__(self) -> str:
        back = "never" if self.back is None else f"{self.back:.2f} s after"
        told = f"{self.name:20} {self.transport}  met {self.met:7.2%}  {self.local} answered here"
        return f"{told}  the cloud is back {back}" if self.ends else told

    def _during(self, call: Came) -> bool:
        return COMES <= call.at < self.gone or not self.ends


Act: TypeAlias = "Callable[[Ends, Cloud], None]"

TROUBLES: dict[str, tuple[tuple[str, ...], Act, Act]] = {
    "cable pulled": (("http", "mqtt"), lambda e, _: e.cut(), lambda e, _: e.join()),
    "endpoint killed": (("http", "mqtt"), lambda _, c: c.kill("endpoint"), lambda _, c: c.start("endpoint")),
    "broker killed": (("mqtt",), lambda _, c: c.kill("broker"), lambda _, c: c.start("broker")),
    "endpoint stalls": (
        ("http", "mqtt"),
        lambda _, c: c.signal("endpoint", signal.SIGSTOP),
        lambda _, c: c.signal("endpoint", signal.SIGCONT),
    ),
    "broker stalls": (
        ("mqtt",), lambda _, c: c.signal("broker", signal.SIGSTOP), lambda _, c: c.signal("broker", signal.SIGCONT),
    ),
}  # fmt: skip
"""The transports that each concerns, how it comes and how it goes."""


def drill(stage: Stage) -> Iterator[Trouble]:
    """Each trouble over each transport that it concerns."""
    for name, (transports, comes, goes) in TROUBLES.items():
        for transport in transports:
            yield _one(stage, name, transport, comes, goes)
    if can_jump():
        clock = Clock(stage.where)
        for transport in TRANSPORTS:
            yield _clocked(_one(stage, CLOCK, transport, lambda *_: clock.jump(), lambda *_: clock.back(), clock.prefix))
    else:
        print("there is no C compiler (cc) here: no clock was made to jump", file=sys.stderr)
    with stage.between(GOOD, 0.0, stage.where) as ends:
        if ends.name_servers is not None:
            yield _nowhere(stage, ends, ends.name_servers)
        else:
            print("the device has no name servers of its own here: no look-up was made to hang", file=sys.stderr)


def _clocked(trouble: Trouble) -> Trouble:
    if trouble.drive.jumped < 0.9 * HOUR:
        raise OSError("the device's clock did not jump: its programs ask for the time in another way")
    return trouble


def _one(stage: Stage, name: str, transport: str, comes: Act, goes: Act, prefix: tuple[str, ...] = ()) -> Trouble:
    """`prefix` is what the device's command begins with at its end."""
    with stage.between(GOOD, 0.0, stage.where) as ends, Cloud(ends, stage.store, transport) as cloud:
        over: list[float] = []

        def trouble(start: float) -> None:
            time.sleep(max(0.0, start + COMES - time.time()))
            comes(ends, cloud)
            time.sleep(max(0.0, start + GOES - time.time()))
            goes(ends, cloud)
            over.append(time.time() - start)

        drive = stage.drive(ends, cloud.url, _arrivals(), BUDGET, meanwhile=trouble, prefix=prefix)
    return Trouble(name, transport, over[0], drive)


def _nowhere(stage: Stage, ends: Ends, name_servers: Path) -> Trouble:
    """The endpoint's name is looked up, and the look-up hangs."""
    with _silent(name_servers):
        drive = stage.drive(ends, "http://endpoint.example:8000", _arrivals(), BUDGET)
    return Trouble(LOOK_UP, "http", 0.0, drive)


def _arrivals() -> tuple[float, ...]:
    return tuple(i / RATE for i in range(int(ENDS * RATE)))


@contextmanager
def _silent(name_servers: Path) -> Iterator[None]:
    """A name server that never answers."""
    name_servers.parent.mkdir(parents=True)
    name_servers.write_text("nameserver 10.77.7.99\noptions timeout:5 attempts:2\n")
    try:
        yield
    finally:
        name_servers.unlink()
        name_servers.parent.rmdir()
