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
from typing import IO

import msgspec
import psutil

from edge_runtime.errors import EngineMissingError, UnreachableError

ROOT = Path(__file__).parents[2]
START = 60.0
"""Seconds after which a server that is not ready is given up."""
GRACE = 30.0
"""Seconds that it has to end by itself."""

QUIET = {"ORT_DISABLE_TELEMETRY": "1", "RAY_USAGE_STATS_ENABLED": "0"}
"""Nothing here reports to anybody."""


class Program(msgspec.Struct, frozen=True):
    """How to start a server. It writes a JSON object with its addresses, one line, when it is ready."""

    command: tuple[str, ...]
    ends_by_signal: bool = False
    """Whether SIGTERM is how it ends; else it does when its standard input does, and so outlives nobody."""
    environment: Mapping[str, str] = {}


def peer(name: str, file: Path, **environment: str) -> Program:
    """The program `benchmarks.peers.serve_NAME` in the environment that `make peers` makes for it."""
    python = ROOT / f".venv-peers-{name}" / "bin" / "python"
    if not python.exists():
        raise EngineMissingError(
            f"{python.parents[1].name} is not here: make {python.parents[1].name}/ready, or make peers"
        )
    return Program((str(python), "-m", f"benchmarks.peers.serve_{name}", str(file.resolve())), environment=environment)


def ours(store: Path) -> Program:
    """Our endpoint."""
    command = "-m", "cloud_bridge.cli", "serve", str(store.resolve()), "--http", "127.0.0.1:0", "--json"
    return Program((sys.executable, *command), ends_by_signal=True)


class Server:
    """One that is ready."""

    def __init__(self, addresses: Mapping[str, str], process: int) -> None:
        self.addresses = addresses
        self._process = process

    @contextmanager
    def awake(self) -> Iterator[None]:
        """It runs inside this; the rest of the time it takes no processor time from those that are measured."""
        for process in family(self._process):
            process.resume()
        try:
            yield
        finally:
            self.sleep()

    def sleep(self) -> None:
        """Hold all its processes."""
        for process in family(self._process):
            process.suspend()


@contextmanager
def started(program: Program, log: Path) -> Iterator[Server]:
    """The server, held still. What it says goes to the log."""
    with log.open("w", buffering=1) as said, _launched(program, said) as process:
        watchdog = threading.Timer(START, process.kill)
        watchdog.start()
        try:
            addresses = _addresses(process, said)
        finally:
            watchdog.cancel()
        if addresses is None:
            raise UnreachableError(f"{' '.join(program.command)} did not start; {_last_words(log)}")
        server = Server(addresses, process.pid)
        server.sleep()
        yield server


@contextmanager
def _launched(program: Program, said: IO[str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(  # noqa: S603
        program.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True, cwd=ROOT,
        env={**os.environ, **QUIET, **program.environment}, start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        _end(process, program.ends_by_signal)


def _addresses(process: subprocess.Popen[str], said: IO[str]) -> dict[str, str] | None:
    """The first line that is a JSON object; the lines before and after it are only its chatter."""
    assert process.stdout is not None  # noqa: S101
    for line in process.stdout:
        if line.startswith("{"):
            threading.Thread(target=shutil.copyfileobj, args=(process.stdout, said), daemon=True).start()
            return {name: address for name, address in msgspec.json.decode(line).items() if isinstance(address, str)}
        said.write(line)
    return None


def _end(process: subprocess.Popen[str], by_signal: bool) -> None:
    """By the program's own way first. What is left of its processes after the grace time is killed."""
    everyone = family(process.pid)
    for one in everyone:
        with suppress(psutil.NoSuchProcess):
            one.resume()
    if by_signal:
        process.terminate()
    assert process.stdin is not None  # noqa: S101
    process.stdin.close()
    with suppress(subprocess.TimeoutExpired):
        process.wait(GRACE)
    _, left = psutil.wait_procs(everyone, timeout=1.0)
    for one in left:
        with suppress(psutil.NoSuchProcess):
            one.kill()
    process.wait()


def family(pid: int) -> list[psutil.Process]:
    """A process and all that it started, and they."""
    try:
        first = psutil.Process(pid)
        return [first, *first.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _last_words(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return f"it said last: {lines[-1][:200]}" if lines else "it said nothing"
