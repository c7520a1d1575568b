"""Letters: what a packet says beside its body, both ways, and the time that brokers have taken."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_bridge.letter import Letter, Received, new_id, overhead, pack, read, shorten
from cloud_bridge.protocol.fields import About
from cloud_bridge.protocol.message import HEADERS, Message, remaining
from cloud_bridge.protocol.packets import Publication, publish
from edge_runtime.errors import ProtocolError

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)


def arrived(letter: Letter, now: float) -> Publication:
    """The letter as who receives it gets it."""
    about = pack(letter, now)
    assert len(publish(letter.topic, about, 0)) <= overhead(letter)
    return Publication(letter.topic, bytes(letter.message.body), about)


@given(
    headers=st.dictionaries(st.sampled_from([name for name in HEADERS if name != "budget-ms"]), TEXT),
    properties=st.dictionaries(st.sampled_from(["status", "model-version"]), TEXT),
    correlation=st.none() | st.binary(max_size=64),
    reply_to=st.none() | st.just("a/b"),
    left=st.none() | st.floats(0, 1e6),
)
def test_a_letter_comes_back(
    headers: dict[str, str],
    properties: dict[str, str],
    correlation: bytes | None,
    reply_to: str | None,
    left: float | None,
) -> None:
    """What a letter says is read back from its packet: headers, properties, correlation, answer's topic, time left."""
    deadline = None if left is None else 50.0 + left
    letter = Letter("a/b", Message(b"body", headers), correlation, reply_to, deadline, properties)
    received = read(arrived(letter, now=50.0))
    told = dict(received.message.headers)
    if deadline is not None and reply_to is not None:
        assert remaining(received.message) == pytest.approx(min(deadline - 50.0, 999_999), abs=1e-3)
        del told["budget-ms"]
    assert told == headers
    assert received.properties == properties
    assert received.message.body == b"body"
    assert received.correlation == correlation
    assert received.reply_to == reply_to
    assert received.expiry == (None if deadline is None else math.ceil(min(deadline - 50.0, 999_999)))


def test_a_deadline_that_is_over_or_endless() -> None:
    """Neither a deadline in the past nor one that never comes makes a packet that cannot be written."""
    assert read(arrived(Letter("a", Message(b""), deadline=1.0, reply_to="b"), now=9.0)).expiry == 0
    assert read(arrived(Letter("a", Message(b""), deadline=math.inf, reply_to="b"), now=9.0)).expiry == 999_999


def test_without_properties() -> None:
    """A bare publication is a message without headers."""
    received = read(Publication("a", b"x"))
    assert received == Received(Message(b"x", {}), None, None, None, {})


@pytest.mark.parametrize(
    "pairs", [[("status", "1"), ("STATUS", "2")], [(f"x{i}", "") for i in range(65)]], ids=["doubled", "many"]
)
def test_properties_that_are_refused(pairs: list[tuple[str, str]]) -> None:
    """Contradicting properties, and more of them than anybody needs, are an error of the protocol."""
    with pytest.raises(ProtocolError):
        read(Publication("a", about=About(user=pairs)))


@given(budget=st.floats(0.001, 1000), waited=st.floats(0, 2000), phase=st.floats(0, 0.999))
def test_time_spent_in_brokers(budget: float, waited: float, phase: float) -> None:
    """A broker that counts whole seconds of its clock takes off what surely has gone: never more, and 2 s less at most."""
    expiry = max(0, math.ceil(budget) - math.floor(waited + phase))
    message = Message(b"", {"budget-ms": f"{budget * 1e3:.3f}"})
    left = remaining(shorten(Received(message, None, None, expiry, {})))
    assert left is not None
    assert left >= max(0.0, budget - waited) - 0.001
    if waited < budget:
        assert left <= budget - waited + 2.0


def test_an_expiry_alone_is_a_budget() -> None:
    """A request of somebody else's client that only has an expiry is not run after it."""
    assert remaining(shorten(Received(Message(b""), None, None, 7, {}))) == 7.0
    assert remaining(shorten(Received(Message(b""), None, None, None, {}))) is None


def test_ids_differ() -> None:
    """Correlation data is long and never the same."""
    ids = {new_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert {len(each) for each in ids} == {16}
