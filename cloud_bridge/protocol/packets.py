"""MQTT 5 as a client speaks it: values to bytes, bytes to events. Pure, and no more of it than the bridge needs.

QoS 0 both ways and no topic aliases: a broker that sends either was not asked for it, and that is an error like any other
packet that is none. A `Reader` says where the next bytes are to be received, so that a large payload lands where it stays,
at an address at which its tensors can be used.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeAlias

import msgspec
import numpy as np

from cloud_bridge.protocol import fields
from cloud_bridge.protocol.fields import LARGEST, About
from cloud_bridge.protocol.message import Buffer
from edge_runtime.errors import ProtocolError

HEAD = 64 << 10
"""Bytes of a publication beside its payload, and of any other packet, at most: more is passed over."""

PING = b"\xc0\0"
GOODBYE = b"\xe0\0"
"""DISCONNECT in order: the broker forgets the will."""

REFUSED = 0x80
"""Reasons from here on are refusals."""

REASONS = {
    0x80: "Unspecified error", 0x81: "Malformed packet", 0x82: "Protocol error", 0x83: "Implementation specific error",
    0x84: "Unsupported protocol version", 0x85: "Client identifier not valid", 0x86: "Bad user name or password",
    0x87: "Not authorized", 0x88: "Server unavailable", 0x89: "Server busy", 0x8A: "Banned", 0x8B: "Server shutting down",
    0x8C: "Bad authentication method", 0x8D: "Keep alive timeout", 0x8E: "Session taken over",
    0x8F: "Topic filter invalid", 0x90: "Topic name invalid", 0x93: "Receive maximum exceeded",
    0x94: "Topic alias invalid", 0x95: "Packet too large", 0x96: "Message rate too high", 0x97: "Quota exceeded",
    0x98: "Administrative action", 0x99: "Payload format invalid", 0x9A: "Retain not supported",
    0x9B: "QoS not supported", 0x9C: "Use another server", 0x9D: "Server moved",
    0x9E: "Shared subscriptions not supported", 0x9F: "Connection rate exceeded", 0xA0: "Maximum connect time",
    0xA1: "Subscription identifiers not supported", 0xA2: "Wildcard subscriptions not supported",
}  # fmt: skip
"""What the standard calls the refusals (2.4)."""

_CONNACK, _PUBLISH, _SUBACK, _UNSUBACK, _PINGRESP, _DISCONNECT = 0x20, 0x30, 0x90, 0xB0, 0xD0, 0xE0
_RETAIN = 0x01


class Publication(msgspec.Struct, frozen=True):
    """A message under a topic."""

    topic: str
    payload: Buffer = b""
    about: About = About()
    retain: bool = False


class Welcome(msgspec.Struct, frozen=True):
    """CONNACK: how the broker takes a connection."""

    reason: int
    keepalive: int | None = None
    """Seconds that it wants instead of ours."""
    largest: int = LARGEST
    """Bytes of a packet that it takes."""
    shares: bool = True
    """Whether it has shared subscriptions."""


class Subscribed(msgspec.Struct, frozen=True):
    """SUBACK: the reasons of one SUBSCRIBE, in its order."""

    number: int
    reasons: tuple[int, ...]


class Ended(msgspec.Struct, frozen=True):
    """DISCONNECT: the broker ends the connection."""

    reason: int


class Alive(msgspec.Struct, frozen=True):
    """Something that says no more than that the broker is there."""


class Passed(msgspec.Struct, frozen=True):
    """A publication that says too much beside its payload: its bytes are not read."""

    size: int


Event: TypeAlias = Publication | Welcome | Subscribed | Ended | Alive | Passed


class _Begun(NamedTuple):
    """A publication without its payload, and the bytes before that."""

    topic: str
    about: About
    retain: bool
    head: int


def reason(code: int) -> str:
    """A reason in the standard's words."""
    return REASONS.get(code, f"reason {code:#04x}")


def connect(
    client_id: str, *, keepalive: int, username: str | None, password: str | None, will: Publication | None
) -> bytes:
    """CONNECT with a clean start and a session that ends with the connection. InputError for what it cannot say."""
    flags, payload = 0x02, [fields.text(client_id)]
    if will is not None:
        flags |= 0x04 | (0x20 if will.retain else 0)
        payload += [fields.properties(will.about), fields.text(will.topic), fields.binary(bytes(will.payload))]
    if username is not None:
        flags |= 0x80
        payload.append(fields.text(username))
    if password is not None:
        flags |= 0x40
        payload.append(fields.binary(password.encode()))
    return _packet(0x10, fields.text("MQTT"), bytes((5, flags)), keepalive.to_bytes(2, "big"), b"\0", *payload)


