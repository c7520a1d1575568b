"""What becomes of calls under way when the endpoint is told to stop, and how soon it answers again after it was killed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter, sleep

import msgspec

from benchmarks.endpoint.load import closed, started
from cloud_bridge.protocol.message import Message

GRACE = 5.0
"""Seconds that calls under way get."""


class Drilled(msgspec.Struct, frozen=True):
    """What was seen."""

    answered: int
    """Calls that had an answer, until it ended."""
    unanswered: int
    """Calls that had none: their connections broke."""
    status: int
    """The exit status after SIGTERM."""
    ending: float
    """Seconds from SIGTERM to the end."""
    again: float
    """Seconds from a start after SIGKILL to the first answer."""


@contextmanager
def served(store: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """An endpoint's process and its URL."""
    command = [sys.executable, "-m", "cloud_bridge.cli", "serve", str(store), "--http", "127.0.0.1:0", "--json", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603
    try:
        assert process.stdout is not None  # noqa: S101
        yield process, json.loads(process.stdout.readline())["http"]
    finally:
        process.terminate()
        process.communicate()


def drill(store: Path, path: str, message: Message, clients: int, seconds: float) -> Drilled:
    """Stop it under the load of so many clients, then kill one and start another."""
    with served(store) as (process, url):
        load = started(url + path, message, clients=clients, seconds=seconds + 2 * GRACE)
        sleep(seconds)
        begin = perf_counter()
        process.send_signal(signal.SIGTERM)
        status = process.wait(4 * GRACE)
        ending = perf_counter() - begin
        found = load()
    with served(store) as (process, url):
        load = started(url + path, message, clients=clients, seconds=seconds)
        sleep(seconds / 2)
        process.kill()
        load()
    begin = perf_counter()
    with served(store) as (_, url):
        first = closed(url + path, message, clients=1, seconds=0.0)
        again = perf_counter() - begin
    unanswered = found.statuses.count(0)
    again = again if first.statuses == (200,) else float("inf")
    return Drilled(len(found.statuses) - unanswered, unanswered, status, ending, again)
