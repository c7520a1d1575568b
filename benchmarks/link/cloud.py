"""The cloud's side of the emulated link: endpoint and broker as processes in its namespace, to be hurt and started
again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from benchmarks.link.ends import Ends, start
from cloud_bridge import broker

Part = Literal["endpoint", "broker"]


class Cloud:
    """A context manager; `url` is where the device finds it."""

    def __init__(self, ends: Ends, store: Path, transport: str) -> None:
        self._ends, self._store, self._transport = ends, store, transport
        self._processes: dict[Part, subprocess.Popen[str]] = {}
        self._own, self.url = (_url(transport, where[transport]) for where in (ends.listens, ends.found))

    def __enter__(self) -> Self:
        if self._transport == "mqtt":
            self.start("broker")
        self.start("endpoint")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for process in reversed(self._processes.values()):
            process.send_signal(signal.SIGCONT)
            process.terminate()
            try:
                process.wait(5.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def start(self, part: Part) -> None:
        """Start it, and wait until it is ready."""
        if part == "broker":
            self._processes[part] = self._broker()
            return
        where = ["--http", self._ends.listens["http"]] if self._transport == "http" else ["--mqtt", self._own]
        process = start(
            self._ends.cloud,
            sys.executable,
            "-m",
            "cloud_bridge.cli",
            "serve",
            str(self._store),
            *where,
            "--insecure",
            "--json",
        )
        assert process.stdout is not None  # noqa: S101
        json.loads(process.stdout.readline())
        self._processes[part] = process

    def _broker(self) -> subprocess.Popen[str]:
        """Mosquitto itself: the embedded broker keeps to loopback, and here nobody else can reach it either."""
        host, _, port = self._ends.listens["mqtt"].partition(":")
        settings = self._store.parent / "mosquitto.conf"
        settings.write_text(f"listener {port} {host}\nallow_anonymous true\nmax_packet_size 67108864\n")
        process = start(self._ends.cloud, broker.find("mosquitto") or "mosquitto", "-c", str(settings), quiet=True)
        deadline = time.monotonic() + 10.0
        while not self._listens(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise OSError("mosquitto does not listen: is it installed, and no other at this address?")
            time.sleep(0.05)
        return process

    def _listens(self, port: str) -> bool:
        """Whether somebody listens at this port of the cloud."""
        probe = start(self._ends.cloud, "ss", "-Hltn", f"sport = :{port}")
        return bool(probe.communicate()[0].strip())

    def kill(self, part: Part) -> None:
        """As a power cut would (SIGKILL)."""
        self.signal(part, signal.SIGKILL)
        self._processes.pop(part).wait()

    def signal(self, part: Part, number: signal.Signals) -> None:
        """To the process, and to the broker that it may have started."""
        process = self._processes[part]
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
        for pid in (*map(int, children.split()), process.pid):
            os.kill(pid, number)


def _url(transport: str, where: str) -> str:
    return f"http://{where}" if transport == "http" else f"mqtt://{where}/link"
