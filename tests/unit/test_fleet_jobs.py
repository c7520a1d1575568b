"""What becomes of a job on a device, by what the device and the controller say."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, Raw

from cloud_bridge.protocol.fleet import jobs
from cloud_bridge.protocol.fleet.execution import apply, confirm, describe, first, move, queue, start
from cloud_bridge.protocol.fleet.jobs import (
    BY_CONTROLLER,
    BY_DEVICE,
    TERMINAL,
    Details,
    Get,
    JobExecution,
    Next,
    Rejected,
    Reported,
    StartNext,
    State,
    Update,
    details,
    spread,
)
from cloud_bridge.protocol.fleet.wire import encode
from edge_runtime.errors import InputError

STATES: tuple[State, ...] = get_args(State)
REPORTED: tuple[Reported, ...] = get_args(Reported)
DOCUMENT = Raw(b'{"payload":"e30="}')


def execution(
    status: State = "QUEUED", *, version: int = 1, job: str = "j1", queued: float = 10.0, **more: Any
) -> JobExecution:
    return JobExecution(
        job_id=job, thing_name="press-17", status=status, queued_at=queued, last_updated_at=queued, version_number=version,
        execution_number=1, job_document=DOCUMENT, **more,
    )  # fmt: skip


def rejected(found: object) -> Rejected:
    assert isinstance(found, Rejected)
    return found


def accepted(found: object) -> JobExecution:
    assert isinstance(found, JobExecution)
    return found


def test_a_job_from_begin_to_end() -> None:
    """Each change is one version; the first beginning is kept; words stay until there are others."""
    assert queue("j1", "press-17", DOCUMENT, 10.0) == execution()
    one = start(execution(), StartNext(), 11.0)
    assert (one.status, one.version_number, one.started_at, one.last_updated_at) == ("IN_PROGRESS", 2, 11.0, 11.0)
    two = accepted(apply(one, Update(status="IN_PROGRESS", expected_version=2, status_details={"step": "download"}), 12.0))
    three = accepted(apply(two, Update(status="SUCCEEDED", expected_version=3), 13.0))
    assert (three.status, three.version_number, three.started_at, three.last_updated_at) == ("SUCCEEDED", 4, 11.0, 13.0)
    assert three.status_details == {"step": "download"}
    assert three.job_document == DOCUMENT


@pytest.mark.parametrize("before", STATES)
@pytest.mark.parametrize("after", REPORTED)
def test_a_device_moves_along_the_table(before: State, after: Reported) -> None:
    """And is told how it stands where it may not."""
    found = apply(execution(before, version=5), Update(status=after, status_details={"why": "now"}), 20.0)
    if after in BY_DEVICE.get(before, ()):
        assert accepted(found).status == after
    else:
        refusal = rejected(found)
        assert refusal.code == "InvalidStateTransition"
        assert refusal.execution_state is not None
        assert refusal.execution_state.status == before
        encode(refusal)


def test_nothing_leads_out_of_the_end() -> None:
    """By either table; and each state has its place in one."""
    assert not (BY_DEVICE.keys() | BY_CONTROLLER.keys()) & TERMINAL
    assert {*BY_DEVICE, *BY_CONTROLLER, *TERMINAL} == set(STATES)
    assert frozenset().union(*BY_DEVICE.values()) == set(REPORTED)
    assert not frozenset().union(*BY_CONTROLLER.values()) & set(REPORTED) - {"IN_PROGRESS"}


@pytest.mark.parametrize("expected", [0, 1, 3, 9])
def test_another_version_is_a_conflict(expected: int) -> None:
    """The answer says which one holds, and for what."""
    refusal = rejected(apply(execution("IN_PROGRESS", version=2), Update(status="FAILED", expected_version=expected), 9.0))
    assert refusal.code == "VersionMismatch"
    assert refusal.execution_state is not None
    assert refusal.execution_state.version_number == 2
    assert f"version {expected} was expected, and 2 holds" in refusal.message


def test_an_update_that_came_twice_counts_once() -> None:
    """The answer to the first was lost; with and without an expected version."""
    for expected in (2, None):
        update = Update(status="SUCCEEDED", expected_version=expected, status_details={"digest": "d"})
        once = accepted(apply(execution("IN_PROGRESS", version=2), update, 20.0))
        assert apply(once, update, 30.0) == once
        other = Update(status="SUCCEEDED", expected_version=expected, status_details={"digest": "e"})
        assert isinstance(apply(once, other, 30.0), Rejected)


def test_a_device_that_still_works_is_heard_each_time() -> None:
    """That it goes on is news, though it says nothing else."""
    working = Update(status="IN_PROGRESS")
    once = accepted(apply(execution("IN_PROGRESS"), working, 20.0))
    again = accepted(apply(once, working, 30.0))
    assert (again.last_updated_at, again.version_number) == (30.0, 3)


def test_another_execution_is_not_found() -> None:
    """Nor is one that there is not."""
    for found in (
        apply(execution(), Update(status="FAILED", execution_number=2, client_token="t"), 9.0),
        apply(None, Update(status="FAILED", client_token="t"), 9.0),
        describe(None, Get(client_token="t"), 9.0),
        describe(execution(), Get(execution_number=2, client_token="t"), 9.0),
    ):
        assert (rejected(found).code, rejected(found).client_token, rejected(found).timestamp) == (
            "ResourceNotFound",
            "t",
            9.0,
        )


def test_a_running_job_is_not_begun_again() -> None:
    """A device that asks twice, or comes back, gets it as it is."""
    one = start(execution(), StartNext(status_details={"try": "1"}), 11.0)
    assert start(one, StartNext(status_details={"try": "2"}), 12.0) is one


@pytest.mark.parametrize("status", ["TIMED_OUT", "REMOVED", "CANCELED"])
def test_a_controller_ends_what_has_not_ended(status: Literal["TIMED_OUT", "REMOVED", "CANCELED"]) -> None:
    """With its reason beside what the device had said; whoever came first was right."""
    full = {str(number): "x" for number in range(jobs.MOST_DETAILS)}
    ended = move(execution("IN_PROGRESS", status_details=full), status, 20.0, why="enough")
    assert (ended.status, ended.version_number, ended.status_details["reason"]) == (status, 2, "enough")
    encode(ended)
    done = execution("SUCCEEDED")
    assert move(done, status, 20.0, why="enough") is done
    assert rejected(apply(ended, Update(status="SUCCEEDED"), 21.0)).code == "InvalidStateTransition"


def test_which_is_next() -> None:
    """One that runs, then who has waited longest; none of those that ended."""
    old, new, done = execution(job="b", queued=1.0), execution(job="a", queued=2.0), execution("FAILED", queued=0.0)
    running = execution("IN_PROGRESS", job="c", queued=3.0)
    assert first([new, old, done]) is old
    assert first([new, old, running]) is running
    assert first([done]) is None
    assert first([execution(job="b"), execution(job="a")]) == execution(job="a")


def test_what_is_asked_for_is_told() -> None:
    """A document only where it is wanted; of one that has ended, that it has."""
    assert describe(execution(), Get(client_token="t"), 9.0) == Next(timestamp=9.0, execution=execution(), client_token="t")
    bare = describe(execution(), Get(include_job_document=False), 9.0)
    assert isinstance(bare, Next)
    assert bare.execution is not None
    assert bare.execution.job_document is UNSET
    ended = rejected(describe(execution("FAILED"), Get(), 9.0))
    assert ended.code == "TerminalStateReached"
    assert ended.execution_state is not None
    update = Update(status="FAILED", include_job_execution_state=True, include_job_document=True, client_token="t")
    told = confirm(execution(), update, 9.0)
    assert (told.execution_state, told.job_document, told.client_token) == (execution().state, DOCUMENT, "t")
    assert msgspec.json.decode(encode(confirm(execution(), Update(status="FAILED"), 9.0))) == {"timestamp": 9.0}


Asked: TypeAlias = tuple[str, Reported, Any, int | None, dict[str, str] | None]
requests: st.SearchStrategy[list[Asked]] = st.lists(
    st.tuples(
        st.sampled_from(["start", "update", "move"]),
        st.sampled_from(REPORTED),
        st.sampled_from(["TIMED_OUT", "REMOVED", "CANCELED"]),
        st.none() | st.integers(0, 12),
        st.none() | st.dictionaries(st.sampled_from("ab"), st.sampled_from("xy")),
    ),
    max_size=12,
)


@given(requests)
def test_whatever_is_said_a_job_goes_forward(
    asked: list[tuple[str, Reported, Any, int | None, dict[str, str] | None]],
) -> None:
    """A version at a time, along the tables, never out of the end; what is rejected changes nothing."""
    now, one = 100.0, execution()
    for what, status, end, expected, words in asked:
        now += 1.0
        update = Update(status=status, expected_version=expected, status_details=words)
        found: JobExecution | Rejected
        if what == "start":
            found = start(one, StartNext(), now)
        elif what == "move":
            found = move(one, end, now, why="x")
        else:
            found = apply(one, update, now)
        if isinstance(found, Rejected):
            continue
        if found != one:
            assert found.version_number == one.version_number + 1
            assert found.last_updated_at == now
            assert found.status in BY_DEVICE.get(one.status, frozenset()) | BY_CONTROLLER.get(one.status, frozenset())
            assert expected in (None, one.version_number) or what != "update"
        one = found


@given(st.dictionaries(st.sampled_from(["reason", "step"]), st.text(max_size=2000)))
def test_any_words_fit_into_details(words: dict[str, str]) -> None:
    """On one line, cut to length, the empty ones left out."""
    told = details(**words)
    msgspec.convert(told, Details)
    assert all(text.isprintable() and text.strip() for text in told.values())
    encode(Update(status="FAILED", status_details=told))


def test_a_group_asks_over_as_long_as_it_is_large() -> None:
    """A hundred a second, and none waits for more than half a minute."""
    assert (spread(0), spread(500), spread(100_000)) == (0.0, 5.0, 30.0)
    with pytest.raises(InputError):
        encode(jobs.Hint(spread=31.0))
