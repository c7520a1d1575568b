"""Whole numbers in seven bits a byte, the lowest first, as MQTT and Protocol Buffers both write them. Pure."""

from __future__ import annotations


def varint(value: int) -> bytes:
    """A number that is not below zero."""
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)
