"""What stands between a broker and all that talk to it, and makes their links bad: a process of its own.

`python -m benchmarks.chaos.proxy TO SEED` prints {"port": PORT}, and obeys lines of JSON on its standard input:

    {"act": "rough", "again": P, "held": P}        from now on, of the messages at QoS 1, both ways:
                                                   `again`  one in so many is sent twice: once more, flagged DUP, up to
                                                            COPY seconds later on the same connection
                                                   `held`   one in so many is kept back for up to HOLD seconds, while those
                                                            after it pass, also those on the same topic
    {"act": "cut", "share": S}                     this share of the connections ends at once, by a reset; in the middle of
                                                   a packet, as it comes
    {"act": "dark", "share": S, "seconds": T}      the same, and these clients are turned away for so long
    {"act": "stall", "share": S, "seconds": T}     on these connections nothing passes, either way, for so long; then all
                                                   of it does
    {"act": "calm"}                                none of all this any more
    {"act": "count"}                               prints what was done so far

The protocol holds all the while, but for the order of messages: a sender never hears of a copy, since of the PUBACKs for a
message and its copy it gets one. A client that leaves on purpose is let go when all that it said before has passed. Where
the broker is away a connection is ended at once.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import sys
from asyncio import StreamReader, StreamWriter
from typing import Any

import msgspec

from benchmarks.chaos import wire
from benchmarks.chaos.way import Done, Rough, Way
from edge_runtime.bench.worker import die_with_parent

HOST = "127.0.0.1"
PIECE = 64 << 10


class Link:
    """A client's connection to the broker."""

    def __init__(self, client: str, up: Way, down: Way) -> None:
        self.client, self.up, self.down = client, up, down

    def cut(self) -> None:
        """Both halves, at once."""
        self.up.reset()
        self.down.reset(b"\x30")  # the first byte of a message, and no more


class Proxy:
    """All links."""

    def __init__(self, to: int, seed: int) -> None:
        self._to, self._draw = to, random.Random(seed)  # noqa: S311 - no secret
        self.done, self._rough = Done(), Rough()
        self._links: set[Link] = set()
        self._dark: dict[str, float] = {}

    async def serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        """One connection, to its end."""
        back = None
        try:
            packets = wire.Packets()
            first = await self._first(reader, packets)
            client = wire.client(first[0])
            if asyncio.get_running_loop().time() < self._dark.get(client, 0.0):
                self.done.turned_away += 1
                return
            there, back = await asyncio.open_connection(HOST, self._to)
            _tune(back)
            _tune(writer)
            link = Link(client, self._way(back), self._way(writer))
            self.done.connections += 1
            self._links.add(link)
            for packet in first:
                link.up.pass_on(packet)
            try:
                await _race(_carry(reader, packets, link.up, link.down), _carry(there, wire.Packets(), link.down, link.up))
            finally:
                self._links.discard(link)
                link.up.close()
                link.down.close()
        except (OSError, ValueError, IndexError, EOFError):
            pass  # what is no MQTT, or has ended: a proxy says nothing of it
        finally:
            writer.close()
            if back is not None:
                back.close()

    async def _first(self, reader: StreamReader, packets: wire.Packets) -> list[bytes]:
        found: list[bytes] = []
        while not found:
            if not (data := await reader.read(PIECE)):
                raise EOFError
            found = [*packets.feed(data)]
        return found

    def obey(self, told: dict[str, Any]) -> None:
        """A line of the standard input."""
        match told:
            case {"act": "rough", "again": again, "held": held}:
                self._rough.again, self._rough.held = again, held
            case {"act": "cut", "share": share}:
                self._cut(self._some(share))
            case {"act": "dark", "share": share, "seconds": seconds}:
                some, until = self._some(share), asyncio.get_running_loop().time() + seconds
                self._dark |= {link.client: until for link in some}
                self._cut(some)
            case {"act": "stall", "share": share, "seconds": seconds}:
                for link in self._some(share):
                    self._stall(link, seconds)
            case {"act": "calm"}:
                self._rough.again = self._rough.held = 0.0
                self._dark.clear()
                for link in self._links:
                    for way in (link.up, link.down):
                        way.go_on()
                        way.flush()
            case {"act": "count"}:
                print(msgspec.json.encode(self.done).decode(), flush=True)
            case _:
                raise ValueError(f"{told} is nothing that this proxy does")

    def _some(self, share: float) -> list[Link]:
        links = sorted(self._links, key=lambda link: link.client)
        return [link for link in links if self._draw.random() < share]

    def _cut(self, links: list[Link]) -> None:
        for link in links:
            self.done.cut += 1
            link.cut()

    def _stall(self, link: Link, seconds: float) -> None:
        self.done.stalled += 1
        for way in (link.up, link.down):
            way.stall()
            asyncio.get_running_loop().call_later(seconds, way.go_on)

    def _way(self, sink: StreamWriter) -> Way:
        return Way(sink, self._rough, self._draw, self.done)


async def _race(*ways: Any) -> None:
    """Until the first of them ends: the other one ends with it."""
    tasks = [asyncio.ensure_future(way) for way in ways]
    done, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)
    for task in done:
        task.result()


async def _carry(reader: StreamReader, packets: wire.Packets, way: Way, other: Way) -> None:
    while data := await reader.read(PIECE):
        for packet in packets.feed(data):
            if wire.kind(packet) != wire.PUBACK or not other.is_of_copy(packet):
                way.pass_on(packet)


def _tune(writer: StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


async def run(to: int, seed: int) -> None:
    """Until the standard input ends."""
    proxy = Proxy(to, seed)
    server = await asyncio.start_server(proxy.serve, HOST, 0, backlog=1024)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    reader = StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        proxy.obey(json.loads(line))


if __name__ == "__main__":
    die_with_parent()
    asyncio.run(run(int(sys.argv[1]), int(sys.argv[2])))
