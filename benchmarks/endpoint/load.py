"""Load on an endpoint by a process beside this one."""

from __future__ import annotations

import subprocess
import sys

import msgspec

from benchmarks.endpoint.bare import Asked, Loaded, Order
from cloud_bridge.protocol.message import Message


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
