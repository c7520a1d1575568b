"""Which workers are there: what is known, and when it is certain enough to fail a call."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_bridge.client.census import SETTLE_SECONDS, Census


def told(state: str) -> bytes:
    return json.dumps({"v": 1, "state": state, "extra": 1}).encode()


def test_nothing_heard() -> None:
    """Where no worker was ever heard of, a call is tried: not every broker tells retained states."""
    census = Census()
    assert not census.nobody(1e9)
    census.begin(0.0)
    assert not census.nobody(1e9)


@pytest.mark.parametrize("end", ["lost", "disconnected"])
def test_the_last_one_goes(end: str) -> None:
    """Only the last ready worker's end ends the calls, once; a new one lifts it."""
    census = Census()
    census.begin(0.0)
    assert not census.note("a", told("ready"))
    assert not census.note("b", told("ready"))
    assert not census.note("a", told(end))
    assert not census.nobody(0.0)
    assert census.note("b", told(end))
    assert census.nobody(0.0)
    assert not census.note("b", told(end))
    assert not census.note("c", told("ready"))
    assert not census.nobody(1e9)


def test_old_news_has_to_settle() -> None:
    """On a new connection the retained end of one worker may come before another's being ready."""
    census = Census()
    census.note("a", told("lost"))
    census.begin(10.0)
    assert not census.nobody(10.0 + SETTLE_SECONDS / 2)
    assert census.nobody(10.0 + SETTLE_SECONDS * 2)
    census.note("b", told("ready"))
    assert not census.nobody(10.0 + SETTLE_SECONDS * 2)


def test_a_lost_connection_forgets() -> None:
    """After a lost connection nothing is known: the workers may have gone and come."""
    census = Census()
    census.begin(0.0)
    census.note("a", told("ready"))
    census.note("a", told("lost"))
    census.clear()
    assert not census.nobody(1e9)


def test_a_cleared_state() -> None:
    """An empty retained message, the way to remove one, takes the worker away."""
    census = Census()
    census.note("a", told("ready"))
    assert census.note("a", b"")


@given(st.binary(max_size=60))
def test_rubbish_is_passed_over(payload: bytes) -> None:
    """No payload makes it raise, and what is no status changes nothing."""
    census = Census()
    census.note("a", told("ready"))
    if payload:
        assert not census.note("b", payload)
        assert not census.nobody(1e9)
