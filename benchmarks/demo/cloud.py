"""The demo's cloud: a broker and an endpoint, each a process of its own, to be killed when the time comes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from cloud_bridge import broker
from edge_runtime.errors import UnreachableError

ROOT = "demo"
"""The topic root that the devices and the endpoint of the demo share."""


class Cloud:
    """A running broker and endpoint. A context manager that stops both."""

    def __init__(self, store: Path) -> None:
        self.broker = broker.start()
        self.mqtt = f"{self.broker.url}/{ROOT}"
        command = [
            sys.executable,
            "-m",
            "cloud_bridge.cli",
            "serve",
            str(store),
            "--http",
            ":0",
            "--mqtt",
            self.mqtt,
            "--json",
        ]
        # Its log would run through the table; it is told when the endpoint does not start.
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the rest
        self._endpoint = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self._log, text=True)  # noqa: S603
        self.http = ""

    def wait(self) -> None:
        """Wait until the endpoint takes calls."""
        assert self._endpoint.stdout is not None  # noqa: S101  (it was asked for)
        line = self._endpoint.stdout.readline()
        if not line:
            status = self._endpoint.wait()
            self._log.seek(0)
            raise UnreachableError(
                f"the endpoint ended with status {status} before it was ready: {self._log.read()[-500:]}"
            )
        self.http = json.loads(line)["http"]

    def kill_endpoint(self) -> None:
        """As a power cut would (SIGKILL)."""
        self._endpoint.kill()

    def kill_broker(self) -> None:
        """As a power cut would (SIGKILL)."""
        self.broker.kill()

    def close(self) -> None:
        """Stop what still runs."""
        if self._endpoint.poll() is None:
            self._endpoint.send_signal(signal.SIGTERM)
            try:
                self._endpoint.wait(10.0)
            except subprocess.TimeoutExpired:
                self._endpoint.kill()
        self._endpoint.wait()
        if self._endpoint.stdout is not None:
            self._endpoint.stdout.close()
        self._log.close()
        self.broker.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
