"""How many replicas there should be, and which refused calls are asked again."""

from __future__ import annotations

from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from cloud_bridge.endpoint.scale import BACKLOG, BUSY, MISSED, Load, Range, SecondTry, wanted
from edge_runtime.errors import InputError

share = st.floats(0.0, 1.0)
load = st.builds(Load, busy=share, backlog=st.floats(0.0, 60.0), missed=share)
loads = st.lists(load, max_size=20)
coming = st.integers(0, 20)
within = st.builds(lambda least, more: Range(least, least + more), st.integers(1, 20), st.integers(0, 40))
WIDE = Range(1, 1000)
NO_RANGE = ("0", "0:3", "8:2", "1:", "1:2:3", "12345", "1.5", "2:x")


@given(loads, coming, within)
def test_never_outside_the_range(loads: list[Load], coming: int, within: Range) -> None:
    """Whatever replicas tell, there are as many as were said at least, and no more than were said at most."""
    assert within.least <= wanted(loads, coming, within) <= within.most


@given(loads.filter(bool), coming)
def test_at_most_twice_as_many(loads: list[Load], coming: int) -> None:
    """One bad moment does not start a hundred replicas: those that run are doubled at most."""
    assert wanted(loads, coming, WIDE) <= max(2 * len(loads), len(loads) + coming)


@given(loads.filter(bool), st.integers(0, 19), st.sampled_from(["busy", "backlog", "missed"]), share)
def test_worse_never_means_fewer(loads: list[Load], at: int, what: str, more: float) -> None:
    """A replica that is busier, has a longer queue or misses more never makes there be fewer."""
    at %= len(loads)
    worse = [*loads]
    worse[at] = replace(loads[at], **{what: max(more, getattr(loads[at], what))})
    assert wanted(worse, 0, WIDE) >= wanted(loads, 0, WIDE)


@given(st.lists(st.builds(Load, busy=st.just(0.0), backlog=st.just(0.0), missed=st.just(0.0)), max_size=9), within)
def test_idle_falls_to_the_least(loads: list[Load], within: Range) -> None:
    """Where nobody asks, as few are left as were said."""
    assert wanted(loads, 0, within) == within.least


@given(st.lists(st.builds(Load, busy=share, backlog=st.just(0.0), missed=st.just(0.0)), min_size=1, max_size=9))
def test_as_many_as_do_the_work(loads: list[Load]) -> None:
    """Without waiting and misses, as many as do the work at seven tenths of their time."""
    need = ceil(sum(load.busy for load in loads) / BUSY - 1e-6)
    assert abs(wanted(loads, 0, WIDE) - min(max(1, need), 2 * len(loads))) <= 1e-6


@pytest.mark.parametrize("load", [Load(0.1, 2 * BACKLOG, 0.0), Load(0.1, 0.0, 2 * MISSED)], ids=["queue", "misses"])
def test_waiting_or_missed_calls_bring_one_more(load: Load) -> None:
    """However little the replicas seem to do: a queue or missed deadlines call for another one."""
    assert wanted([load] * 3, 0, WIDE) == 4


@given(loads, st.integers(1, 20))
def test_none_is_taken_back_on_its_way(loads: list[Load], coming: int) -> None:
    """Replicas that are starting were wanted a moment ago, and are not called off."""
    assert wanted(loads, coming, WIDE) >= len(loads) + coming


@pytest.mark.parametrize(("text", "found"), [("1", Range(1, 1)), ("2:8", Range(2, 8)), ("3:3", Range(3, 3))])
def test_a_range_is_read(text: str, found: Range) -> None:
    """One number, or the least and the most."""
    assert Range.parse(text) == found


@given(st.text(max_size=12).filter(lambda text: not text[:1].isdecimal()) | st.sampled_from(NO_RANGE))
def test_what_is_no_range_is_told(text: str) -> None:
    """Anything else is refused with the way to write it."""
    with pytest.raises(InputError, match="LEAST:MOST"):
        Range.parse(text)


@given(st.lists(st.booleans(), max_size=400))
def test_refused_calls_are_asked_again_by_one_in_ten(steps: list[bool]) -> None:
    """However many are refused, second tries stay a tenth of the calls, and ten at once."""
    second = SecondTry()
    tries = 0
    for calls, refused in enumerate(steps, 1):
        second.call()
        tries += refused and second.take()
        assert tries <= 10 + 0.1 * calls + 1e-6
