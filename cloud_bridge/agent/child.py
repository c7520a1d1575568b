"""A step that opens engines, in a process of its own: a crash, a hang or a leak in there fails that step, and no more.

`python -m cloud_bridge.agent.child` reads one Asked from stdin and writes one Answer to what was stdout when it began; what
an engine prints goes to stderr. It dies with the agent.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from threading import Event

import msgspec

from cloud_bridge.agent.work import Done
from cloud_bridge.protocol.fleet.commands import Activate, Benchmark, Deploy, Tune
from edge_runtime.errors import CancelledError, EdgeError, RunError

LIMIT = 6 * 3600.0
"""Seconds that it may take: tournaments of many models on a small device take long."""

_GLANCE = 0.1


class Asked(msgspec.Struct, frozen=True):
    """What is to be done in there."""

    store: str
    work: Activate | Deploy | Benchmark | Tune
    step: str
    device: str | None = None


class Answer(msgspec.Struct, frozen=True):
    """What came of it: one of the two."""

    done: Done | None = None
    error: str = ""


def ask(asked: Asked, halt: Event, limit: float = LIMIT) -> Done:
    """Do it. Raises RunError with what it said when it could not, or took more than `limit` seconds; CancelledError when
    `halt` was set."""
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as told, tempfile.TemporaryFile() as source:
        source.write(msgspec.json.encode(asked))
        source.seek(0)
        process = subprocess.Popen(
            [sys.executable, "-m", "cloud_bridge.agent.child"], stdin=source, stdout=told, stderr=said
        )
        try:
            status = _wait(process, asked, halt, limit)
        finally:
            process.kill()
            process.wait()
        told.seek(0)
        try:
            answer = msgspec.json.decode(told.read(), type=Answer)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            said.seek(max(0, said.seek(0, os.SEEK_END) - 4096))
            words = said.read().decode(errors="replace").strip().splitlines()
            last = words[-1][:300] if words else "it said nothing"
            raise RunError(f"{asked.step}: its process ended with status {status}: {last}") from None
    if answer.done is None:
        raise RunError(f"{asked.step}: {answer.error}")
    return answer.done


def _wait(process: subprocess.Popen[bytes], asked: Asked, halt: Event, limit: float) -> int:
    deadline = time.monotonic() + limit
    while True:
        try:
            return process.wait(_GLANCE)
        except subprocess.TimeoutExpired:
            if halt.is_set():
                raise CancelledError(f"{asked.step} was given up") from None
            if time.monotonic() > deadline:
                raise RunError(f"{asked.step} took more than {limit:g} s") from None


def main() -> None:
    """The process."""
    from edge_runtime.bench.worker import die_with_parent  # here: the outside measures nothing

    die_with_parent()
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    asked = msgspec.json.decode(sys.stdin.buffer.read(), type=Asked)
    try:
        from cloud_bridge.agent.measure import run

        answer = Answer(run(Path(asked.store), asked.work, asked.step, asked.device))
    except EdgeError as error:
        answer = Answer(error=str(error) if isinstance(error, RunError) else f"{type(error).__name__}: {error}")
    except MemoryError:
        answer = Answer(error="there was not enough memory")
    sink.write(msgspec.json.encode(answer))
    sink.flush()
    os._exit(0)  # what an engine does at exit is no part of it, and may hang


if __name__ == "__main__":
    main()
