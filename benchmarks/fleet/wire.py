"""MQTT 5 for thousands of connections on one event loop: QoS 0 and 1 both ways, acknowledged by hand. No more of it than
simulated devices need; paho takes a thread for each connection.

It is a way to a broker as `cloud_bridge.control.link` has it, but for two things: it does not connect again by itself, and
what it tells comes on the event loop.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable, Sequence
from math import ceil
from typing import cast

from cloud_bridge.control.link import Event, Heard, Said, Taken, Up
from cloud_bridge.protocol import fields
from cloud_bridge.protocol.fields import About
from cloud_bridge.protocol.fleet.rpc import STATUS
from cloud_bridge.protocol.packets import GOODBYE, REFUSED, reason
from edge_runtime.errors import ProtocolError, UnreachableError

_PATIENCE = 60.0
_RECEIVE_MAXIMUM = 33
_PUBACK, _CONNACK, _SUBACK, _PUBLISH, _DISCONNECT = 0x40, 0x20, 0x90, 0x30, 0xE0
_NUMBERS = 1 << 16


class Wire(asyncio.Protocol):
    """One connection. `open` returns when its filters are granted; `tell` hears of everything that comes after that."""

    __slots__ = (
        "_ended", "_filters", "_flying", "_left", "_name", "_number", "_ready", "_tell", "_transport",
        "_waiting", "_will", "_window",
    )  # fmt: skip

    def __init__(
        self, name: str, filters: Sequence[str], tell: Callable[[Event], None], *, will: Said | None = None,
        window: int = 20,
    ) -> None:  # fmt: skip
        self._name, self._filters, self._tell, self._will = name, tuple(filters), tell, will
        self._window = window
        self._left = b""
        self._number = 0
        self._flying = 0
        self._waiting: deque[bytes] = deque()
        self._ended = ""

    async def open(self, host: str, port: int) -> None:
        """Connect and subscribe. Raises UnreachableError."""
        loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[None] = loop.create_future()
        try:
            async with asyncio.timeout(_PATIENCE):
                await loop.create_connection(lambda: self, host, port)
                await self._ready
        except TimeoutError as error:
            raise UnreachableError(f"{self._name}: the broker has not answered for {_PATIENCE:g} s") from error

    def say(self, message: Said) -> int:
        """Send it, or, where so many are under way, when some were taken."""
        self._number = self._number % (_NUMBERS - 1) + 1
        packet = publish(message, self._number)
        if not message.qos:
            self._transport.write(packet)
        elif self._flying < self._window:
            self._flying += 1
            self._transport.write(packet)
        else:
            self._waiting.append(packet)
        return self._number

    def ack(self, heard: Heard) -> None:
        """This message need not come again."""
        _, number, qos = heard.key
        if qos:
            self._transport.write(b"\x40\2" + number.to_bytes(2, "big"))

    def close(self) -> None:
        """Leave on purpose."""
        self._transport.write(GOODBYE)
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See Protocol."""
        self._transport = cast("asyncio.Transport", transport)  # it is of a TCP connection
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._transport.write(connect(self._name, self._will, self._window))

    def connection_lost(self, error: Exception | None) -> None:
        """See Protocol."""
        if not self._ready.done():
            self._ready.set_exception(UnreachableError(f"{self._name}: {self._ended or error or 'the broker hangs up'}"))

    def data_received(self, data: bytes) -> None:
        """See Protocol."""
        data = self._left + data if self._left else data
        at, end = 0, len(data)
        while end - at > 1:
            length = fields.read_number(data, at + 1)
            if length is None or length[1] + length[0] > end:
                break
            first, start, at = data[at], length[1], length[1] + length[0]
            self._read(first, data[start:at])
        self._left = data[at:]

    def _read(self, first: int, body: bytes) -> None:
        kind = first & 0xF0
        if kind == _PUBLISH:
            self._tell(heard(first, body))
        elif kind == _PUBACK:
            self._took(body)
        elif kind == _CONNACK:
            if body[1] >= REFUSED:
                self._ended = reason(body[1])
            elif self._filters:
                self._transport.write(subscribe(1, self._filters))
            else:
                self._is_ready(Up())
        elif kind == _SUBACK:
            _, end = fields.read_properties(body, 2)
            refused = tuple(each for each, code in zip(self._filters, body[end:], strict=True) if code >= REFUSED)
            self._is_ready(Up(refused))
        elif kind == _DISCONNECT:
            self._ended = reason(body[0] if body else 0)

    def _is_ready(self, up: Up) -> None:
        self._ready.set_result(None)
        self._tell(up)

    def _took(self, body: bytes) -> None:
        if self._waiting:
            self._transport.write(self._waiting.popleft())
        else:
            self._flying -= 1
        refused = reason(body[2]) if len(body) > 2 and body[2] >= REFUSED else ""
        self._tell(Taken(int.from_bytes(body[:2], "big"), refused))


def connect(name: str, will: Said | None, window: int) -> bytes:
    """CONNECT with a clean start, and without pings: what they cost a broker is not what is measured."""
    told = bytes((_RECEIVE_MAXIMUM,)) + window.to_bytes(2, "big")
    flags, payload = 0x02, [fields.text(name)]
    if will is not None:
        flags |= 0x04 | will.qos << 3 | will.retain << 5
        payload += [b"\0", fields.text(will.topic), fields.binary(will.payload)]
    head = [fields.text("MQTT"), bytes((5, flags)), b"\0\0", fields.number(len(told)), told]
    return _packet(0x10, *head, *payload)


def subscribe(number: int, filters: Sequence[str]) -> bytes:
    """SUBSCRIBE with QoS 1."""
    return _packet(0x82, number.to_bytes(2, "big"), b"\0", *(fields.text(each) + b"\1" for each in filters))


def publish(message: Said, number: int) -> bytes:
    """PUBLISH."""
    about = About(
        None if message.expiry is None else max(1, ceil(message.expiry)), message.form, message.reply, message.correlation,
        ((STATUS, message.status),) if message.status else (),
    )  # fmt: skip
    called = number.to_bytes(2, "big") if message.qos else b""
    first = _PUBLISH | message.qos << 1 | message.retain
    return _packet(first, fields.text(message.topic), called, fields.properties(about), message.payload)


def heard(first: int, body: bytes) -> Heard:
    """The message in a PUBLISH. Raises ProtocolError."""
    qos = first >> 1 & 3
    at = 2 + int.from_bytes(body[:2], "big")
    if qos > 1 or at > len(body):
        raise ProtocolError("MQTT: a publication of QoS 2, or one that ends in its topic")
    topic, number = fields.read_text(body[2:at]), 0
    if qos:
        number, at = int.from_bytes(body[at : at + 2], "big"), at + 2
    told, end = fields.read_properties(body, at)
    return Heard(
        topic=topic, payload=body[end:], correlation=told.get(fields.CORRELATION),
        status=dict(told[fields.USER]).get(STATUS, ""), expiry=told.get(fields.EXPIRY), retained=bool(first & 1),
        key=(0, number, qos),
    )  # fmt: skip


def _packet(first: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return bytes((first,)) + fields.number(len(body)) + body
