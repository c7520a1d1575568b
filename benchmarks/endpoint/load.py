"""Load on an endpoint by a process beside this one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import msgspec

from benchmarks.endpoint.bare import Asked, Loaded, Order
from cloud_bridge.protocol.message import Message

Ended = Callable[[], Loaded]
"""Waits for a load to end, and gives what became of it."""

BARE = "benchmarks.endpoint.bare"


def closed(url: str, message: Message, *, clients: int, seconds: float) -> Loaded:
    """Send this request again and again: each of `clients` when it has its answer."""
    return started(url, message, clients=clients, seconds=seconds)()


def started(url: str, message: Message, *, clients: int, seconds: float) -> Ended:
    """The same, beside what this process does meanwhile. It ends, too, when nobody answers any more."""
    return _start(Order(url, _asked(message), seconds, clients))


def opened(url: str, message: Message, *, rate: float, seconds: float, seed: int = 0) -> Loaded:
    """Send this request so many times a second, whether answers come or not."""
    return _start(Order(url, _asked(message), seconds, rate=rate, seed=seed))()


def ordered(order: Order, program: str) -> Loaded:
    """Let another client's program carry out this order."""
    return _start(order, program)()


def _asked(message: Message) -> Asked:
    return Asked(dict(message.headers), bytes(message.body))


def _start(order: Order, program: str = BARE) -> Ended:
    command = [sys.executable, "-m", program]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603
    assert process.stdin is not None  # noqa: S101
    process.stdin.write(msgspec.json.encode(order))
    process.stdin.close()
    process.stdin = None

    def ended() -> Loaded:
        told, _ = process.communicate()
        if process.returncode:
            raise RuntimeError(f"the load ended with status {process.returncode}")
        return msgspec.json.decode(told, type=Loaded)

    return ended
