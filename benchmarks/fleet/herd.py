"""The process of simulated devices: `python -m benchmarks.fleet.herd` reads a Setting as its first line of stdin, then an
Order a line, and answers each by a line. All devices are on one event loop.
"""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import resource
import sys
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from benchmarks.fleet.board import Board
from benchmarks.fleet.device import Bare, Device
from benchmarks.fleet.hands import NoHands, RealHands, Seen, shared
from benchmarks.fleet.script import Line, Side
from cloud_bridge.agent.journal import Journal
from cloud_bridge.agent.orders import read_keys
from cloud_bridge.agent.when import Instant
from edge_runtime.bench.worker import die_with_parent
from edge_runtime.bundles.store import Store

TICK = 0.5
"""Seconds between two looks at who has something to say unasked."""

AT_ONCE = 500
"""Devices that connect at once, until the controller has what they report: those that came all together would ask again
before it has answered."""

THREADS, CHECKERS = 4, 2
"""Of full devices: threads that do steps, and processes that check health."""

_MODEL = "tiny"


class Setting(msgspec.Struct, frozen=True):
    """What the herd is."""

    host: str
    port: int
    things: tuple[str, ...]
    keys: str
    """The operator's public key."""
    folder: str = ""
    """Where each device has its store and its state; "": devices without hands, whose journals are in memory."""
    bundle: str = ""
    """What is active at first."""
    artifacts: str = ""
    root: str = ""


class Order(msgspec.Struct, frozen=True):
    """What is to be done: "connect", "begin", "wait", "bare", "bare-wait", "standing" or "end"."""

    act: str
    script: tuple[Line, ...] = ()
    timeout: float = 600.0
    devices: int = 0
    """How many take part, where not all do."""


class Standing(msgspec.Struct, frozen=True):
    """How all stores are."""

    active: dict[str, int]
    """Devices by their active version."""
    trials: int
    """Devices whose version is on trial."""
    activated: dict[str, int]
    """How often each version was let in, since the herd began."""


class Herd:
    """All devices."""

    def __init__(self, setting: Setting, stack: ExitStack) -> None:
        self._setting = setting
        self._keys = read_keys(Path(setting.keys))
        self._board = Board(len(setting.things), setting.things[0])
        self._bare, self._seen = Bare(len(setting.things)), Seen()
        self._stores: list[Store] = []
        if setting.folder:
            threads = stack.enter_context(ThreadPoolExecutor(THREADS))
            spawn = multiprocessing.get_context("spawn")
            self._measure = shared(stack.enter_context(ProcessPoolExecutor(CHECKERS, spawn, die_with_parent)))
            self._root = Path(setting.root).read_bytes()
            self._threads: ThreadPoolExecutor | None = threads
            self.devices = list(threads.map(self._full, setting.things))
        else:
            self._threads = None
            self.devices = [self._light(thing) for thing in setting.things]

    async def obey(self, order: Order) -> Any:
        """Do it; what is to be answered."""
        match order.act:
            case "connect":
                return await self._connect(order.timeout)
            case "begin":
                self._board.begin(order.devices or len(self.devices))
            case "wait":
                await self._until(lambda: self._board.over, order.timeout)
                return self._board.read()
            case "bare":
                self._bare.begin(Side(order.script, device=True))
            case "bare-wait":
                await self._until(lambda: self._bare.over, order.timeout)
                return {"last": self._bare.last, "wrong": self._bare.wrong()}
            case "standing":
                return self._standing()
            case "end":
                for device in self.devices:
                    device.close()
            case other:
                raise ValueError(other)
        return {}

    async def tick(self) -> None:
        """Whoever has something to say unasked says it."""
        while True:
            await asyncio.sleep(TICK)
            now = Instant(time.time(), time.monotonic())
            for device in self.devices:
                if device.next <= now.mono:
                    device.due(now)

    async def _connect(self, timeout: float) -> Any:
        """Returns when the controller has what every device reports of itself."""
        begin = time.monotonic()
        gate = asyncio.Semaphore(AT_ONCE)

        async def connect(device: Device) -> None:
            async with gate:
                await device.open(self._setting.host, self._setting.port)
                await self._board.settle(device.thing)

        async with asyncio.timeout(timeout):
            await asyncio.gather(*map(connect, self.devices))
        settled = time.monotonic() - begin
        await asyncio.sleep(1.0)  # for what was still under way
        gc.collect()
        gc.freeze()  # a collector that looks at all devices again and again would be most of what is measured
        return {"settled": settled}

    async def _until(self, over: Callable[[], bool], timeout: float) -> None:
        until = time.monotonic() + timeout
        while not over() and time.monotonic() < until:
            await asyncio.sleep(0.01)

    def _light(self, thing: str) -> Device:
        hands = NoHands(thing, self._board)
        return Device(
            thing, self._keys, hands, Journal(":memory:"), lambda: {_MODEL: "1.0"}, self._board, self._bare
        )  # fmt: skip

    def _full(self, thing: str) -> Device:
        folder = Path(self._setting.folder) / thing
        store = Store(folder / "store", create=True)
        store.install(Path(self._setting.bundle))
        state = folder / "state"
        state.mkdir(mode=0o700)
        self._stores.append(store)
        hands = RealHands(
            thing, store, state, self._root, self._setting.artifacts, self._measure, self._board, self._seen
        )  # fmt: skip
        journal = Journal(state / "journal.sqlite")
        return Device(
            thing, self._keys, hands, journal, lambda: _active(store), self._board, self._bare, self._threads
        )  # fmt: skip

    def _standing(self) -> Standing:
        active: dict[str, int] = {}
        for store in self._stores:
            version = store.active(_MODEL) or "none"
            active[version] = active.get(version, 0) + 1
        trials = sum(store.trial(_MODEL) is not None for store in self._stores)
        return Standing(active, trials, dict(self._seen.activated))


def _active(store: Store) -> dict[str, str]:
    return {name: active for name in store.names() if (active := store.active(name)) is not None}


async def main() -> None:
    """Until "end", or the end of stdin."""
    reader = asyncio.StreamReader(limit=1 << 26)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    with ExitStack() as stack:
        herd = Herd(msgspec.json.decode(await reader.readline(), type=Setting), stack)
        _answer({"ready": True})
        ticking = asyncio.create_task(herd.tick())
        async for order in _orders(reader):
            _answer(await herd.obey(order))
            if order.act == "end":
                break
        ticking.cancel()


async def _orders(reader: asyncio.StreamReader) -> AsyncIterator[Order]:
    while line := await reader.readline():
        yield msgspec.json.decode(line, type=Order)


def _answer(value: Any) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(value) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    uvloop.run(main())
