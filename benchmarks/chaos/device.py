"""Devices, many in a process: each a real agent, with a store, a journal and a link of its own. What changes in a store is
written down by the device as it happens: its witness.

`python -m benchmarks.chaos.device SETTINGS.json THING ...` prints {"ready": true}; for each line on its standard input it
prints what each of its things still owes. The health check opens the model in this process, not in one of its own.
"""

from __future__ import annotations

import os
import sys
import time
import uuid
from pathlib import Path
from threading import Event
from typing import Literal, TypeAlias

import msgspec

from cloud_bridge.agent.agent import STATE, Agent
from cloud_bridge.agent.child import Asked
from cloud_bridge.agent.measure import run
from cloud_bridge.agent.work import Done
from edge_runtime.bench.worker import die_with_parent
from edge_runtime.bundles.bundle import State
from edge_runtime.bundles.store import Store

MODEL = "tiny"
JOURNAL = f"{STATE}/journal.sqlite"

What: TypeAlias = Literal["boot", "will", "did"]


class Settings(msgspec.Struct, frozen=True):
    """What all devices have in common."""

    folder: str
    """Each device has one of its name in there."""
    broker: str
    keys: str
    artifacts: str
    root: str
    groups: dict[str, tuple[str, ...]]
    """By thing."""
    ill: tuple[str, ...] = ()
    """Versions that do not do well on trial."""


class Line(msgspec.Struct, frozen=True):
    """One line of a witness."""

    at: float
    run: str
    """Of the process that wrote it."""
    what: What
    """boot: it has begun, and found this. will: it is about to write this. did: that is on the disk."""
    state: State
    job: str = ""
    """Which one was under way; "": none, so it was the shadow."""
    execution: int = 0


class Owed(msgspec.Struct, frozen=True):
    """What a device has not done, or not been answered, yet."""

    job: str | None
    waiting: int
    trial: bool


class Witnessed(Store):
    """A store that writes down each change of what is active: before it is on the disk, and after."""

    def __init__(self, path: Path, device: Device) -> None:
        super().__init__(path)
        self._device = device

    def _change(self, name: str, state: State) -> None:
        if state == self._state(name):
            return
        self._device.note("will", state)
        super()._change(name, state)
        self._device.note("did", state)

    def standing(self) -> State:
        """What is active."""
        return self._state(MODEL)


class Device(Agent):
    """An agent with a witness."""

    def __init__(self, settings: Settings, thing: str) -> None:
        folder = Path(settings.folder) / thing
        self._run = uuid.uuid4().hex[:12]
        self._file = os.open(folder / "witness", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self._witnessed = Witnessed(folder / "store", self)
        self.note("boot", self._witnessed.standing())

        def health(model: str, failures: float) -> str:
            return "it is ill" if self._witnessed.active(model) in settings.ill else ""

        super().__init__(
            settings.broker, store=self._witnessed, thing=thing, keys=[settings.keys], groups=settings.groups[thing],
            artifacts=settings.artifacts, root_metadata=settings.root, log=folder / "decisions", device="onnx",
            health=health, measure=_measure, keep=1000,  # jobs activate any of them again
        )  # fmt: skip

    def note(self, what: What, state: State) -> None:
        """Write a line: it is there when this returns, also if this process is killed then."""
        job = None if what == "boot" else self._journal.next()
        if job is None or job.state != "IN_PROGRESS":
            line = Line(time.time(), self._run, what, state)
        else:
            line = Line(time.time(), self._run, what, state, job.id, job.execution)
        os.write(self._file, msgspec.json.encode(line) + b"\n")

    def owes(self) -> Owed:
        """What is to be done or answered yet."""
        job = self._journal.next()
        return Owed(None if job is None else job.id, len(self._journal.outbox()), self._witnessed.standing().trial)


def _measure(asked: Asked, halt: Event) -> Done:
    return run(Path(asked.store), asked.work, asked.step, asked.device)


def main(settings: Path, things: list[str]) -> None:
    """The process, until it is killed."""
    die_with_parent()
    given = msgspec.json.decode(settings.read_bytes(), type=Settings)
    devices = {thing: Device(given, thing).start() for thing in things}
    print('{"ready": true}', flush=True)
    while sys.stdin.readline():
        print(msgspec.json.encode({thing: device.owes() for thing, device in devices.items()}).decode(), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
