"""A connection to a broker, by a clock that the test holds: agreed on, asked whether it is there, given up."""

from __future__ import annotations

import pytest

from cloud_bridge.protocol.packets import PING, Alive, Ended, Publication, Subscribed, Welcome, subscribe
from cloud_bridge.protocol.session import Session
from edge_runtime.errors import UnreachableError

TOPICS = ("a", "$share/pool/b")


def begun(*, keepalive: float = 20.0, opened: bool = False) -> Session:
    """A session whose CONNECT was sent at the instant 100."""
    session = Session(TOPICS, keepalive=keepalive, handshake=10.0, now=100.0)
    if opened:
        session.note(Welcome(0))
        session.note(Subscribed(1, (0, 0)))
    return session


def test_a_connection_is_agreed_on() -> None:
    """It is open when its subscriptions are confirmed, and keeps the broker's limit."""
    session = begun()
    assert session.note(Welcome(0, largest=5000)) == subscribe(1, TOPICS)
    assert session.largest == 5000
    session.note(Publication("a"))  # a retained one may come first
    assert session.note(Subscribed(7, (0x87,))) is None
    assert not session.open
    assert session.note(Subscribed(1, (0, 1))) is None
    assert session.open


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (Welcome(0x87), "refuses the connection: Not authorized"),
        (Welcome(0, shares=False), "no shared subscriptions"),
        (Subscribed(1, (0, 0x9E)), r"subscription of \$share/pool/b: Shared subscriptions not supported"),
        (Ended(0x8B), "ended the connection: Server shutting down"),
    ],
)
def test_a_broker_that_says_no(event: Welcome | Subscribed | Ended, words: str) -> None:
    """Each refusal ends the connection with the broker's reason."""
    with pytest.raises(UnreachableError, match=words):
        begun().note(event)


def test_no_answer_to_a_greeting() -> None:
    """Subscriptions that are not confirmed in time end the connection, whatever else is said."""
    session = begun()
    assert session.due(109.9, leaving=False) is None
    assert session.patience(109.0, leaving=True) == 1.0
    session.moved(109.0)
    with pytest.raises(UnreachableError, match=r"no answer within 10.0 s"):
        session.due(110.0, leaving=False)


def test_a_silent_broker_is_asked_and_then_lost() -> None:
    """It is asked in time to answer before it counts as lost."""
    session = begun(opened=True)
    assert session.patience(100.0, leaving=False) == 15.0
    assert session.due(114.9, leaving=False) is None
    assert session.due(115.0, leaving=False) == PING
    assert session.due(115.1, leaving=False) is None
    assert session.patience(115.0, leaving=False) == 5.0
    with pytest.raises(UnreachableError, match="nothing for 20 s"):
        session.due(120.0, leaving=False)


def test_a_broker_that_answers_is_asked_again_and_again() -> None:
    """Its own limit is kept too: it hears something of us at least as often."""
    session, asked = begun(opened=True), list[float]()
    for now in range(100, 200):
        if session.due(float(now), leaving=False):
            asked.append(now)
            session.moved(float(now))
            session.note(Alive())
    assert asked == [115, 130, 145, 160, 175, 190]


def test_a_long_letter_is_no_silence() -> None:
    """While bytes leave nobody is asked; a broker that takes none of them is lost all the same."""
    session = begun(opened=True)
    for now in (110.0, 125.0, 140.0):
        assert session.due(now, leaving=True) is None
        session.moved(now)
    assert session.patience(140.0, leaving=True) == 20.0
    assert session.due(141.0, leaving=False) == PING
    with pytest.raises(UnreachableError, match="nothing"):
        session.due(160.0, leaving=True)


def test_a_broker_s_own_keepalive() -> None:
    """What it wants counts, not what we asked for."""
    session = begun()
    session.note(Welcome(0, keepalive=4))
    session.note(Subscribed(1, (0, 0)))
    assert session.due(103.0, leaving=False) == PING
