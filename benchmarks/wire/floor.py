"""The bare wire: http.client to an app that echoes, and a pair of sockets that speak as little MQTT 5 as a broker takes.

As a program it is the other end, in a process of its own: `python -m benchmarks.wire.floor http`, which says its port on
standard output, or `python -m benchmarks.wire.floor mqtt HOST PORT`, which says a line when it hears.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Mapping
from http.client import HTTPConnection
from typing import Any

from cloud_bridge.malloc import keep_buffers

ASKED, ANSWERED = b"floor/asked", b"floor/answered"
_CHUNK = 1 << 16


class HttpFloor:
    """One connection of the standard library's."""

    def __init__(self, port: int, headers: Mapping[str, str]) -> None:
        self._connection = HTTPConnection("127.0.0.1", port)
        self._headers = dict(headers)

    def trip(self, body: bytes) -> bytes:
        """There and back."""
        self._connection.request("POST", "/", body, self._headers)
        return self._connection.getresponse().read()

    def close(self) -> None:
        self._connection.close()


class MqttFloor:
    """One socket, subscribed to one topic, and that publishes to another."""

    def __init__(self, host: str, port: int, hears: bytes, says: bytes) -> None:
        self._socket = socket.create_connection((host, port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""
        self._topic = len(says).to_bytes(2, "big") + says + b"\0"
        self._socket.sendall(b"\x10\x10\0\4MQTT\5\2\0\0\0\0\3" + hears[-3:])  # clean start, no keepalive, no properties
        self._packet()
        subscription = b"\0\1\0" + len(hears).to_bytes(2, "big") + hears + b"\0"
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

    def close(self) -> None:
        self._socket.close()

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
        config = uvicorn.Config(_echo, http="httptools", lifespan="off", access_log=False, log_level="error")
        await uvicorn.Server(config).serve([listener])


def main() -> None:
    keep_buffers()  # as our own ends do
    if sys.argv[1] == "http":
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve())
        return
    end = MqttFloor(sys.argv[2], int(sys.argv[3]), ASKED, ANSWERED)
    print("hears", flush=True)
    while True:
        end.say(end.hear())


if __name__ == "__main__":
    main()
