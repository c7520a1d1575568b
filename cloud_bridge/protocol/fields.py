"""The parts that MQTT 5 packets are made of: numbers, strings, properties (1.5 and 2.2.2 of the standard). Pure.

What is malformed raises ProtocolError, what cannot be written InputError.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any

import msgspec

from cloud_bridge.protocol.message import Buffer
from edge_runtime.errors import InputError, ProtocolError

LARGEST = 268_435_455
"""The largest number of four bytes, and with it the most bytes of a packet after its head."""

EXPIRY, CONTENT_TYPE, RESPONSE_TOPIC, CORRELATION, USER = 2, 3, 8, 9, 38
KEEPALIVE, LARGEST_PACKET, SHARES = 19, 39, 42
_SUBSCRIPTION = 11
"""Properties by their numbers."""

_LONGEST = 0xFFFF


class _Kind(Enum):
    BYTE, SHORT, LONG, NUMBER, TEXT, BINARY, PAIR = range(7)


_KINDS = {
    1: _Kind.BYTE, EXPIRY: _Kind.LONG, CONTENT_TYPE: _Kind.TEXT, RESPONSE_TOPIC: _Kind.TEXT, CORRELATION: _Kind.BINARY,
    _SUBSCRIPTION: _Kind.NUMBER, 17: _Kind.LONG, 18: _Kind.TEXT, KEEPALIVE: _Kind.SHORT, 21: _Kind.TEXT,
    22: _Kind.BINARY, 26: _Kind.TEXT, 28: _Kind.TEXT, 31: _Kind.TEXT, 33: _Kind.SHORT, 34: _Kind.SHORT, 36: _Kind.BYTE,
    37: _Kind.BYTE, USER: _Kind.PAIR, LARGEST_PACKET: _Kind.LONG, 40: _Kind.BYTE, 41: _Kind.BYTE, SHARES: _Kind.BYTE,
}  # fmt: skip
"""How each property that a broker may send is written."""

_SIZES = {_Kind.BYTE: 1, _Kind.SHORT: 2, _Kind.LONG: 4}


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
    while where < end:
        number = data[where]
        kind = _KINDS.get(number)
        if kind is None:
            raise ProtocolError(f"MQTT: property {number} is none that a broker sends")
        value, where = _value(kind, data, where + 1)
        if where > end:
            raise ProtocolError(f"MQTT: property {number} is longer than all properties")
        if number == USER:
            told[USER].append(value)
        elif number in told and number != _SUBSCRIPTION:
            raise ProtocolError(f"MQTT: property {number} is given twice")
        else:
            told[number] = value
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


def _value(kind: _Kind, data: bytes, at: int) -> tuple[Any, int]:
    """One property's value, and where it ends: maybe past the end of the data."""
    if kind in _SIZES:
        end = at + _SIZES[kind]
        return int.from_bytes(data[at:end], "big"), end
    if kind is _Kind.NUMBER:
        return read_number(data, at) or (0, len(data) + 1)
    value, end = _string(data, at)
    if kind is _Kind.PAIR:
        second, end = _string(data, end)
        return (read_text(value), read_text(second)), end
    return (read_text(value) if kind is _Kind.TEXT else value), end


def _string(data: bytes, at: int) -> tuple[bytes, int]:
    start = at + 2
    end = start + int.from_bytes(data[at:start], "big")
    return data[start:end], end


def number(value: int) -> bytes:
    """In one to four bytes."""
    if value > LARGEST:
        raise InputError(f"MQTT has no packets of {value} bytes; at most {LARGEST}")
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


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
    parts += [bytes((USER,)) + text(name) + text(value) for name, value in about.user]
    body = b"".join(parts)
    return number(len(body)) + body
