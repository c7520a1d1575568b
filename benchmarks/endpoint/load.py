"""Load on an endpoint by a process beside this one."""

from __future__ import annotations

import subprocess
import sys

import msgspec

from benchmarks.endpoint.bare import Asked, Loaded, Order
from cloud_bridge.protocol.message import Message


def closed(url: str, message: Message, *, clients: int, seconds: float) -> Loaded:
    """Send this request again and again: each of `clients` when it has its answer."""
    return ordered(Order(url, _asked(message), seconds, clients))


def opened(url: str, message: Message, *, rate: float, seconds: float, seed: int = 0) -> Loaded:
    """Send this request so many times a second, whether answers come or not."""
    return ordered(Order(url, _asked(message), seconds, rate=rate, seed=seed))


def ordered(order: Order, program: str = "benchmarks.endpoint.bare") -> Loaded:
    """Let a client's program carry out this order."""
    command = [sys.executable, "-m", program]
    told = subprocess.run(command, input=msgspec.json.encode(order), stdout=subprocess.PIPE, check=True).stdout  # noqa: S603
    return msgspec.json.decode(told, type=Loaded)


def _asked(message: Message) -> Asked:
    return Asked(dict(message.headers), bytes(message.body))
