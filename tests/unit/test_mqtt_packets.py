"""MQTT 5 packets: what is written is read back, by us and by paho; whatever else comes is one clear error."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from cloud_bridge.protocol import packets
from cloud_bridge.protocol.fields import LARGEST, About, number, properties, read_number
from cloud_bridge.protocol.packets import (
    HEAD,
    Alive,
    Ended,
    Event,
    Passed,
    Publication,
    Reader,
    Subscribed,
    Welcome,
    publish,
)
from edge_runtime.errors import InputError, ProtocolError

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)
ABOUT = st.builds(
    About,
    expiry=st.none() | st.integers(0, 2**32 - 1),
    content_type=st.none() | TEXT,
    response_topic=st.none() | TEXT,
    correlation=st.none() | st.binary(max_size=64),
    user=st.lists(st.tuples(TEXT, TEXT), max_size=5),
)
PUBLICATION = st.builds(Publication, TEXT, st.binary(max_size=300), ABOUT, st.booleans())


def wire(said: Publication) -> bytes:
    """A publication's packet."""
    return publish(said.topic, said.about, len(said.payload), retain=said.retain) + bytes(said.payload)


def read(data: bytes, cuts: Sequence[int] = ()) -> list[Event]:
    """What a reader makes of these bytes when they come in parts, cut at these places."""
    reader, events = Reader(), list[Event]()
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    for start, end in pairwise(edges):
        while start < end:
            room = reader.buffer()
            count = min(len(room), end - start)
            room[:count] = data[start : start + count]
            events += reader.received(count)
            start += count
    return events


def plain(event: Event) -> Event:
    """With its payload as bytes, so that it compares."""
    if isinstance(event, Publication):
        return Publication(event.topic, bytes(event.payload), event.about, event.retain)
    return event


@given(said=st.lists(PUBLICATION, max_size=4), cuts=st.lists(st.integers(0, 3000), max_size=8))
def test_publications_come_back(said: list[Publication], cuts: list[int]) -> None:
    """However the network cuts them, publications arrive as they were sent, and one after the other."""
    assert [plain(event) for event in read(b"".join(map(wire, said)), cuts)] == said


@pytest.mark.parametrize("size", [0, 1, HEAD - 20, HEAD, HEAD + 1, 600_000])
def test_a_payload_lands_where_its_tensors_can_be_used(size: int) -> None:
    """Of any size it is whole, can be written to, and begins at an address at which every dtype can."""
    payload = np.random.default_rng(0).bytes(size)
    first, second = read(wire(Publication("a/b", payload)) + packets.PING.replace(b"\xc0", b"\xd0"), [7, 100])
    assert isinstance(first, Publication)
    assert bytes(first.payload) == payload
    assert second == Alive()
    found = np.frombuffer(first.payload, np.uint8)
    assert found.flags.writeable
    assert found.ctypes.data % 16 == 0


@given(about=ABOUT)
def test_paho_reads_our_properties(about: About) -> None:
    """Another implementation finds the same in them."""
    theirs = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    theirs.unpack(properties(about))  # type: ignore[no-untyped-call]
    told = vars(theirs)
    assert told.get("MessageExpiryInterval") == about.expiry
    assert told.get("ContentType") == about.content_type
    assert told.get("ResponseTopic") == about.response_topic
    assert told.get("CorrelationData") == about.correlation
    assert told.get("UserProperty", []) == list(about.user)


@given(value=st.integers(0, LARGEST))
def test_numbers_come_back(value: int) -> None:
    """Lengths of one to four bytes are read as they were written, and not before they are all there."""
    data = number(value)
    assert read_number(data, 0) == (value, len(data))
    assert all(read_number(data[:cut], 0) is None for cut in range(len(data)))


def test_what_a_broker_says_of_a_connection() -> None:
    """Its limits are told, and what it does not say is as the standard has it."""
    assert read(b"\x20\x03\0\0\0") == [Welcome(0)]
    told = b"\x27\0\0\x10\0\x13\0\x3c\x2a\0\x12\0\2id\x26\0\1a\0\1b\x21\0\x14"
    assert read(b"\x20" + bytes((3 + len(told), 0, 0, len(told))) + told) == [Welcome(0, 60, 4096, shares=False)]
    assert read(b"\x90\x05\0\1\0\0\x87") == [Subscribed(1, (0, 0x87))]
    assert read(b"\xe0\0\xe0\1\x8b\xe0\2\x8e\0") == [Ended(0), Ended(0x8B), Ended(0x8E)]
    assert read(b"\xb0\4\0\2\0\0\xd0\0") == [Alive(), Alive()]
    assert packets.reason(0x87) == "Not authorized"
    assert packets.reason(0xFE) == "reason 0xfe"


