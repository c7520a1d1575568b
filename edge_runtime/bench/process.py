"""A candidate in a process of its own, seen from outside: started, told to run, held to its limits, and ended.

Whatever an engine does in there (crash, hang, leak, print), it takes that process down and nothing else, and is a RunError
that says what happened.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

import msgspec

from edge_runtime.bench.measure import Turn
from edge_runtime.bench.worker import Answer, Command, Request, Started, resident_of
from edge_runtime.bundles.bundle import Bundle
from edge_runtime.errors import RunError
from edge_runtime.profile import Candidate

__all__ = ["Limits", "Request", "Started", "Worker", "request_of"]

COMMAND = (sys.executable, "-m", "edge_runtime.bench.worker")
_GLANCE = 0.05
"""Seconds between two looks at the process's memory."""
_LINE = 64 << 20
"""Bytes of an answer, at most."""


class Limits(msgspec.Struct, frozen=True):
    """What a candidate's process may take."""

    start: float = 120.0
    """Seconds to load it, check it and run it once."""
    slack: float = 30.0
    """Seconds beyond what a turn was asked to take."""
    memory: int | None = None
    """Bytes of resident memory; None: no limit."""


def request_of(bundle: Bundle, candidate: Candidate, *, seed: int = 0, cache: Path | None = None) -> Request:
    """What a process is to load to run this candidate."""
    manifest, variant, device = bundle.manifest, candidate.variant, candidate.device
    return Request(
        str(bundle.artifact(variant).resolve()), device.backend, device.name, candidate.settings, manifest.signature,
        variant.names, manifest.sizes, seed, variant.quantized,
        "" if manifest.golden is None else str((bundle.folder / manifest.golden.path).resolve()),
        variant.tolerance, "" if cache is None else str(cache.resolve()),
    )  # fmt: skip


class Worker:
    """The process. It starts at once; `started` waits for it. After an error it is gone. It dies with the thread that
    started it, and so with this process, however that ends."""

    def __init__(self, request: Request, limits: Limits = Limits(), command: Sequence[str] = COMMAND) -> None:
        self._limits = limits
        self._answers = bytearray()
        self._started: Started | None = None
        self._closed = False
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the process)
        self._deadline = time.monotonic() + limits.start
        self._process = subprocess.Popen(  # noqa: S603  (our own interpreter and module)
            [*command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said
        )
        try:
            self._send(msgspec.json.encode(request))
        except RunError:
            self.close()
            raise

    def started(self) -> Started:
        """What loading showed, once it has loaded. Raises RunError where it does not, or its outputs are wrong."""
        if self._started is None:
            answer = self._receive(self._deadline, self._limits.start, "loading it and running it once")
            if answer.started is None:
                raise self._end("it answered out of turn")
            self._started = answer.started
        return self._started

    def turn(self, runs: int, seconds: float, *, both: bool = False) -> Turn:
        """Run back to back until `runs` runs or `seconds` are reached, or until both are. Raises RunError."""
        return self._ask(Command(runs, seconds, both), seconds)

    def paced(self, runs: int, period: float) -> Turn:
        """One run each `period` seconds. The CPU time is the whole process's, gaps included. Raises RunError."""
        return self._ask(Command(runs, period=period), runs * period)

    def together(self, calls: int, rows: int, seconds: float) -> Turn:
        """So many threads call it at once on so many rows, each for so long. Raises RunError."""
        return self._ask(Command(1, seconds, True, calls=calls, rows=rows), seconds)

    @property
    def resident(self) -> int | None:
        """Bytes of resident memory now; None where the system does not tell."""
        return resident_of(self._process.pid)

    def close(self) -> None:
        """End it, whatever it is doing."""
        process, self._closed = self._process, True
        with suppress(OSError):
            process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        process.wait()
        self._said.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _ask(self, command: Command, seconds: float) -> Turn:
        self.started()
        if self._closed:
            raise RunError("its process was ended before")
        self._send(msgspec.json.encode(command))
        allowed = seconds + self._limits.slack
        answer = self._receive(time.monotonic() + allowed, allowed, "a turn")
        if answer.turn is None or not answer.turn.times:
            raise self._end("it answered out of turn")
        return answer.turn

    def _send(self, line: bytes) -> None:
        assert self._process.stdin is not None  # noqa: S101  (it was asked for)
        try:
            self._process.stdin.write(line + b"\n")
            self._process.stdin.flush()
        except (OSError, ValueError):
            raise self._end(None) from None

    def _receive(self, deadline: float, allowed: float, what: str) -> Answer:
        line = self._line(deadline, allowed, what)
        try:
            answer = msgspec.json.decode(line, type=Answer)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise self._end(f"it answered nonsense: {line[:60]!r}") from None
        if answer.error is not None:
            raise self._end(answer.error)
        return answer

    def _line(self, deadline: float, allowed: float, what: str) -> bytes:
        """The next line of its answers, as long as it keeps to its limits."""
        stdout = self._process.stdout
        assert stdout is not None  # noqa: S101  (it was asked for)
        if self._closed:
            raise RunError("its process was ended before")
        seen = 0
        while (end := self._answers.find(b"\n", seen)) < 0:
            seen = len(self._answers)
            left = deadline - time.monotonic()
            self._check_memory()
            if select.select([stdout], [], [], max(0.0, min(left, _GLANCE)))[0]:
                read = os.read(stdout.fileno(), 1 << 16)
                if not read:
                    raise self._end(None)
                self._answers += read
                if len(self._answers) > _LINE:
                    raise self._end("it answered without end")
            elif left <= 0:  # not before looking: it may have answered while another one was waited for
                raise self._end(f"{what} took more than {allowed:g} s")
        line = bytes(self._answers[:end])
        del self._answers[: end + 1]
        return line

    def _check_memory(self) -> None:
        limit, now = self._limits.memory, self.resident
        if limit is not None and now is not None and now > limit:
            raise self._end(f"it took {now / 1e6:.0f} MB, over the limit of {limit / 1e6:.0f} MB")

    def _end(self, why: str | None) -> RunError:
        """End it, and the error that says why; None: it has ended by itself."""
        if why is None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(5)
            why = f"its process ended with {_how(self._process.poll())}: {self._last_words()}"
        self.close()
        return RunError(why)

    def _last_words(self) -> str:
        self._said.seek(max(0, self._said.seek(0, os.SEEK_END) - 4096))
        lines = self._said.read().decode(errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else "it said nothing"


def _how(status: int | None) -> str:
    if status is None:
        return "its answers closed"
    if status >= 0:
        return f"exit status {status}"
    with suppress(ValueError):
        return f"signal {-status} ({signal.Signals(-status).name})"
    return f"signal {-status}"
