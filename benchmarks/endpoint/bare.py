"""Load from outside, as a process of its own: `python -m benchmarks.endpoint.bare < ORDER.json`; standard output has what
became of each call.

HTTP at its barest: a request that was written before, and of the answer no more than its status and its length, so that
the client takes little of the processor that it shares with the endpoint.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import sys
import time
from typing import cast
from urllib.parse import urlsplit

import msgspec
import numpy as np
import uvloop

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)


class Asked(msgspec.Struct, frozen=True):
    """What is sent again and again."""

    headers: dict[str, str]
    body: bytes


class Loaded(msgspec.Struct, frozen=True):
    """What became of each request."""

    seconds: tuple[float, ...]
    statuses: tuple[int, ...]
    wall: float
    """From the first request's start to the last answer."""
    ends: tuple[float, ...]
    """Seconds from the first request's start to each answer."""

    def rate(self, within: float = float("inf")) -> float:
        """Good answers a second, of those that took no longer."""
        good = sum(s == 200 and t <= within for s, t in zip(self.statuses, self.seconds, strict=True))
        return good / self.wall

    def of(self, *statuses: int) -> list[float]:
        """How long the answers of these statuses took."""
        return [t for s, t in zip(self.statuses, self.seconds, strict=True) if s in statuses]


class Order(msgspec.Struct, frozen=True):
    """What to do for so many seconds."""

    url: str
    asked: Asked
    seconds: float
    clients: int = 1
    """Each sends again when it has its answer (a closed loop), unless there is a rate."""
    rate: float | None = None
    """Calls a second, whether answers come or not (an open loop)."""
    seed: int = 0


class _Connection(asyncio.Protocol):
    """Carries one call at a time."""

    def __init__(self) -> None:
        self._left = -1
        self._head = b""
        self._status = 0
        self.last = False
        """The server has said that it takes no more calls on this connection."""
        self.answer: asyncio.Future[int] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._left < 0:
            self._head += data
            head, found, data = self._head.partition(b"\r\n\r\n")
            if not found:
                return
            length = _LENGTH.search(head)
            self.last = _CLOSE.search(head) is not None
            self._status, self._left, self._head = int(head[9:12]), 0 if length is None else int(length[1]), b""
        self._left -= len(data)
        if self._left <= 0:
            self._left = -1
            self._settle(self._status)

    def connection_lost(self, exc: Exception | None) -> None:
        self._settle(0)

    def _settle(self, status: int) -> None:
        if self.answer is not None and not self.answer.done():
            self.answer.set_result(status)


class Clients:
    """Calls to one address, each over a connection that is free, or a new one."""

    def __init__(self, url: str, asked: Asked) -> None:
        parts = urlsplit(url)
        self._where = parts.hostname or "", parts.port or 80
        head = "".join(f"{name}: {value}\r\n" for name, value in asked.headers.items())
        line = f"POST {parts.path} HTTP/1.1\r\nhost: {parts.netloc}\r\ncontent-length: {len(asked.body)}\r\n"
        self._request = f"{line}{head}\r\n".encode() + asked.body
        self._free: list[_Connection] = []
        self._took: list[float] = []
        self._statuses: list[int] = []
        self._ends: list[float] = []

    async def call(self, due: float) -> None:
        """One that should have been sent at `due`, an instant of `time.perf_counter()`."""
        loop = asyncio.get_running_loop()
        connection = self._kept() or (await loop.create_connection(_Connection, *self._where))[1]
        connection.answer = loop.create_future()
        connection.transport.write(self._request)
        self._statuses.append(await connection.answer)
        self._ends.append(time.perf_counter())
        self._took.append(self._ends[-1] - due)
        if not connection.last and not connection.transport.is_closing():
            self._free.append(connection)

    def _kept(self) -> _Connection | None:
        """A connection that is free. The server closes those that were idle for some seconds."""
        while self._free:
            if not (connection := self._free.pop()).transport.is_closing():
                return connection
        return None

    async def opened(self, rate: float, seconds: float, seed: int) -> Loaded:
        """So many a second, with exponential gaps."""
        start, tasks = time.perf_counter(), []
        for due in start + np.cumsum(np.random.default_rng(seed).exponential(1.0 / rate, int(rate * seconds))):
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            tasks.append(asyncio.create_task(self.call(float(due))))
        await asyncio.gather(*tasks)
        return self._told(start)

    async def closed(self, clients: int, seconds: float) -> Loaded:
        """Each client calls, and again when it has its answer, as long as somebody answers."""
        start = time.perf_counter()

        async def client() -> None:
            now = start
            with contextlib.suppress(ConnectionError):
                while True:
                    await self.call(now)
                    if (now := time.perf_counter()) >= start + seconds:
                        return

        await asyncio.gather(*(client() for _ in range(clients)))
        return self._told(start)

    def _told(self, start: float) -> Loaded:
        ends = tuple(end - start for end in self._ends)
        return Loaded(tuple(self._took), tuple(self._statuses), time.perf_counter() - start, ends)


def main() -> None:
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    clients = Clients(order.url, order.asked)
    work = (
        clients.closed(order.clients, order.seconds)
        if order.rate is None
        else clients.opened(order.rate, order.seconds, order.seed)
    )
    sys.stdout.buffer.write(msgspec.json.encode(uvloop.run(work)))


if __name__ == "__main__":
    main()
