"""An endpoint as a process of its own, as `cloud-bridge serve` starts it, and what tests of endpoints share."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edge_runtime.values import Array, Tensors
from tests.doubles import PythonSession


class GatedSession(PythonSession):
    """Runs only as long as its gate is open; tells when it has begun."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.begun = threading.Event()

    def run(self, inputs: Tensors) -> dict[str, Array]:
        self.begun.set()
        assert self.gate.wait(30.0)
        return super().run(inputs)


class Endpoint:
    """A running endpoint."""

    def __init__(self, process: subprocess.Popen[str], announced: dict[str, Any]) -> None:
        self.process = process
        self.announced = announced

    @property
    def url(self) -> str:
        """Where its HTTP face is."""
        return str(self.announced["http"])

    @property
    def grpc(self) -> str:
        """The host and port of its gRPC face."""
        return str(self.announced["grpc"]).partition("://")[2]


@contextmanager
def endpoint(store: Path, *options: str, http: str | None = "127.0.0.1:0", mqtt: str | None = None) -> Iterator[Endpoint]:
    """Start an endpoint, wait until it says that it is ready, and stop it in the end. It must say nothing on stderr."""
    faces = (["--http", http] if http else []) + (["--mqtt", mqtt] if mqtt else [])
    process = subprocess.Popen(
        [sys.executable, "-m", "cloud_bridge.cli", "serve", str(store), *faces, *options, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise AssertionError(f"the endpoint did not start: {process.communicate()[1]}")
        yield Endpoint(process, json.loads(line))
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            errors = process.communicate(timeout=30)[1]
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise
    assert not errors, errors


def eventually(check: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
    """Wait for something that happens by itself."""
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)
