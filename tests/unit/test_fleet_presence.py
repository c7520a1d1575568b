"""Whether a device is there, by what was said of it in any order."""

from __future__ import annotations

from functools import reduce
from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from cloud_bridge.protocol.fleet.presence import Presence, State, Status, next_number

statuses = st.builds(
    Status,
    state=st.sampled_from(["ready", "lost", "disconnected"]),
    session=st.sampled_from(["s", "t"]),
    bd_seq=st.integers(0, 3),
    agent=st.sampled_from(["", "0.1"]),
    models=st.sampled_from([{}, {"text": "1"}]),
)


def folded(told: list[Status]) -> Presence:
    return reduce(Presence.fold, told, Presence())


def status(state: State, number: int, agent: str = "") -> Status:
    return Status(state=state, session=f"s{number}", bd_seq=number, agent=agent)


def test_one_connection() -> None:
    """It comes, and it goes one way or the other; whichever is heard last, a clean end was no loss."""
    ready, lost, gone = status("ready", 1, "0.3"), status("lost", 1), status("disconnected", 1)
    assert Presence().state == "unknown"
    assert folded([ready]).state == "ready"
    for told, state in (([ready, lost], "lost"), ([ready, gone], "disconnected"), ([ready, lost, gone], "disconnected")):
        assert {folded([*each]).state for each in permutations(told)} == {state}


def test_a_late_will_tells_nothing() -> None:
    """The device has long come back."""
    there = folded([status("ready", 1), status("ready", 2), status("lost", 1)])
    assert there.state == "ready"
    assert folded([status("ready", 2), status("lost", 2), status("ready", 1)]).state == "lost"


def test_what_a_device_is_outlives_its_connection() -> None:
    """A will does not say it."""
    known = folded([status("ready", 1, agent="0.3"), status("lost", 1), status("lost", 2)])
    assert known.state == "lost"
    assert known.birth is not None
    assert known.birth.agent == "0.3"


@given(st.lists(statuses, max_size=6).flatmap(lambda told: st.tuples(st.just(told), st.permutations(told))))
def test_order_and_repetition_change_nothing(told: tuple[list[Status], list[Status]]) -> None:
    """Whatever a broker does with the messages, who heard them all knows the same."""
    one, other = told
    assert folded(one) == folded(other) == folded([*other, *one])


@given(st.lists(statuses, max_size=6), statuses)
def test_only_the_latest_connection_counts(told: list[Status], latest: Status) -> None:
    """Of the one with the highest number, and of it the end where it has ended."""
    known = folded([*told, latest])
    assert known.last is not None
    assert known.last.bd_seq == max(each.bd_seq for each in [*told, latest])
    newer = Status(state="ready", session="new", bd_seq=4)
    assert known.fold(newer).state == "ready"
    assert known.fold(newer).birth == newer


@given(st.none() | st.integers(0, 2**40), st.floats(0.0, 1e10))
def test_numbers_rise(before: int | None, now: float) -> None:
    """With each connection, even where the clock went back; and from nothing, about to where they had come."""
    number = next_number(before, now)
    assert number > (-1 if before is None else before)
    assert number >= int(now) * 1000
    Presence().fold(Status(state="ready", session="s", bd_seq=number))


def test_a_device_that_lost_its_disk_is_there_again_at_once() -> None:
    """Its number is higher, though it had connected several times within that second."""
    before = None
    for tries in range(5):
        before = next_number(before, 1000.0 + 0.001 * tries)
    left = Presence().fold(Status(state="disconnected", session="z", bd_seq=before or 0))
    again = Status(state="ready", session="a", bd_seq=next_number(None, 1000.5))
    assert left.fold(again).state == "ready"
