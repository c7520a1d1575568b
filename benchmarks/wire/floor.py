"""The bare wire: http.client to a uvicorn app that echoes, and two sockets that speak as little MQTT 5 as a broker takes.

As a program it is one end, in a process of its own:

    python -m benchmarks.wire.floor echo-http                     says its port
    python -m benchmarks.wire.floor echo-mqtt HOST PORT TOPIC     says that it hears
    python -m benchmarks.wire.floor ask-http HOST PORT            takes an `Order` a line, says the `Turn` that came of it
    python -m benchmarks.wire.floor ask-mqtt HOST PORT TOPIC      the same

With `KEEP_BUFFERS=1` in its environment it keeps its big buffers, as our own ends do (`cloud_bridge.malloc`).
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from http.client import HTTPConnection
from typing import Any

import msgspec

from cloud_bridge.malloc import keep_buffers
from edge_runtime.bench.measure import timed

_CHUNK = 1 << 16


class Order(msgspec.Struct, frozen=True):
    """Round trips of a body: so many, or for so many seconds, or both."""

    size: int
    runs: int
    seconds: float
    both: bool


class HttpFloor:
    """One connection of the standard library's."""

    def __init__(self, host: str, port: int) -> None:
        self._connection = HTTPConnection(host, port)

    def trip(self, body: bytes) -> bytes:
        """There and back."""
        self._connection.request("POST", "/", body, {"content-type": "application/octet-stream"})
        return self._connection.getresponse().read()


class MqttFloor:
    """One socket, subscribed to one topic, and that publishes to another."""

    def __init__(self, host: str, port: int, hears: str, says: str) -> None:
        self._socket = socket.create_connection((host, port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""
        self._topic = _text(says) + b"\0"  # no properties
        hello = b"\0\4MQTT\5\2\0\0\0" + _text(says)  # a clean start, no keepalive, no properties, a name
        self._socket.sendall(b"\x10" + _length(len(hello)) + hello)
        self._packet()
        subscription = b"\0\1\0" + _text(hears) + b"\0"
        self._socket.sendall(b"\x82" + _length(len(subscription)) + subscription)
        self._packet()

    def trip(self, body: bytes) -> memoryview:
        """There and back."""
        self.say(body)
        return self.hear()

    def say(self, body: bytes | memoryview) -> None:
        """One PUBLISH."""
        head = b"\x30" + _length(len(self._topic) + len(body)) + self._topic
        sent = self._socket.sendmsg((head, body))
        if sent < len(head) + len(body):
            self._socket.sendall(memoryview(body)[sent - len(head) :])

    def hear(self) -> memoryview:
        """The body of the next PUBLISH, without properties beside it."""
        packet = self._packet()
        return packet[2 + int.from_bytes(packet[:2], "big") + 1 :]

    def _packet(self) -> memoryview:
        """The next packet after its head, received where it stays."""
        while (head := _head(self._buffer)) is None:
            self._buffer += _some(self._socket)
        start, size = head
        packet = bytearray(size)
        had = self._buffer[start : start + size]
        packet[: len(had)] = had
        self._buffer = self._buffer[start + size :]
        view = memoryview(packet)
        at = len(had)
        while at < size:
            at += self._socket.recv_into(view[at:])
        return view


def _some(sock: socket.socket) -> bytes:
    if not (data := sock.recv(_CHUNK)):
        raise ConnectionError("the broker ended the connection")
    return data


def _head(data: bytes) -> tuple[int, int] | None:
    """Where the first packet's head ends and how much follows."""
    size = 0
    for at, byte in enumerate(data[1:5]):
        size |= (byte & 0x7F) << 7 * at
        if byte < 0x80:
            return at + 2, size
    return None


def _text(text: str) -> bytes:
    return len(text).to_bytes(2, "big") + text.encode()


def _length(size: int) -> bytes:
    out = bytearray()
    while size > 0x7F:
        out.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes((*out, size))


async def _echo(scope: Any, receive: Any, send: Any) -> None:
    chunks, more = [], True
    while more:
        event = await receive()
        chunks.append(event.get("body", b""))
        more = event.get("more_body", False)
    body = b"".join(chunks)
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _serve() -> None:
    import uvicorn

    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)  # it listens: who connects now is served in a moment
        config = uvicorn.Config(
            _echo, http="httptools", lifespan="off", access_log=False, log_level="error",
            timeout_keep_alive=3600,  # the connection is kept while the others have their turns
        )  # fmt: skip
        await uvicorn.Server(config).serve([listener])


def _ask(floor: HttpFloor | MqttFloor) -> None:
    for line in sys.stdin.buffer:
        order = msgspec.json.decode(line, type=Order)
        body = os.urandom(order.size)
        turn = timed(lambda: floor.trip(body), order.runs, order.seconds, both=order.both)  # noqa: B023 - called at once
        sys.stdout.buffer.write(msgspec.json.encode(turn) + b"\n")
        sys.stdout.buffer.flush()


def main() -> None:
    if os.environ.get("KEEP_BUFFERS"):
        keep_buffers()
    what, *where = sys.argv[1:]
    if what == "echo-http":
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve())
    elif what == "ask-http":
        _ask(HttpFloor(where[0], int(where[1])))
    elif what == "ask-mqtt":
        _ask(MqttFloor(where[0], int(where[1]), f"{where[2]}/answered", f"{where[2]}/asked"))
    else:
        end = MqttFloor(where[0], int(where[1]), f"{where[2]}/asked", f"{where[2]}/answered")
        print("hears", flush=True)
        while True:
            end.say(end.hear())


if __name__ == "__main__":
    main()
