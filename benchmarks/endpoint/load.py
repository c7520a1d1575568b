"""Load from outside, by `hey` (Debian: apt-get install hey): a program in Go, which takes little of the processor."""

from __future__ import annotations

import csv
import shutil
import subprocess
from collections.abc import Mapping
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


def load(
    url: str, message: Message, folder: Path, *, clients: int, seconds: float, rate: float | None = None,
    headers: Mapping[str, str] = {},
) -> Loaded:  # fmt: skip
    """Send this request again and again: each of `clients` when it has its answer; no more than `rate` a second in all."""
    hey = shutil.which("hey")
    if hey is None:
        raise InputError("hey is not installed here: apt-get install hey")
    body = folder / "body.bin"
    body.write_bytes(bytes(message.body))
    options = ["-z", f"{seconds:g}s", "-c", str(clients), "-m", "POST", "-D", str(body), "-o", "csv", "-t", "10"]
    if rate is not None:
        options += ["-q", f"{rate / clients:g}"]
    for name, value in {**message.headers, **headers}.items():
        options += ["-T", value] if name == "content-type" else ["-H", f"{name}: {value}"]
    told = subprocess.run([hey, *options, url], capture_output=True, text=True, check=True).stdout  # noqa: S603
    rows = list(csv.DictReader(told.splitlines()))
    if not rows:
        raise OSError(f"{url} gave no answer")
    took = [float(row["response-time"]) for row in rows]
    begun = [float(row["offset"]) for row in rows]
    wall = max(at + t for at, t in zip(begun, took, strict=True)) - min(begun)
    return Loaded(tuple(took), tuple(int(row["status-code"]) for row in rows), wall)
