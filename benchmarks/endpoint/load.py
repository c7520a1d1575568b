"""Load from outside: a closed loop by `hey` (Debian: apt-get install hey), an open one by a process of ours."""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec

from cloud_bridge.protocol.message import Message
from edge_runtime.errors import InputError


class Loaded(msgspec.Struct, frozen=True):
    """What became of each request."""

    seconds: tuple[float, ...]
    statuses: tuple[int, ...]
    wall: float
    """From the first request's start to the last answer."""

    def rate(self, within: float = float("inf")) -> float:
        """Good answers a second, of those that took no longer."""
        good = sum(s == 200 and t <= within for s, t in zip(self.statuses, self.seconds, strict=True))
        return good / self.wall

    def of(self, *statuses: int) -> list[float]:
        """How long the answers of these statuses took."""
        return [t for s, t in zip(self.statuses, self.seconds, strict=True) if s in statuses]


def closed(url: str, message: Message, folder: Path, *, clients: int, seconds: float) -> Loaded:
    """Send this request again and again: each of `clients` when it has its answer."""
    hey = shutil.which("hey")
    if hey is None:
        raise InputError("hey is not installed here: apt-get install hey")
    body = folder / "body.bin"
    body.write_bytes(bytes(message.body))
    options = ["-z", f"{seconds:g}s", "-c", str(clients), "-m", "POST", "-D", str(body), "-o", "csv", "-t", "10"]
    for name, value in message.headers.items():
        options += ["-T", value] if name == "content-type" else ["-H", f"{name}: {value}"]
    told = subprocess.run([hey, *options, url], capture_output=True, text=True, check=True).stdout  # noqa: S603
    rows = list(csv.DictReader(told.splitlines()))
    if not rows:
        raise OSError(f"{url} gave no answer")
    took = [float(row["response-time"]) for row in rows]
    begun = [float(row["offset"]) for row in rows]
    wall = max(at + t for at, t in zip(begun, took, strict=True)) - min(begun)
    return Loaded(tuple(took), tuple(int(row["status-code"]) for row in rows), wall)


def opened(url: str, message: Message, *, rate: float, seconds: float, seed: int = 0) -> Loaded:
    """Send this request so many times a second, whether answers come or not."""
    asked = msgspec.json.encode({"headers": dict(message.headers), "body": bytes(message.body)})
    command = [sys.executable, "-m", "benchmarks.endpoint.poisson", url, f"{rate}", f"{seconds}", f"{seed}"]
    told = subprocess.run(command, input=asked, stdout=subprocess.PIPE, check=True).stdout  # noqa: S603
    return msgspec.json.decode(told, type=Loaded)
