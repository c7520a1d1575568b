"""An endpoint for long at 80 % of what it can answer (MiniLM, 32 tokens), beside clients that vanish: in the middle of a
request, before its answer, or by a reset. What it holds of memory, files and threads is looked at all the while, and
after."""

from __future__ import annotations

import argparse
import os
import random
import socket
import struct
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

import msgspec
import numpy as np

from benchmarks.convention import Bar, Options, Outcome, at_least, at_most, main
from benchmarks.endpoint.drill import served
from benchmarks.endpoint.load import closed, opened
from benchmarks.endpoint.minilm import rows_of, sentences
from cloud_bridge.protocol import oip
from cloud_bridge.protocol.message import Message
from edge_runtime.bench.worker import resident_of
from edge_runtime.bundles.store import Store
from edge_runtime.remote import Call

SHARE = 0.8
"""Of the rate that sixteen clients get."""

BUDGET = 1.0
VANISHING = 10.0
"""Clients a second that vanish."""

PATH = "/v2/models/minilm/infer"


class Seen(msgspec.Struct, frozen=True):
    """What the endpoint holds at an instant, in seconds from the start."""

    at: float
    memory: int
    files: int
    threads: int


class Found(msgspec.Struct, frozen=True):
    """The raw values."""

    capacity: float
    offered: float
    answered: int
    others: dict[int, int]
    """Statuses other than 200, and how many of them."""
    vanished: int
    seen: tuple[Seen, ...]
    waiting: float
    """Calls that wait when all is over."""
    after: int
    """The status of a call then."""


def run(options: Options) -> Outcome:
    """Load it, look at it, and look again when all is over."""
    seconds = 20.0 if options.quick else 60.0 * options.own["minutes"]
    with tempfile.TemporaryDirectory() as folder:
        where = Path(folder)
        store = Store(where / "store", create=True)
        store.install(rows_of(options.store, where / "minilm").folder)
        with served(store.path) as (process, url):
            found = _soaked(process.pid, url, seconds, options)
    return Outcome(_bars(found), _rows(found), found)


def _soaked(pid: int, url: str, seconds: float, options: Options) -> Found:
    message = oip.encode_request(Call("minilm", sentences(1)), budget=BUDGET)
    capacity = closed(url + PATH, message, clients=16, seconds=min(10.0, seconds / 4)).rate()
    time.sleep(2.0)  # the connections of those clients are gone
    seen = [_look(pid, 0.0)]
    vanished: list[int] = []
    stop = threading.Event()
    begin = time.monotonic()

    def watch() -> None:
        seen.append(_look(pid, time.monotonic() - begin))
        options.progress(int(seen[-1].at), int(seconds) + 1)

    helpers = [
        threading.Thread(target=_repeat, args=(stop, 1.0, watch)),
        threading.Thread(target=_repeat, args=(stop, 1.0 / VANISHING, lambda: vanished.append(_vanish(url, message)))),
    ]
    for helper in helpers:
        helper.start()
    loaded = opened(url + PATH, message, rate=SHARE * capacity, seconds=seconds)
    stop.set()
    for helper in helpers:
        helper.join()
    statuses, counts = np.unique(loaded.statuses, return_counts=True)
    told = {int(status): int(count) for status, count in zip(statuses, counts, strict=True)}
    time.sleep(2.0)  # what vanished last is noticed
    seen.append(_look(pid, time.monotonic() - begin))
    after = closed(url + PATH, message, clients=1, seconds=0.0)
    return Found(
        capacity, SHARE * capacity, told.pop(200, 0), told, len(vanished), tuple(seen), _waiting(url), after.statuses[0]
    )  # fmt: skip


def _repeat(stop: threading.Event, period: float, act: Callable[[], Any]) -> None:
    while not stop.wait(period):
        act()


def _vanish(url: str, message: Message) -> int:
    """One client that does not stay: half of a request, or a whole one, and gone, orderly or by a reset."""
    parts = urlsplit(url)
    head = "".join(f"{name}: {value}\r\n" for name, value in message.headers.items())
    whole = f"POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-length: {message.size}\r\n{head}\r\n".encode() + bytes(
        message.body
    )
    with socket.create_connection((parts.hostname or "", parts.port or 80)) as sock:
        length = random.choice((10, len(whole) // 2, len(whole)))  # noqa: S311  (no secret)
        sock.sendall(whole[:length])
        if random.random() < 0.5:  # noqa: S311
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return length


def _look(pid: int, at: float) -> Seen:
    return Seen(at, resident_of(pid) or 0, len(os.listdir(f"/proc/{pid}/fd")), len(os.listdir(f"/proc/{pid}/task")))


def _waiting(url: str) -> float:
    with urlopen(f"{url}/metrics", timeout=10) as answer:  # noqa: S310  (our own)
        lines = answer.read().decode().splitlines()
    return float(next(line.split()[-1] for line in lines if line.startswith("edge_waiting_calls")))


def _growth(found: Found) -> float:
    """Of the memory from the second tenth of the time to the last."""
    memory = [look.memory for look in found.seen]
    tenth = max(1, len(memory) // 10)
    return float(np.median(memory[-tenth:]) / np.median(memory[tenth : 2 * tenth])) - 1.0


def _bars(found: Found) -> list[Bar]:
    first, last = found.seen[0], found.seen[-1]
    asked = found.answered + sum(found.others.values())
    return [
        at_most("memory grows", 100 * _growth(found), "%", 5.0),
        at_most("files more than at the start, after all", float(last.files - first.files), "", 2.0),
        at_most("threads more than at the start, after all", float(last.threads - first.threads), "", 2.0),
        at_most("calls that wait after all", found.waiting, "", 0.0),
        at_least("answered of all that were asked", 100.0 * found.answered / max(1, asked), "%", 99.0),
        at_most("a call after all: its status", float(found.after), "", 200.0),
    ]


def _rows(found: Found) -> list[str]:
    others = ", ".join(f"{status}: {count}" for status, count in sorted(found.others.items())) or "none"
    memory = [look.memory / 1e6 for look in found.seen]
    return [
        f"{found.seen[-1].at / 60:.1f} min at {found.offered:.0f} calls a second ({found.capacity:.0f} at most), "
        f"{found.answered} answered, others by status: {others}; {found.vanished} clients vanished",
        f"memory {memory[0]:.0f} MB at first, {memory[-1]:.0f} MB at last, {max(memory):.0f} MB at most",
    ]


def _add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--minutes", type=float, default=30.0, help="how long (default: %(default)g)")


if __name__ == "__main__":
    main("soak", __doc__, run, add=_add)
