"""The same link where there is no root: a proxy on loopback that lets TCP's bytes through as the recording says. It knows
no packets and no losses, and either end's TCP sees loopback: what is slow is the stream.

Run as a process of its own: `python -m benchmarks.link.proxy TRACE.json OFFSET LISTEN=TO ...` (ports).
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from asyncio import StreamReader, StreamWriter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.link.emulator import DOWN, LEAST_QUEUE, QUEUE
from benchmarks.link.ends import TRANSPORTS, Carried, Ends, carrier, carry, priority
from benchmarks.routing.links import LinkTrace
from benchmarks.routing.world import TRIP
from edge_runtime.routing.world import Uplink

PIECE = 1448
"""Bytes that are let through together."""

HELD = 16 << 10
"""Bytes that a connection may have beside the link's queue."""

HOST = "127.0.0.1"


class Way:
    """One direction, shared by all connections: bytes leave in the order in which they came, and arrive after the delay."""

    def __init__(self, carry: Callable[[float, int], float], delay: Callable[[float], float], queue: float) -> None:
        self._carry, self._delay, self._queue = carry, delay, queue
        self._start = time.monotonic()
        self._free = 0.0
        self._waiting = 0
        self._room = asyncio.Event()
        self.carried = 0

    def now(self) -> float:
        """Seconds since the link began."""
        return time.monotonic() - self._start

    async def put(self, size: int) -> float:
        """Wait until the queue has room; when `size` bytes will have arrived."""
        while self._waiting + size > self._queue:
            self._room.clear()
            await self._room.wait()
        now = self.now()
        self._free = self._carry(max(now, self._free), size)
        self._waiting += size
        self.carried += size
        asyncio.get_running_loop().call_later(self._free - now, self._left, size)
        return self._free + self._delay(now)

    def _left(self, size: int) -> None:
        self._waiting -= size
        self._room.set()


async def forward(trace: LinkTrace, offset: float, ports: Sequence[tuple[int, int]], carried: Carried) -> None:
    """Carry what comes to the first of each pair of ports to the second, and back, until this process is told to end."""
    ending = asyncio.Event()
    # Not by an exception from a signal's handler: where that breaks into the loop, a task may never run again, nor end.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ending.set)
    uplink = Uplink(trace.times, trace.rates, offset)

    def half(now: float) -> float:
        return 0.5 * (trace.trip(now + offset) or TRIP)

    up = Way(uplink.finish, half, max(LEAST_QUEUE, QUEUE * uplink.mean))
    down = Way(lambda at, size: at + size / DOWN, half, QUEUE * DOWN)
    for listen, to in ports:

        async def connected(reader: StreamReader, writer: StreamWriter, to: int = to) -> None:
            there, back = await asyncio.open_connection(HOST, to)
            await asyncio.gather(_pump(reader, back, up), _pump(there, writer, down))

        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, HELD)
        listener.bind((HOST, listen))
        await asyncio.start_server(connected, sock=listener, limit=HELD // 2)
    print("ready", flush=True)
    while not ending.is_set():
        await asyncio.sleep(0.02)
        carried.up, carried.down = up.carried, down.carried


async def _pump(reader: StreamReader, writer: StreamWriter, way: Way) -> None:
    """One direction of one connection, until it ends; what is on its way then is not held up by that."""
    arriving: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
    delivery = asyncio.create_task(_deliver(arriving, writer, way))
    at = 0.0
    try:
        while data := await reader.read(PIECE):
            at = max(at, await way.put(len(data)))
            arriving.put_nowait((at, data))
    except OSError:
        delivery.cancel()
        writer.transport.abort()
        return
    arriving.put_nowait((at, b""))
    await delivery


async def _deliver(arriving: asyncio.Queue[tuple[float, bytes]], writer: StreamWriter, way: Way) -> None:
    while True:
        at, data = await arriving.get()
        await asyncio.sleep(max(0.0, at - way.now()))
        if not data:
            writer.close()
            return
        writer.write(data)


@contextmanager
def proxied(trace: LinkTrace, offset: float, folder: Path) -> Iterator[Ends]:
    """A link between the device and two ports of the cloud, all on loopback, for as long as the context lasts."""
    carried = Carried()
    with socket.socket() as first, socket.socket() as second, socket.socket() as third, socket.socket() as fourth:
        ports = []
        for each in (first, second, third, fourth):
            each.bind((HOST, 0))
            ports.append(each.getsockname()[1])
    pairs = [f"{ports[0]}={ports[1]}", f"{ports[2]}={ports[3]}"]
    with carrier(__name__, trace, folder, carried, str(offset), *pairs) as pid:
        yield Ends(
            (), (),
            dict(zip(TRANSPORTS, (f"{HOST}:{port}" for port in ports[1::2]), strict=True)),
            dict(zip(TRANSPORTS, (f"{HOST}:{port}" for port in ports[0::2]), strict=True)),
            lambda: os.kill(pid, signal.SIGSTOP),
            lambda: os.kill(pid, signal.SIGCONT),
            carried,
        )  # fmt: skip


def main() -> None:
    """The proxy's process."""
    recording, offset, *pairs = sys.argv[1:]
    ports = [(int(listen), int(to)) for listen, _, to in (pair.partition("=") for pair in pairs)]
    priority()
    carry(recording, lambda trace, carried: asyncio.run(forward(trace, float(offset), ports, carried)))


if __name__ == "__main__":
    main()
