"""Calls that come by themselves, whether answers come or not (an open loop), as a process of its own:
`python -m benchmarks.endpoint.poisson URL RATE SECONDS SEED < MESSAGE.json`; standard output has what became of each.

HTTP at its barest: a request that was written before, and of the answer no more than its status and its length, so that
the client takes little of the processor that it shares with the endpoint.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from typing import cast
from urllib.parse import urlsplit

import msgspec
import numpy as np
import uvloop

from benchmarks.endpoint.load import Loaded

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Asked(msgspec.Struct, frozen=True):
    """What is sent again and again."""

    headers: dict[str, str]
    body: bytes


class _Connection(asyncio.Protocol):
    """Carries one call at a time."""

    def __init__(self) -> None:
        self._left = -1
        self._head = b""
        self._status = 0
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


async def drive(url: str, asked: Asked, rate: float, seconds: float, seed: int) -> Loaded:
    """Calls with exponential gaps; each over a connection that is free, or a new one."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 80
    head = "".join(f"{name}: {value}\r\n" for name, value in asked.headers.items())
    request = (
        f"POST {parts.path} HTTP/1.1\r\nhost: {parts.netloc}\r\ncontent-length: {len(asked.body)}\r\n{head}\r\n"
    ).encode() + asked.body  # fmt: skip
    loop = asyncio.get_running_loop()
    free: list[_Connection] = []
    took: list[float] = []
    statuses: list[int] = []

    async def call(due: float) -> None:
        connection = free.pop() if free else (await loop.create_connection(_Connection, host, port))[1]
        connection.answer = loop.create_future()
        connection.transport.write(request)
        statuses.append(await connection.answer)
        took.append(time.perf_counter() - due)
        if not connection.transport.is_closing():
            free.append(connection)

    tasks = []
    start = time.perf_counter()
    for due in start + np.cumsum(np.random.default_rng(seed).exponential(1.0 / rate, int(rate * seconds))):
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        tasks.append(asyncio.create_task(call(float(due))))
    await asyncio.gather(*tasks)
    return Loaded(tuple(took), tuple(statuses), time.perf_counter() - start)


def main() -> None:
    url, rate, seconds, seed = sys.argv[1:]
    asked = msgspec.json.decode(sys.stdin.buffer.read(), type=Asked)
    found = uvloop.run(drive(url, asked, float(rate), float(seconds), int(seed)))
    sys.stdout.buffer.write(msgspec.json.encode(found))


if __name__ == "__main__":
    main()
