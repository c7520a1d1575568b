"""The parts that MQTT 5 packets are made of: numbers, strings, properties (1.5 and 2.2.2 of the standard). Pure.

What is malformed raises ProtocolError, what cannot be written InputError.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import msgspec

from cloud_bridge.protocol.message import Buffer
from cloud_bridge.protocol.varint import varint
from edge_runtime.errors import InputError, ProtocolError

LARGEST = 268_435_455
"""The largest number of four bytes, and with it the most bytes of a packet after its head."""

EXPIRY, CONTENT_TYPE, RESPONSE_TOPIC, CORRELATION, USER = 2, 3, 8, 9, 38
KEEPALIVE, LARGEST_PACKET, SHARES = 19, 39, 42
_SUBSCRIPTION = 11
"""Properties by their numbers."""

_LONGEST = 0xFFFF


_NUMBER, _TEXT, _BINARY = -1, -2, -3
_KINDS = {
    1: 1, EXPIRY: 4, CONTENT_TYPE: _TEXT, RESPONSE_TOPIC: _TEXT, CORRELATION: _BINARY, _SUBSCRIPTION: _NUMBER, 17: 4,
    18: _TEXT, KEEPALIVE: 2, 21: _TEXT, 22: _BINARY, 26: _TEXT, 28: _TEXT, 31: _TEXT, 33: 2, 34: 2, 36: 1, 37: 1,
    LARGEST_PACKET: 4, 40: 1, 41: 1, SHARES: 1,
}  # fmt: skip
"""How each property that a broker may send is written, but for USER (a text and another): a number of so many bytes, or
one of these three ways."""


class About(msgspec.Struct, frozen=True):
    """What a publication says beside topic and payload."""

    expiry: int | None = None
    """Seconds after which it is not worth anything."""
    content_type: str | None = None
    response_topic: str | None = None
    correlation: bytes | None = None
    user: Sequence[tuple[str, str]] = ()


def read_number(data: Buffer, at: int) -> tuple[int, int] | None:
    """A number of one to four bytes and where it ends; None when it is not all there."""
    value = 0
    for shift in range(4):
        if at + shift >= len(data):
            return None
        byte = data[at + shift]
        value |= (byte & 0x7F) << 7 * shift
        if byte < 0x80:
            return value, at + shift + 1
    raise ProtocolError("MQTT: a number of over four bytes")


def read_properties(data: bytes, at: int) -> tuple[dict[int, Any], int]:
    """The properties that begin at `at`, by number, and where they end. That of USER is a list of all."""
    length = read_number(data, at)
    if length is None or sum(length) > len(data):
        raise ProtocolError("MQTT: a packet ends in its properties")
    where, end = length[1], sum(length)
    told: dict[int, Any] = {USER: []}
    try:
        while where < end:
            where = _read_property(data, where, told)
    except IndexError as error:
        raise ProtocolError("MQTT: a packet ends in a property") from error
    if where > end:
        raise ProtocolError("MQTT: a property is longer than all properties")
    return told, end


def read_about(told: dict[int, Any]) -> About:
    """A publication's properties."""
    return About(
        told.get(EXPIRY), told.get(CONTENT_TYPE), told.get(RESPONSE_TOPIC), told.get(CORRELATION), told[USER]
    )  # fmt: skip


def read_text(data: bytes) -> str:
    """UTF-8 without U+0000."""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise ProtocolError(f"MQTT: a text is no UTF-8: {error}") from error
    if "\0" in text:
        raise ProtocolError("MQTT: a text holds U+0000")
    return text


def _read_property(data: bytes, at: int, told: dict[int, Any]) -> int:
    """Add one property to those that were told; where it ends, or would end. IndexError past the data."""
    number = data[at]
    if number == USER:  # most are
        middle = at + 3 + (data[at + 1] << 8 | data[at + 2])
        end = middle + 2 + (data[middle] << 8 | data[middle + 1])
        told[USER].append((read_text(data[at + 3 : middle]), read_text(data[middle + 2 : end])))
        return end
    kind = _KINDS.get(number)
    if kind is None:
        raise ProtocolError(f"MQTT: property {number} is none that a broker sends")
    value: Any
    if kind > 0:
        end = at + 1 + kind
        value = int.from_bytes(data[at + 1 : end], "big")
    elif kind == _NUMBER:
        value, end = read_number(data, at + 1) or (0, len(data) + 1)
    else:
        end = at + 3 + (data[at + 1] << 8 | data[at + 2])
        value = data[at + 3 : end]
        if kind == _TEXT:
            value = read_text(value)
    if number in told and number != _SUBSCRIPTION:
        raise ProtocolError(f"MQTT: property {number} is given twice")
    told[number] = value
    return end


def number(value: int) -> bytes:
    """In one to four bytes."""
    if value > LARGEST:
        raise InputError(f"MQTT has no packets of {value} bytes; at most {LARGEST}")
    return varint(value)


@lru_cache(64)
def _name(value: str) -> bytes:
    """A user property up to its value: there are few names."""
    return bytes((USER,)) + text(value)


def text(value: str) -> bytes:
    """UTF-8 after its length."""
    if "\0" in value:
        raise InputError("MQTT carries no text with U+0000 in it")
    try:
        return binary(value.encode())
    except UnicodeEncodeError as error:
        raise InputError(f"MQTT carries UTF-8 only: {error}") from error


def binary(value: bytes) -> bytes:
    """Bytes after their length."""
    if len(value) > _LONGEST:
        raise InputError(f"{len(value)} bytes are too many for a string of MQTT; at most {_LONGEST}")
    return len(value).to_bytes(2, "big") + value


def properties(about: About) -> bytes:
    """A publication's properties, after their length."""
    parts = [bytes((EXPIRY,)) + about.expiry.to_bytes(4, "big")] if about.expiry is not None else []
    if about.content_type is not None:
        parts.append(bytes((CONTENT_TYPE,)) + text(about.content_type))
    if about.response_topic is not None:
        parts.append(bytes((RESPONSE_TOPIC,)) + text(about.response_topic))
    if about.correlation is not None:
        parts.append(bytes((CORRELATION,)) + binary(about.correlation))
    for name, value in about.user:
        parts += (_name(name), text(value))
    body = b"".join(parts)
    return number(len(body)) + body
