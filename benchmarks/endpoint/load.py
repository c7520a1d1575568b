"""An endpoint, and load on it, by processes beside this one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from benchmarks.endpoint.bare import Asked, Loaded, Order
from cloud_bridge.protocol.message import Message


@contextmanager
def served(store: Path, *options: str) -> Iterator[str]:
    """The URL of an endpoint."""
    command = [sys.executable, "-m", "cloud_bridge.cli", "serve", str(store), "--http", "127.0.0.1:0", "--json", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603
    try:
        assert process.stdout is not None  # noqa: S101
        yield msgspec.json.decode(process.stdout.readline())["http"]
    finally:
        process.terminate()
        process.communicate()


def closed(url: str, message: Message, *, clients: int, seconds: float) -> Loaded:
    """Send this request again and again: each of `clients` when it has its answer."""
    return _done(Order(url, _asked(message), seconds, clients))


def opened(url: str, message: Message, *, rate: float, seconds: float, seed: int = 0) -> Loaded:
    """Send this request so many times a second, whether answers come or not."""
    return _done(Order(url, _asked(message), seconds, rate=rate, seed=seed))


def _asked(message: Message) -> Asked:
    return Asked(dict(message.headers), bytes(message.body))


def _done(order: Order) -> Loaded:
    command = [sys.executable, "-m", "benchmarks.endpoint.bare"]
    told = subprocess.run(command, input=msgspec.json.encode(order), stdout=subprocess.PIPE, check=True).stdout  # noqa: S603
    return msgspec.json.decode(told, type=Loaded)
