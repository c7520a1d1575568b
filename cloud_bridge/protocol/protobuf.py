"""Protocol Buffers' wire format: bytes <-> fields. Pure.

Google's runtime is not used for it: a message of nothing but empty tensors takes forty times its size there before anybody
can refuse it, and a tensor is copied twice. Here every count has its limit, and tensors stay where they lie.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from cloud_bridge.protocol.message import Buffer
from cloud_bridge.protocol.varint import varint
from edge_runtime.errors import ProtocolError

VARINT, I64, LEN, I32 = 0, 1, 2, 5
"""The kinds of field that are in use: an integer, eight bytes, a length and so many bytes, four bytes."""

LONGEST = 10
"""Bytes of a varint."""

Value: TypeAlias = "int | float | str | Buffer"

BLOCK = 1 << 20
"""Bytes of packed varints that are read at a time: what that takes is a multiple of them."""
_ONE = (int, float, str, bytes, bytearray, memoryview)
_SHORT = tuple(bytes([value]) for value in range(0x80))
_NOTHING = memoryview(b"")
_SIZES = {I64: 8, I32: 4}


def fields(data: memoryview, most: int) -> Iterator[tuple[int, int, int, memoryview]]:
    """Each field's number and kind, and its value: an integer, or bytes. ProtocolError past `most` of them."""
    at, end = 0, len(data)
    while at < end:
        most -= 1
        if most < 0:
            raise ProtocolError("a part of the message has too many fields: send tensors in raw_input_contents")
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        if kind == LEN:
            size, at = _varint(data, at)
        elif kind == VARINT:
            value, at = _varint(data, at)
            yield number, kind, value, _NOTHING
            continue
        elif kind in _SIZES:
            size = _SIZES[kind]
        else:
            raise ProtocolError(f"the message is not Protocol Buffers: a field of the kind {kind}")
        if number == 0 or size > end - at:
            raise ProtocolError("the message is not Protocol Buffers, or was cut off")
        yield number, kind, 0, data[at : at + size]
        at += size


def text(data: memoryview) -> str:
    """A string's field."""
    try:
        return str(data, "utf-8")
    except UnicodeDecodeError as error:
        raise ProtocolError("a text of the message is not UTF-8") from error


def double(data: memoryview) -> float:
    """A double's field, of eight bytes."""
    number: float = struct.unpack("<d", data)[0]
    return number


def signed(value: int) -> int:
    """An int64 or int32 from its varint."""
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value


def integers(data: memoryview) -> list[int]:
    """A few packed integers, of 64 bits with a sign."""
    at, found = 0, []
    while at < len(data):
        value, at = _varint(data, at)
        found.append(signed(value))
    return found


def varints(data: memoryview) -> Iterator[NDArray[np.uint64]]:
    """Many packed integers, without their signs, a block at a time."""
    while data:
        block = np.frombuffer(data[:BLOCK], np.uint8)
        ends = np.flatnonzero(block < 0x80)
        if not len(ends) or (len(block) == len(data) and ends[-1] != len(block) - 1):
            raise ProtocolError("packed integers of the message were cut off")
        starts = np.concatenate(([0], ends[:-1] + 1))
        lengths = ends - starts + 1
        longest = int(lengths.max())
        if longest > LONGEST:
            raise ProtocolError(f"an integer of {longest} bytes; at most {LONGEST} are read")
        values = np.zeros(len(ends), np.uint64)
        for place in range(longest):
            has = lengths > place
            values[has] |= (block[starts[has] + place] & 0x7F).astype(np.uint64) << np.uint64(7 * place)
        yield values
        data = data[int(ends[-1]) + 1 :]


def write(*entries: tuple[int, Value | Iterable[Value]]) -> bytes:
    """A message of these fields: a number, and a value or several. What is empty or 0 is left out, as proto3 does."""
    pieces: list[Buffer] = []
    for number, value in entries:
        if not isinstance(value, _ONE):
            for each in value:
                _add(pieces, number, each)
        elif value:
            _add(pieces, number, value)
    return b"".join(pieces)


def packed(values: Iterable[int]) -> bytes:
    """The value of a repeated integer's field."""
    return b"".join(map(_to_varint, values))


def _add(pieces: list[Buffer], number: int, value: Value) -> None:
    if isinstance(value, int):
        pieces += _to_varint(number << 3 | VARINT), _to_varint(value)
    elif isinstance(value, float):
        pieces += _to_varint(number << 3 | I64), struct.pack("<d", value)
    else:
        data = value.encode(errors="replace") if isinstance(value, str) else value
        pieces += _to_varint(number << 3 | LEN), _to_varint(len(data)), data


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """The integer that begins here, and where the next thing does."""
    value = shift = 0
    for place in range(at, min(at + LONGEST, len(data))):
        byte = data[place]
        if byte < 0x80:
            return value | byte << shift, place + 1
        value |= (byte & 0x7F) << shift
        shift += 7
    raise ProtocolError("the message is not Protocol Buffers, or was cut off")


def _to_varint(value: int) -> bytes:
    if 0 <= value < 0x80:  # nearly all are
        return _SHORT[value]
    return varint(value & (1 << 64) - 1)
