"""A server's processes: started, held still while others are measured, and ended, whatever happens."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import msgspec
import psutil

from edge_runtime.errors import EngineMissingError, UnreachableError

ROOT = Path(__file__).parents[2]
START = 120.0
"""Seconds after which a server that is not ready is given up."""
GRACE = 30.0
"""Seconds that it has to end by itself."""

QUIET = {"ORT_DISABLE_TELEMETRY": "1", "RAY_USAGE_STATS_ENABLED": "0"}
"""Nothing here reports to anybody."""


class Program(msgspec.Struct, frozen=True):
    """How to start a server. It writes a JSON object with its addresses, one line, when it is ready."""

    command: tuple[str, ...]
    ends_by_signal: bool = False
    """Whether SIGTERM is how it ends; else it does when its standard input does."""
    environment: Mapping[str, str] = {}


def peer(name: str, file: Path, **environment: str) -> Program:
    """The program `benchmarks.peers.serve_NAME` in the environment that `make peers` makes for it."""
    python = ROOT / f".venv-peers-{name}" / "bin" / "python"
    if not python.exists():
        raise EngineMissingError(
            f"{name} is not installed in .venv-peers-{name}: make .venv-peers-{name}/ready, or make peers"
        )
    return Program((str(python), "-m", f"benchmarks.peers.serve_{name}", str(file.resolve())), environment=environment)


def ours(store: Path) -> Program:
    """Our endpoint."""
    command = "-m", "cloud_bridge.cli", "serve", str(store.resolve()), "--http", "127.0.0.1:0", "--json"
    return Program((sys.executable, *command), ends_by_signal=True)


class Server:
    """One that starts; what it says goes to the log. Leaving it ends all its processes.

    They are a group of this one's session, so that the system ends them, held or not, should this process be killed.
    """

    def __init__(self, program: Program, log: Path) -> None:
        self._program, self._log = program, log
        self._said = log.open("w", buffering=1)
        self._process = subprocess.Popen(  # noqa: S603
            program.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said, text=True, cwd=ROOT,
            env={**os.environ, **QUIET, **program.environment}, process_group=0,
        )  # fmt: skip
        # What comes after the addresses must not fill the pipe.
        self._chatter = threading.Thread(target=shutil.copyfileobj, args=(self._process.stdout, self._said), daemon=True)
        self._members: list[psutil.Process] = []

    def ready(self) -> Mapping[str, Any]:
        """Its addresses, once it is; from then on it is held. Raises UnreachableError."""
        assert self._process.stdout is not None  # noqa: S101
        watchdog = threading.Timer(START, lambda: [member.kill() for member in self._family()])
        watchdog.start()
        try:
            for line in self._process.stdout:
                if line.startswith("{"):
                    break
                self._said.write(line)
            else:
                raise UnreachableError(f"{' '.join(self._program.command)} did not start: {self._last_words()}")
        finally:
            watchdog.cancel()
        self._chatter.start()
        self._hold()
        return msgspec.json.decode(line, type=dict[str, Any])

    @contextmanager
    def awake(self) -> Iterator[None]:
        """It runs inside this; the rest of the time it takes nothing from those that are measured."""
        self._wake()
        try:
            yield
        finally:
            self._hold()

    def worked(self) -> float:
        """Seconds of processor time that its processes have taken."""
        total = 0.0
        for member in self._family():
            with suppress(psutil.NoSuchProcess):
                total += sum(member.cpu_times()[:2])
        return total

    def stop(self) -> None:
        """Tell it to end, without waiting for it."""
        assert self._process.stdin is not None  # noqa: S101
        self._wake()
        self._members = self._members or self._family()
        if self._program.ends_by_signal:
            self._process.terminate()
        self._process.stdin.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()
        _, left = psutil.wait_procs(self._members, timeout=GRACE)
        for member in left:
            with suppress(psutil.NoSuchProcess):
                member.kill()
        if self._chatter.is_alive():
            self._chatter.join(GRACE)
        with self._process, self._said:  # which closes its pipes, and waits for it
            pass

    def _hold(self) -> None:
        for member in self._family():
            with suppress(psutil.NoSuchProcess):
                member.suspend()

    def _wake(self) -> None:
        for member in self._family():
            with suppress(psutil.NoSuchProcess):
                member.resume()

    def _family(self) -> list[psutil.Process]:
        """The process, and all that it started, and they."""
        try:
            first = psutil.Process(self._process.pid)
            return [first, *first.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def _last_words(self) -> str:
        lines = [line for line in self._log.read_text(errors="replace").splitlines() if line.strip()]
        return lines[-1][:300] if lines else "it said nothing"
