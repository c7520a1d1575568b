"""One direction of a connection to a broker: messages pass, are kept back, come twice, or wait."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from asyncio import StreamWriter
from contextlib import suppress

import msgspec

from benchmarks.chaos import wire

COPY = 2.0
"""Seconds after which a copy follows, at most."""

HOLD = 1.5
"""Seconds for which a message is kept back, at most."""


class Done(msgspec.Struct):
    """What was done to the links."""

    connections: int = 0
    messages: int = 0
    """At QoS 1, both ways."""
    copies: int = 0
    overtaken: int = 0
    """Messages that were kept back until another one had passed."""
    cut: int = 0
    turned_away: int = 0
    stalled: int = 0


class Rough(msgspec.Struct):
    """How bad the links are."""

    again: float = 0.0
    held: float = 0.0


class Way:
    """One direction of a connection."""

    def __init__(self, sink: StreamWriter, rough: Rough, draw: random.Random, done: Done) -> None:
        self._sink, self._rough, self._draw, self._done = sink, rough, draw, done
        self._late: dict[int, tuple[asyncio.TimerHandle, bytes, int]] = {}
        """What is kept back, until when, and how many had passed when it came."""
        self._number = 0
        self._copies: dict[int, int] = {}
        self._open: set[int] = set()
        self._passed = 0
        self.stalled: list[bytes] | None = None
        """What waits while nothing passes."""

    def pass_on(self, packet: bytes) -> None:
        """A packet has come: now, later, or twice."""
        if wire.kind(packet) == wire.DISCONNECT:
            self.flush()
        if not wire.is_counted(packet):
            self._write(packet)
            return
        self._done.messages += 1
        if self._draw.random() < self._rough.held:
            self._keep(packet, HOLD)
        else:
            self._publish(packet)
            if self._draw.random() < self._rough.again:
                self._keep(wire.again(packet), COPY)

    def is_of_copy(self, puback: bytes) -> bool:
        """Whether what a receiver acknowledges is no more than a copy, of which the sender does not know."""
        number = wire.number(puback)
        if number in self._open:
            self._open.remove(number)
            return False
        if not self._copies.get(number):
            return False
        self._copies[number] -= 1
        return True

    def flush(self) -> None:
        """Let pass what is kept back."""
        for late in [*self._late]:
            self._release(late)

    def stall(self) -> None:
        """Let nothing pass."""
        if self.stalled is None:
            self.stalled = []

    def go_on(self) -> None:
        """Let pass what has waited."""
        waiting, self.stalled = self.stalled or (), None
        for packet in waiting:
            self._write(packet)

    def close(self) -> None:
        """End the connection in order: what has passed arrives, what is kept back does not."""
        for timer, _, _ in self._late.values():
            timer.cancel()
        self._late.clear()
        self._sink.close()

    def reset(self, data: bytes = b"") -> None:
        """End it at once, after a last piece."""
        if data and self.stalled is None and not self._sink.is_closing():
            self._sink.write(data)
        with suppress(OSError):
            sock = self._sink.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._sink.transport.abort()

    def _keep(self, packet: bytes, most: float) -> None:
        number = self._number = self._number + 1
        timer = asyncio.get_running_loop().call_later(self._draw.uniform(0.0, most), self._release, number)
        self._late[number] = timer, packet, self._passed

    def _release(self, late: int) -> None:
        timer, packet, passed = self._late.pop(late)
        timer.cancel()
        if packet[0] & wire.DUP:
            number = wire.number(packet)
            self._copies[number] = self._copies.get(number, 0) + 1
            self._done.copies += 1
            self._write(packet)
        else:
            self._done.overtaken += self._passed > passed
            self._publish(packet)

    def _publish(self, packet: bytes) -> None:
        self._open.add(wire.number(packet))
        self._passed += 1
        self._write(packet)

    def _write(self, packet: bytes) -> None:
        if self.stalled is not None:
            self.stalled.append(packet)
        elif not self._sink.is_closing():
            self._sink.write(packet)
