"""A controller's port over a link that is a list: what is published is waited for, in whatever order it is taken."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from cloud_bridge.control.link import Event, Heard, Said, Taken
from cloud_bridge.fleet.post import Post
from edge_runtime.errors import InputError, UnreachableError


class Wire:
    """A link to a broker that is there, or not; `then` is called with each number as it is said."""

    def __init__(self, then: Callable[[int], None] = lambda number: None) -> None:
        self.said: list[Said] = []
        self.there, self.then = True, then

    def say(self, message: Said) -> int:
        if message.topic == "large":
            raise InputError("too large")
        if not self.there:
            return 0
        self.said.append(message)
        self.then(len(self.said))
        return len(self.said)

    def open(self, will: Callable[[], Said | None], tell: Callable[[Event], None]) -> None: ...
    def ack(self, heard: Heard) -> None: ...
    def renew(self) -> None: ...
    def close(self, farewell: Said | None = None, timeout: float = 2.0) -> None: ...


def outgoing(*topics: str) -> list[Said]:
    return [Said(topic, b"{}", 5.0) for topic in topics]


def test_it_returns_when_each_was_taken() -> None:
    """Be it before it is known how they are called, or after; refused ones count as taken."""
    wire = Wire(lambda number: post.taken(Taken(number)) if number % 2 else later.append(number))
    later: list[int] = []
    post = Post(wire)
    thread = threading.Thread(target=post.publish, args=(outgoing("a", "b", "c", "d"),))
    thread.start()
    while len(wire.said) < 4:
        pass
    post.taken(Taken(later[1], refused="not authorized"))
    assert thread.is_alive()
    post.taken(Taken(later[0]))
    thread.join(10.0)
    assert not thread.is_alive()
    assert [(each.topic, each.expiry, each.qos) for each in wire.said] == [(topic, 5.0, 1) for topic in "abcd"]


def test_a_broker_that_goes_away_is_told() -> None:
    """Before the first, or while they are waited for; the next time it may be there again."""
    wire = Wire()
    post = Post(wire)
    wire.there = False
    with pytest.raises(UnreachableError, match="not there"):
        post.publish(outgoing("a"))
    wire.there, wire.then = True, lambda number: post.down()
    with pytest.raises(UnreachableError, match="ended before it had taken 1"):
        post.publish(outgoing("a"))
    wire.then = lambda number: post.taken(Taken(number))
    post.publish(outgoing("a"))
    assert len(wire.said) == 2


def test_one_that_is_too_large_does_not_keep_the_others_back(caplog: pytest.LogCaptureFixture) -> None:
    """It is told in the log."""
    wire = Wire(lambda number: post.taken(Taken(number)))
    post = Post(wire)
    post.publish(outgoing("a", "large", "b"))
    assert [each.topic for each in wire.said] == ["a", "b"]
    assert "too large" in caplog.text


def test_nothing_to_say_waits_for_nothing() -> None:
    """Whether the broker is there or not."""
    wire = Wire()
    wire.there = False
    Post(wire).publish([])