def publish(topic: str, about: About, size: int, *, retain: bool = False) -> bytes:
    """PUBLISH without its payload of `size` bytes, which follows."""
    head = fields.text(topic) + fields.properties(about)
    return bytes((_PUBLISH | (_RETAIN if retain else 0),)) + fields.number(len(head) + size) + head


def subscribe(number: int, filters: Sequence[str]) -> bytes:
    """SUBSCRIBE with QoS 0."""
    return _packet(0x82, number.to_bytes(2, "big"), b"\0", *(fields.text(each) + b"\0" for each in filters))


def unsubscribe(number: int, filters: Sequence[str]) -> bytes:
    """UNSUBSCRIBE."""
    return _packet(0xA2, number.to_bytes(2, "big"), b"\0", *map(fields.text, filters))


class Reader:
    """What a broker says on one connection. After an error nothing more can be read."""

    def __init__(self) -> None:
        self._bytes = memoryview(bytearray(HEAD))
        self._start = self._end = 0  # what has come and was not read
        self._skip = 0  # bytes of a packet that is passed over
        self._begun: _Begun | None = None  # the publication whose payload is coming
        self._payload = memoryview(b"")
        self._filled = 0

    def buffer(self) -> memoryview:
        """Where the next bytes are to be received; never empty."""
        return self._bytes[self._end :] if self._begun is None else self._payload[self._filled :]

    def received(self, count: int) -> Iterator[Event]:
        """So many bytes have been put there: what they complete. Raises ProtocolError for what is no MQTT 5; to be taken to
        its end before the next bytes come."""
        if self._begun is not None:
            self._filled += count
            if self._filled == len(self._payload):
                yield self._complete(self._begun)
            return
        self._end += count
        while (event := self._next()) is not None:
            yield event
        left = self._end - self._start
        self._bytes[:left] = self._bytes[self._start : self._end]  # to the front: a head always has its room
        self._start, self._end = 0, left

    def _next(self) -> Event | None:
        skipped = min(self._skip, self._end - self._start)
        self._skip -= skipped
        self._start += skipped
        data = self._bytes[self._start : self._end]
        length = fields.read_number(data, 1)
        if length is None:
            return None
        first, (size, start) = data[0], length
        if first & 0xF0 == _PUBLISH:
            return self._publication(first, data, start, size)
        if start + size > HEAD:
            raise ProtocolError(f"MQTT: {size} bytes of a packet of type {first >> 4}: no broker has so much to say")
        if start + size > len(data):
            return None
        self._start += start + size
        return _event(first, bytes(data[start : start + size]))

    def _publication(self, first: int, data: memoryview, start: int, size: int) -> Event | None:
        begun = _begin(first, data[start : start + size], size)
        if begun is None:
            if len(data) < HEAD:
                return None
            self._skip = start + size
            return Passed(size)
        body = data[start + begun.head : start + size]
        self._payload = np.empty(size - begun.head, np.uint8).data  # no zeros are written where bytes will be
        self._payload[: len(body)] = body
        self._begun, self._filled = begun, len(body)
        self._start += start + begun.head + len(body)
        return self._complete(begun) if self._filled == len(self._payload) else None

    def _complete(self, begun: _Begun) -> Publication:
        event = Publication(begun.topic, self._payload, begun.about, begun.retain)
        self._begun, self._payload = None, memoryview(b"")
        return event


def _event(first: int, body: bytes) -> Event:
    """Of a whole packet that is no PUBLISH."""
    if first in {_UNSUBACK, _PINGRESP}:
        return Alive()
    if first == _DISCONNECT:
        return Ended(body[0] if body else 0)
    if first not in {_CONNACK, _SUBACK}:
        raise ProtocolError(f"MQTT: a packet that begins with {first:#04x}: no client is sent such")
    told, end = fields.read_properties(body, 2)
    if first == _SUBACK:
        return Subscribed(int.from_bytes(body[:2], "big"), tuple(body[end:]))
    largest = min(told.get(fields.LARGEST_PACKET, LARGEST), LARGEST)
    return Welcome(body[1], told.get(fields.KEEPALIVE), largest, told.get(fields.SHARES, 1) != 0)


def _begin(first: int, data: memoryview, size: int) -> _Begun | None:
    """A publication's head, when it is all there; `size` is that of the whole packet."""
    if first & 0x0E:
        raise ProtocolError("MQTT: a publication of a QoS that was not subscribed, or that says it came before")
    topic = 2 + int.from_bytes(data[:2], "big")
    length = fields.read_number(data, topic)
    if length is None or sum(length) > len(data):
        if len(data) == size:
            raise ProtocolError("MQTT: a publication ends in its head")
        return None
    head = bytes(data[: sum(length)])
    told, _ = fields.read_properties(head, topic)
    return _Begun(fields.read_text(head[2:topic]), fields.read_about(told), bool(first & _RETAIN), len(head))


def _packet(first: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return bytes((first,)) + fields.number(len(body)) + body
