"""An operator's line: to a broker that is there, is not, or says no; and to a device that answers, or does not."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import pytest

from cloud_bridge.control.link import Down, Event, Heard, Said, Taken, Up
from cloud_bridge.fleet.line import Line, ask
from cloud_bridge.protocol.fleet import rpc, topics
from cloud_bridge.protocol.fleet.wire import encode
from edge_runtime.errors import LateError, RefusedError, RemoteError, UnreachableError

WAIT = 30.0
PLACE = "edge/v1/things/press-17/rpc-rsp"


class Scripted:
    """A link to a broker that answers what is said by a script."""

    def __init__(self, begin: Event, answers: Callable[[Said], Iterable[Event]] = lambda said: ()) -> None:
        self._begin, self._answers = begin, answers
        self.said: list[Said] = []
        self.acked: list[Heard] = []
        self.there = True

    def open(self, will: Callable[[], Said | None], tell: Callable[[Event], None]) -> None:
        assert will() is None
        self._tell = tell
        tell(self._begin)

    def say(self, message: Said) -> int:
        if not self.there:
            return 0
        self.said.append(message)
        for event in self._answers(message):
            self._tell(event)
        return len(self.said)

    def ack(self, heard: Heard) -> None:
        self.acked.append(heard)

    def renew(self) -> None: ...

    def close(self, farewell: Said | None = None, timeout: float = 2.0) -> None:
        self.there = False


def line(link: Scripted) -> Line:
    return Line("mqtt://broker.example", [(topics.RPC_ANSWER, {"thing": "press-17"})], link=link)


def answer(said: Said, status: str = "200", body: bytes = encode(rpc.Pong(timestamp=7.0)), *, place: str = PLACE) -> Heard:
    return Heard(topic=place, payload=body, correlation=said.correlation, status=status)


def asked(answers: Callable[[Said], Iterable[Event]], timeout: float = WAIT) -> tuple[rpc.Answer, Scripted]:
    """A ping, and the link that it went by."""
    link = Scripted(Up(), answers)
    with line(link) as made:
        made.connect(WAIT)
        return ask(made, "press-17", "ping", timeout), link


def test_a_question_is_answered_by_its_correlation() -> None:
    """Others' answers, and a liar's on another topic, are passed over; all that came is acknowledged."""
    other = Heard(topic=PLACE, payload=b"{}", correlation=b"other", status="200")
    found, link = asked(lambda said: [Taken(1), other, answer(said, place="edge/v1/things/liar/rpc-rsp"), answer(said)])
    assert found == rpc.Pong(timestamp=7.0)
    assert len(link.acked) == 3
    (said,) = link.said
    assert (said.topic, said.reply, said.expiry) == ("edge/v1/things/press-17/rpc/ping", PLACE, WAIT)


@pytest.mark.parametrize(
    ("answers", "error", "told"),
    [
        (lambda said: [answer(said, "503", encode(rpc.Failure(error="it is busy")))], RefusedError, "it is busy"),
        (lambda said: [Taken(1, "Not authorized")], RefusedError, "does not let this client ask press-17"),
        (lambda said: [Down("the cable is out")], UnreachableError, "the cable is out"),
    ],
    ids=["device", "broker", "gone"],
)
def test_why_there_is_no_answer_is_told(
    answers: Callable[[Said], Iterable[Event]], error: type[RemoteError], told: str
) -> None:
    """At once, and not when the time is over."""
    begin = time.monotonic()
    with pytest.raises(error, match=told):
        asked(answers)
    assert time.monotonic() - begin < WAIT / 2


def test_an_answer_that_does_not_come_is_waited_for_no_longer() -> None:
    """And it is told whom to look for."""
    with pytest.raises(LateError, match=r"press-17 has not answered within 0\.02 s: it is away"):
        asked(lambda said: [], 0.02)


@pytest.mark.parametrize(
    ("begin", "error", "told"),
    [
        (Down("it cannot be reached"), UnreachableError, "mqtt://broker.example:1883/edge/v1: it cannot be reached"),
        (Up(("edge/v1/x",)), RefusedError, "does not let this client hear edge/v1/x"),
    ],
    ids=["away", "forbidden"],
)
def test_a_broker_that_does_not_serve_is_told(begin: Event, error: type[RemoteError], told: str) -> None:
    """Before anything is said."""
    link = Scripted(begin)
    with line(link) as made, pytest.raises(error, match=told):
        made.connect(WAIT)
    assert not link.there


def test_nothing_is_said_where_nobody_hears() -> None:
    """The broker went while nobody looked."""
    link = Scripted(Up())
    with line(link) as made:
        made.connect(WAIT)
        link.there = False
        with pytest.raises(UnreachableError, match="the connection has ended"):
            made.say(topics.RPC, rpc.Ping(), thing="press-17", method="ping")
