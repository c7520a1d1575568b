"""Questions to a device, and its answers."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_bridge.protocol.fleet.rpc import (
    ANSWERS,
    QUESTIONS,
    AskStatus,
    DeviceStatus,
    Failure,
    Ping,
    Pong,
    Running,
    decode_answer,
    decode_question,
)
from cloud_bridge.protocol.fleet.wire import encode
from edge_runtime.errors import ProtocolError, RefusedError


def test_a_question_is_by_its_method() -> None:
    """With nothing said it is asked too; of a method that there is not, those that there are, are told."""
    assert decode_question("ping", b"") == Ping()
    assert decode_question("status", b'{"more": 1}') == AskStatus()
    with pytest.raises(ProtocolError, match="there is no method 'reboot'; there are ping, status"):
        decode_question("reboot", b"{}")
    with pytest.raises(ProtocolError, match="this is not a Ping"):
        decode_question("ping", b"[]")
    assert QUESTIONS.keys() == ANSWERS.keys()


def test_an_answer_is_by_its_status() -> None:
    """The answer itself, or the device's reason."""
    running = {"text": Running(version="1.2", digest="ab" * 32)}
    told = DeviceStatus(thing="t", session="s", agent="0.1", timestamp=5.0, uptime=9.0, models=running, job="j1")
    assert decode_answer("200", encode(told), DeviceStatus) == told
    with pytest.raises(RefusedError, match="busy with a deploy") as caught:
        decode_answer("503", encode(Failure(error="busy with a deploy")), Pong)
    assert caught.value.status == 503


@given(st.text(max_size=5) | st.integers(0, 999).map(str), st.binary(max_size=40))
def test_any_answer_is_one_or_refused(status: str, data: bytes) -> None:
    """Whatever a device says."""
    with contextlib.suppress(ProtocolError, RefusedError):
        assert isinstance(decode_answer(status, data, Pong), Pong)


@pytest.mark.parametrize("status", ["", "0", "20", "2000", "abc", "-20", "²⁰⁰"])
def test_no_status(status: str) -> None:
    """What is no number of three digits."""
    with pytest.raises(ProtocolError, match="no status"):
        decode_answer(status, b"{}", Pong)
