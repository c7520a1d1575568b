"""URLs of brokers and topics below a root."""

from __future__ import annotations

import contextlib
import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_bridge.protocol.topics import PROBE, Address, Topics, segment
from edge_runtime.errors import InputError, ProtocolError

SEGMENTS = st.text(string.ascii_letters + string.digits + "_-", min_size=1, max_size=64)
NAMES = SEGMENTS.filter(lambda name: name[0] not in "_-")
ROOTS = st.lists(SEGMENTS.map(lambda s: s[:16]), min_size=1, max_size=5).map("/".join)


def test_defaults() -> None:
    """A bare host gets the standard port, the standard root and no thing."""
    assert Address.parse("mqtt://broker") == Address("broker", 1883)
    assert Address.parse("mqtts://broker/") == Address("broker", 8883, tls=True)


def test_everything_given() -> None:
    """Credentials are decoded; root, thing and authority are taken; an IPv6 host keeps its brackets in the name."""
    address = Address.parse("mqtts://us%40er:p%3Aw@[::1]:18883/site-7/line_2?thing=cam-1&ca=%2Fetc%2Fca.pem&cert=c&key=k")
    assert address == Address("::1", 18883, True, "us@er", "p:w", "site-7/line_2", "cam-1", "/etc/ca.pem", "c", "k")
    assert address.name == "mqtts://[::1]:18883/site-7/line_2"


def test_credentials_are_not_told() -> None:
    """Neither the name, nor the repr, nor an error's message gives the password away."""
    address = Address.parse("mqtt://user:secret@host")
    assert "secret" not in address.name + repr(address) + str(address)
    with pytest.raises(InputError) as caught:
        Address.parse("mqtt://user:secret@host:port")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "", "mqtt", "mqtt://", "mqtt:///edge/v1", "http://host", "ws://host", "mqtt://host:0", "mqtt://host:70000", "mqtt://[::1",
        "mqtt://ho st", "mqtt://" + "a" * 70 + ".x", "mqtt://host/a/b/c/d/e/f", "mqtt://host/$SYS", "mqtt://host/a//b",
        "mqtt://host/a+b", "mqtt://host/%23", "mqtt://host/" + "a" * 65, "mqtt://host?thing=", "mqtt://host?thing=a/b",
        "mqtt://host?thing=a&thing=b", "mqtt://host?colour=red", "mqtt://host?thing", "mqtt://host?ca=x", "mqtt://host#x",
        "mqtt://host?cert=c&key=k", "mqtts://host?cert=c", "mqtts://host?key=k",
    ],
)  # fmt: skip
def test_no_address(url: str) -> None:
    """What is no URL of a broker is refused, and never half understood."""
    with pytest.raises(InputError):
        Address.parse(url)


@given(st.text(max_size=60))
def test_any_text_is_an_address_or_an_error(text: str) -> None:
    """No text makes the parser fail in another way than by InputError."""
    for url in (text, "mqtt://" + text, "mqtts://host/" + text):
        with contextlib.suppress(InputError):
            assert Address.parse(url).host


@given(ROOTS, NAMES, SEGMENTS)
def test_a_request_topic_comes_back(root: str, model: str, thing: str) -> None:
    """Model and thing are read back from the topic made of them, within what every broker takes."""
    topics = Topics(root)
    topic = topics.request(model, thing)
    assert topics.parse_request(topic) == (model, thing)
    assert topics.parse_request(topics.request(PROBE, thing)) == (PROBE, thing)
    for each in (topic, topics.reply(thing), topics.status(thing)):
        assert len(each) <= 256
        assert each.count("/") <= 7
        assert re.fullmatch(r"[A-Za-z0-9_/-]+", each)


@given(ROOTS, SEGMENTS)
def test_a_status_topic_comes_back(root: str, worker: str) -> None:
    """The worker is read back from its status topic."""
    assert Topics(root).parse_status(Topics(root).status(worker)) == worker


@given(st.text(max_size=40))
def test_other_topics_are_refused(tail: str) -> None:
    """Topics that are not just ours raise ProtocolError, whatever a broker delivers."""
    topics = Topics()
    for topic in (tail, "edge/v1/infer/" + tail, "edge/v1/infer/m/" + tail, "edge/v1/infer/" + tail + "/t"):
        try:
            model, thing = topics.parse_request(topic)
        except ProtocolError:
            continue
        assert topics.request(model, thing) == topic


@pytest.mark.parametrize("model", ["", "a/b", "+", "#", "a.b", "-probe2", "_x", "x" * 65, "ä", "a\0"])
def test_names_that_no_topic_holds(model: str) -> None:
    """A model whose name would change the topic's structure is refused before anything is sent."""
    with pytest.raises(InputError):
        Topics().request(model, "thing")


@given(st.text())
def test_any_text_becomes_a_segment(text: str) -> None:
    """A host's name, whatever it is, gives a thing that a URL would accept."""
    assert Address.parse(f"mqtt://host?thing={segment(text)}").thing == segment(text)
