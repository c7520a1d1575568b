"""Mosquitto with what it knows on its disk, to be killed and started again on the same port and the same files.

It writes a snapshot each second: a SIGKILL takes what it has acknowledged since, sessions and retained messages included.
"""

from __future__ import annotations

import getpass
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.chaos.mortal import Mortal
from cloud_bridge import broker
from edge_runtime.bench.worker import die_with_parent
from edge_runtime.errors import UnreachableError

HOST = "127.0.0.1"
PATIENCE = 30.0


class Mosquitto(Mortal):
    """One, from `start` to `kill`, as often as that."""

    def __init__(self, folder: Path) -> None:
        if broker.find("mosquitto") is None:
            raise UnreachableError("mosquitto is not installed here: apt-get install mosquitto")
        with socket.socket() as free:
            free.bind((HOST, 0))
            self.port: int = free.getsockname()[1]
        folder.mkdir()
        self.log = folder / "log"
        self._conf = folder / "mosquitto.conf"
        self._conf.write_text(config(self.port, folder))

    @property
    def url(self) -> str:
        """Without what may stand in between."""
        return f"mqtt://{HOST}:{self.port}"

    def start(self) -> None:
        """Return when it takes connections. Raises UnreachableError."""
        self.kill()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter, our own module
                [sys.executable, "-m", "benchmarks.chaos.broker", str(self._conf)], stdout=log, stderr=log, text=True
            )
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until and self._process.poll() is None:
            try:
                socket.create_connection((HOST, self.port), 1.0).close()
            except OSError:
                time.sleep(0.02)
            else:
                return
        raise UnreachableError(f"mosquitto does not listen on {self.port}: {self.log.read_text()[-300:]}")


def config(port: int, folder: Path) -> str:
    """mosquitto.conf."""
    return "\n".join((
        f"listener {port} {HOST}",
        "allow_anonymous true",
        "set_tcp_nodelay true",
        "persistence true",
        f"persistence_location {folder}/",
        "autosave_interval 1",
        f"user {getpass.getuser()}",
        "max_inflight_messages 1000",
        "max_queued_messages 100000",
        "log_dest stderr",
        "log_type error",
        "log_type warning",
        "",
    ))  # fmt: skip


if __name__ == "__main__":
    die_with_parent()
    os.execv(broker.find("mosquitto") or "mosquitto", ["mosquitto", "-c", sys.argv[1]])  # noqa: S606
