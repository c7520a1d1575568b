"""The outbox before a socket that takes as many bytes as the test says: in which order what leaves, and what does not."""

from __future__ import annotations

import time
from collections import deque
from typing import Any

import pytest

from cloud_bridge.letter import Letter
from cloud_bridge.outbox import Outbox
from cloud_bridge.protocol.message import Message
from cloud_bridge.protocol.packets import GOODBYE, PING, Publication, Reader
from edge_runtime.errors import RefusedError, UnreachableError


class Narrow:
    """A stream that takes `room` bytes."""

    def __init__(self, room: int = 0) -> None:
        self.room, self.taken, self.woken, self.socket = room, b"", 0, None
        self.broken = False

    def send(self, pieces: deque[memoryview]) -> int:
        if self.broken:
            raise ConnectionResetError
        given = b"".join(pieces)
        taken, rest = given[: self.room], given[self.room :]
        self.room -= len(taken)
        self.taken += taken
        pieces.clear()
        if rest:
            pieces.append(memoryview(rest))
        return len(taken)

    def wake(self) -> None:
        self.woken += 1


def opened(stream: Any, largest: int = 1 << 20) -> Outbox:
    """An outbox of a connection that takes letters."""
    outbox = Outbox("mqtt://here")
    outbox.attach(stream)
    outbox.open(largest)
    return outbox


def letter(name: str, size: int = 10, deadline: float | None = None) -> Letter:
    """One under this topic."""
    return Letter(name, Message(bytes(size)), deadline=deadline)


def topics(data: bytes) -> list[str]:
    """Of the publications in these bytes; what is no publication is told by its first byte."""
    found, reader = list[str](), Reader()
    for packet in (GOODBYE, PING):
        data = data.replace(packet, b"\x30\x04\0\1" + packet[:1].replace(b"\xe0", b"E").replace(b"\xc0", b"P") + b"\0")
    reader.buffer()[: len(data)] = data
    for event in reader.received(len(data)):
        assert isinstance(event, Publication)
        found.append(event.topic)
    return found


def test_a_letter_leaves_at_once() -> None:
    """On the thread that brings it, when the connection has room."""
    stream = Narrow(1000)
    outbox = opened(stream)
    outbox.post(letter("a"))
    assert topics(stream.taken) == ["a"]
    assert not outbox.leaving
    assert stream.woken == 0


def test_letters_keep_their_order_and_packets_go_between_them() -> None:
    """What is in the middle of a letter waits for its end, a ping for no other letter."""
    stream = Narrow(5)
    outbox = opened(stream)
    for name in ("a", "b", "c"):
        outbox.post(letter(name))
    outbox.say(PING)
    assert outbox.leaving
    assert stream.woken == 1
    assert not outbox.advance()
    stream.room = 1000
    assert outbox.advance()
    assert topics(stream.taken) == ["a", "P", "b", "c"]
    assert not outbox.leaving


def test_what_waits_can_be_taken_back_and_what_is_late_stays() -> None:
    """Neither a letter that was taken back nor one whose deadline has passed is ever sent; one that leaves goes on."""
    stream = Narrow(5)
    outbox = opened(stream)
    first, unwanted, late = letter("a"), letter("b"), letter("c", deadline=time.monotonic() - 1.0)
    for each in (first, unwanted, late, letter("d")):
        outbox.post(each)
    assert outbox.take_back(unwanted) == 0
    assert outbox.take_back(first) == first.size  # all of it, where no kernel tells
    stream.room = 1000
    outbox.advance()
    assert topics(stream.taken) == ["a", "d"]
    assert late.handed is None


def test_closing_sends_what_waits_and_a_last_word() -> None:
    """With a last letter nothing is lost, and the goodbye is behind it."""
    stream = Narrow(5)
    outbox = opened(stream)
    outbox.post(letter("a"))
    outbox.post(letter("b"))
    outbox.finish(letter("z"), "closed")
    with pytest.raises(UnreachableError, match="closed"):
        outbox.post(letter("c"))
    stream.room = 1000
    outbox.advance()
    assert topics(stream.taken) == ["a", "b", "z", "E"]


def test_closing_without_a_last_word_does_not_wait() -> None:
    """Half a letter that nobody wants any more is not sent to its end; without one there is a goodbye."""
    busy, idle = Narrow(5), Narrow(1000)
    outbox = opened(busy)
    outbox.post(letter("a"))
    outbox.finish(None, "closed")
    busy.room = 1000
    outbox.advance()
    assert len(busy.taken) == 5
    assert not outbox.leaving
    opened(idle).finish(None, "closed")
    assert topics(idle.taken) == ["E"]


def test_a_lost_connection_keeps_nothing() -> None:
    """What waited is gone with it, and a letter of an old connection has left as far as is known."""
    stream = Narrow(5)
    outbox = opened(stream)
    first = letter("a")
    outbox.post(first)
    outbox.post(letter("b"))
    assert outbox.shut("it was lost")
    assert not outbox.shut("it was lost")
    with pytest.raises(UnreachableError, match="it was lost"):
        outbox.post(letter("c"))
    again = Narrow(1000)
    outbox.attach(again)  # type: ignore[arg-type]
    outbox.open(1000)
    assert again.taken == b""
    assert outbox.take_back(first) == first.size
    assert outbox.uploading(first) is None


def test_a_connection_that_breaks_while_it_is_written_to() -> None:
    """Whoever posts is not hurt: the connection's own thread hears of it, and tells everybody."""
    stream = Narrow(1000)
    outbox = opened(stream)
    stream.broken = True
    outbox.post(letter("a"))
    assert not outbox.leaving


def test_a_letter_that_is_too_large() -> None:
    """It is refused before the broker has to cut us off."""
    with pytest.raises(RefusedError, match="1000 bytes at most"):
        opened(Narrow(1000), largest=1000).post(letter("a", 1000))