def test_what_we_say() -> None:
    """CONNECT, SUBSCRIBE and UNSUBSCRIBE, byte for byte as the standard writes them."""
    will = Publication("w", b"gone", About(expiry=1), retain=True)
    assert packets.connect("me", keepalive=20, username="u", password="p", will=will) == (
        b"\x10\x24\0\4MQTT\5\xe6\0\x14\0\0\2me\5\2\0\0\0\1\0\1w\0\4gone\0\1u\0\1p"
    )
    assert packets.connect("me", keepalive=20, username=None, password=None, will=None) == (
        b"\x10\x0f\0\4MQTT\5\2\0\x14\0\0\2me"
    )
    assert packets.subscribe(1, ["a", "b/+"]) == b"\x82\x0d\0\1\0\0\1a\0\0\3b/+\0"
    assert packets.unsubscribe(2, ["a"]) == b"\xa2\x06\0\2\0\0\1a"


WRONG = {
    "qos-1": b"\x32\x06\0\1a\0\1\0", "again": b"\x38\x04\0\1a\0", "no-utf8": b"\x30\x05\0\2\xff\xfe\0",
    "nul": b"\x30\x04\0\1\0\0", "ends-in-its-head": b"\x30\x01\0", "nothing": b"\x30\0",
    "unknown-property": b"\x30\x07\0\1a\3\x7f\1\2", "twice": b"\x30\x0e\0\1a\x0a\2\0\0\0\1\2\0\0\0\1",
    "past-its-properties": b"\x30\x08\0\1a\3\x09\0\xc8\1", "text-past-the-end": b"\x30\x08\0\1a\4\x26\0\x32\1",
    "endless-length": b"\x30\xff\xff\xff\xff\x01", "puback": b"\x40\1\1", "connect": b"\x10\0", "auth": b"\xf0\0",
    "short-suback": b"\x90\1\0", "short-connack": b"\x20\1\0", "long-connack": b"\x20\xff\xff\x7f",
}  # fmt: skip


@pytest.mark.parametrize("data", WRONG.values(), ids=WRONG)
def test_what_is_no_packet(data: bytes) -> None:
    """Each is a ProtocolError that says what it is about."""
    with pytest.raises(ProtocolError, match="MQTT"):
        read(data)


@given(data=st.binary(max_size=200), cuts=st.lists(st.integers(0, 200), max_size=4))
def test_any_bytes(data: bytes, cuts: list[int]) -> None:
    """Rubbish is read, waited for, or refused, and nothing else happens."""
    try:
        read(data, cuts)
    except ProtocolError:
        return


@given(said=PUBLICATION, at=st.integers(0, 400), byte=st.integers(0, 255))
def test_damaged_publications(said: Publication, at: int, byte: int) -> None:
    """One wrong byte is refused or makes another publication, and nothing else happens."""
    data = bytearray(wire(said))
    data[at % len(data)] = byte
    try:
        read(bytes(data))
    except ProtocolError:
        return


def test_too_much_beside_a_payload() -> None:
    """A publication with a head that nobody needs is passed over; the next one is read."""
    long = About(user=[("name", "x" * 1000)] * 100)
    events = read(wire(Publication("a", bytes(100_000), long)) + wire(Publication("b")), [70_000, 150_000])
    assert isinstance(events[0], Passed)
    assert [plain(event) for event in events[1:]] == [Publication("b", about=About(user=[]))]


@pytest.mark.parametrize("text", ["x" * 65_536, "a\0b", "\ud800"], ids=["long", "nul", "surrogate"])
def test_what_cannot_be_written(text: str) -> None:
    """A text that MQTT does not carry is refused before anything is sent."""
    with pytest.raises(InputError, match="MQTT"):
        publish("a", About(user=[("name", text)]), 0)
    with pytest.raises(InputError, match="at most"):
        publish("a", About(), LARGEST)
