"""The two ends of a link that is made here, and how to start processes at them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TypeAlias

import msgspec

from benchmarks.routing.links import LinkTrace

TRANSPORTS = ("http", "mqtt")


class Carried(msgspec.Struct):
    """Bytes that went over a link, headers and what was sent again included; known when the link has ended."""

    up: int = 0
    down: int = 0
    lost: int = 0
    """Packets for which its queue had no room."""


class Ends(msgspec.Struct):
    """A link in use."""

    edge: tuple[str, ...]
    """What a command at the device's end begins with."""
    cloud: tuple[str, ...]
    listens: Mapping[str, str]
    """HOST:PORT where the cloud listens, by transport."""
    found: Mapping[str, str]
    """Where the device finds it."""
    cut: Callable[[], None]
    join: Callable[[], None]
    carried: Carried
    name_servers: Path | None = None
    """The resolv.conf that holds at the device's end alone, where it has one."""


Between: TypeAlias = "Callable[[LinkTrace, float, Path], AbstractContextManager[Ends]]"
"""Makes a link from a recording, from so many seconds of it on; files go to the folder."""


def start(end: tuple[str, ...], *command: str, quiet: bool = False) -> subprocess.Popen[str]:
    """A command at an end; what it prints can be read. `quiet` drops what it says on standard error."""
    errors = subprocess.DEVNULL if quiet else None
    return subprocess.Popen([*end, *command], stdout=subprocess.PIPE, stderr=errors, text=True, env=dict(os.environ))  # noqa: S603


@contextmanager
def carrier(module: str, trace: LinkTrace, folder: Path, carried: Carried, *arguments: str) -> Iterator[int]:
    """The process that carries a link's bytes, `python -m MODULE TRACE.json ...`; its pid."""
    recording = folder / "link.json"
    recording.write_bytes(msgspec.json.encode(trace))
    process = start((), sys.executable, "-m", module, str(recording), *arguments)
    assert process.stdout is not None  # noqa: S101
    try:
        if process.stdout.readline().strip() != "ready":
            raise OSError("the link did not start")
        yield process.pid
    finally:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        said = process.communicate()[0]
        for name, value in (json.loads(said) if said else {}).items():
            setattr(carried, name, value)


def carry(recording: str, work: Callable[[LinkTrace, Carried], None]) -> None:
    """What such a process does: say that it is ready, carry until it is ended, and tell how much that was."""
    trace = msgspec.json.decode(Path(recording).read_bytes(), type=LinkTrace)
    carried = Carried()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    try:
        work(trace, carried)
    finally:
        print(msgspec.json.encode(carried).decode(), flush=True)


def priority() -> None:
    """A link does not wait for the processes at its ends; where the system grants that."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except OSError:
        print("the link has no priority here: it may be late where the processor is busy", file=sys.stderr)
