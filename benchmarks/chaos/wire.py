"""As much of MQTT 5 as a proxy has to see: where packets end, and which of them are said at QoS 1. Pure."""

from __future__ import annotations

from collections.abc import Iterator

CONNECT, PUBLISH, PUBACK, DISCONNECT = 1, 3, 4, 14
DUP = 0x08

LARGEST = 1 << 20
"""Bytes of a packet, at most: a fleet's messages have 128 kB."""


class Packets:
    """Whole packets out of what comes in pieces."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The packets that are whole by now. Raises ValueError for what is no MQTT."""
        self._bytes += data
        while (size := _size(self._bytes)) and len(self._bytes) >= size:
            packet = bytes(self._bytes[:size])
            del self._bytes[:size]
            yield packet


def kind(packet: bytes) -> int:
    """What it is."""
    return packet[0] >> 4


def is_counted(packet: bytes) -> bool:
    """Whether it is a PUBLISH that is acknowledged by a PUBACK."""
    return kind(packet) == PUBLISH and packet[0] & 0x06 == 0x02


def number(packet: bytes) -> int:
    """The packet identifier of such a PUBLISH, or of a PUBACK."""
    at = _body(packet)
    if kind(packet) == PUBLISH:
        at += 2 + int.from_bytes(packet[at : at + 2], "big")
    return int.from_bytes(packet[at : at + 2], "big")


def again(packet: bytes) -> bytes:
    """The same PUBLISH, said to be sent once more."""
    return bytes((packet[0] | DUP,)) + packet[1:]


def client(packet: bytes) -> str:
    """Whose CONNECT it is."""
    at = _body(packet) + 2 + 4 + 1 + 1 + 2  # the protocol's name, its version, flags, the keep-alive
    length, size = _variable(packet, at)
    at += size + length
    return packet[at + 2 : at + 2 + int.from_bytes(packet[at : at + 2], "big")].decode()


def _size(data: bytes | bytearray) -> int:
    """Of the whole packet that begins here; 0: that is not known yet."""
    if len(data) < 2 or (len(data) < 5 and all(byte & 0x80 for byte in data[1:])):
        return 0
    length, size = _variable(data, 1)
    if length > LARGEST:
        raise ValueError(f"a packet of {length} bytes")
    return 1 + size + length


def _body(packet: bytes) -> int:
    return 1 + _variable(packet, 1)[1]


def _variable(data: bytes | bytearray, at: int) -> tuple[int, int]:
    """A number of up to four bytes, and how many they are."""
    value = 0
    for place in range(4):
        value |= (data[at + place] & 0x7F) << 7 * place
        if not data[at + place] & 0x80:
            return value, place + 1
    raise ValueError("no length of MQTT's")
