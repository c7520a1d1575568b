"""The log of what routing was told and what it decided: JSON lines, bounded on disk, written by a thread of its own.

Every file begins with all that the router knew then, so that each by itself can be replayed. A disk that is slower than the
calls, or full, costs lines and never a call: how many were lost is written when writing works again.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import msgspec

from edge_runtime.errors import InputError
from edge_runtime.routing.events import Event
from edge_runtime.routing.router import State

LIMIT = 32 << 20
"""Bytes on disk, at most, of the log and the older half of it."""

WAITING = 20_000
"""Events that may wait for the disk; past them they are lost."""

EVERY = 0.25
"""Seconds between two writes."""

OLDER = ".1"
"""The suffix of the older half."""


class Began(msgspec.Struct, frozen=True, tag="state"):
    """A file's first line: what the router knew. `clock` is the wall clock's seconds since 1970 at the instant `at`."""

    at: float
    clock: float
    state: State


class Lost(msgspec.Struct, frozen=True, tag="lost"):
    """So many events are missing here."""

    count: int


Line = Event | Began | Lost


class DecisionLog:
    """Kept by a `Dispatch`, under its lock. `limit` is in bytes."""

    def __init__(self, path: str | Path, limit: int = LIMIT) -> None:
        self.path, self._limit = Path(path), limit
        self._events: list[Event] = []
        self._lost = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._encoder = msgspec.json.Encoder()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("ab", buffering=0)
        except OSError as error:
            raise InputError(f"no decision log can be written at {path}: {error.strerror}") from error

    def begin(self, lock: AbstractContextManager[object], state: Callable[[], State]) -> None:
        """Write from now on. `state` is what the router knows, asked for under `lock`."""
        self._lock, self._state = lock, state
        with lock:
            head = self._head()
        try:
            self._put(head)
        except OSError as error:
            raise InputError(f"no decision log can be written at {self.path}: {error.strerror}") from error
        self._thread = threading.Thread(target=self._write, name="edge-runtime-log", daemon=True)
        self._thread.start()

    def keep(self, event: Event) -> None:
        """One more line. Called under the lock, in order; returns at once."""
        if len(self._events) < WAITING:
            self._events.append(event)
        else:
            self._lost += 1

    def close(self) -> None:
        """Write what waits, and end."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self._file.close()

    def _write(self) -> None:
        while True:
            ended = self._stop.wait(EVERY)
            with suppress(OSError):  # a full disk: the lines stay, up to a bound
                self._write_once()
            if ended:
                return

    def _write_once(self) -> None:
        """Write what waits; begin a new file where this one is half of the limit."""
        full = self._file.seek(0, os.SEEK_END) >= self._limit // 2
        with self._lock:
            events, self._events = self._events, []
            lost, self._lost = self._lost, 0
            head = self._head() if full else b""  # what is known once the events have happened that end the old file
        lines = [Lost(lost)] if lost else []
        try:
            self._put(b"".join(self._encoder.encode(line) + b"\n" for line in (*lines, *events)))
            if full:
                self._rotate(head)
        except OSError:
            with self._lock:
                self._lost += lost + len(events)
            raise

    def _put(self, data: bytes) -> None:
        """All of it or none: a line that was cut would spoil the next."""
        before = self._file.seek(0, os.SEEK_END)
        view = memoryview(data)
        try:
            while view:
                view = view[self._file.write(view) or 0 :]
        except OSError:
            with suppress(OSError):
                self._file.truncate(before)
            raise

    def _head(self) -> bytes:
        """The first line of a file, at a moment at which no event waits."""
        return self._encoder.encode(Began(time.monotonic(), time.time(), self._state())) + b"\n"

    def _rotate(self, head: bytes) -> None:
        self._file.close()
        os.replace(self.path, self.path.with_name(self.path.name + OLDER))
        self._file = self.path.open("ab", buffering=0)
        self._put(head)


def read(path: str | Path) -> Iterator[Line]:
    """The lines of a log. Raises InputError for what is no log; a last line that was cut is passed over."""
    decoder = msgspec.json.Decoder(Line)
    try:
        with Path(path).open("rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    yield decoder.decode(line)
                except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                    if not line.endswith(b"\n") and number > 1:
                        return  # the machine stopped while it was written
                    raise InputError(f"{path}, line {number}: no line of a decision log: {error}") from error
    except OSError as error:
        raise InputError(f"no decision log can be read at {path}: {error.strerror}") from error
