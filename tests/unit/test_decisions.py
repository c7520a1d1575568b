"""The log of decisions: real files, a disk that is full, a line that was cut; and what is replayed from it."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from edge_runtime.decisions import OLDER, Began, DecisionLog, Lost, read
from edge_runtime.errors import InputError
from edge_runtime.replay_page import render
from edge_runtime.routing.calendar import Calendar
from edge_runtime.routing.events import Answered, Done, Event, GivenUp, Known, Paced, Planned
from edge_runtime.routing.policy import Policy, Request
from edge_runtime.routing.replay import AGAIN, LOGGED, replay
from edge_runtime.routing.router import Router, State


def lived(calls: int = 60) -> list[Event]:
    """What a router was told, and planned, in some seconds of a life: a cloud that is quick, then slow, then quick."""
    router = Router()
    events: list[Event] = [Known(0.0, "m", 0.7, 0.8, ("a",)), Paced(0.0, "m", 10_000, 0.01, 0.02)]
    for event in events:
        router.tell(event)
    for call in range(calls):
        now = 1.0 + 0.2 * call
        request = Request("m", 0.15, 10_000)
        made = router.plan(call, request, now)
        told: list[Event] = []
        if made.target == "cloud" and 20 <= call < 30:
            told += [GivenUp(now + 0.15, call, 3_000), Done(now + 0.15, call, "local", 0.15, True)]
        elif made.target == "cloud":
            told += [Answered(now + 0.05, call, 0, 0.01), Done(now + 0.05, call, "cloud", 0.05, True)]
        else:
            told += [Done(now + 0.01, call, "local", 0.01, True)]
        events += [Planned(now, call, request, made), *told]
        for event in told:
            router.tell(event)
    return events


def empty() -> State:
    return State(Policy(), Calendar())


def test_what_is_kept_comes_back_in_order(tmp_path: Path) -> None:
    """Line by line, after what was known at the beginning."""
    log, lock = DecisionLog(tmp_path / "deep" / "log.jsonl"), threading.Condition()
    log.begin(lock, empty)
    events = lived(5)
    with lock:
        for event in events:
            log.keep(event)
    log.close()
    began, *rest = read(log.path)
    assert isinstance(began, Began)
    assert rest == events


def test_a_log_is_bounded_on_disk_and_each_file_can_be_replayed_by_itself(tmp_path: Path) -> None:
    """The older half is kept beside it."""
    log, lock = DecisionLog(tmp_path / "log.jsonl", limit=40_000), threading.Condition()
    router = Router()
    log.begin(lock, lambda: router.state)
    for event in lived(300):
        with lock:
            if isinstance(event, Planned):
                router.plan(event.call, event.request, event.at)
            else:
                router.tell(event)
            log.keep(event)
        if isinstance(event, Done) and event.call % 20 == 0:
            log._write_once()
    log.close()
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["log.jsonl", "log.jsonl" + OLDER]
    assert sum(file.stat().st_size for file in files) < 80_000
    for file in files:
        began, *rest = read(file)
        assert isinstance(began, Began)
        found = replay(began.state, [e for e in rest if not isinstance(e, Began | Lost)], {})
        assert found.same == found.plans > 0


def test_a_full_disk_costs_lines_and_no_call(tmp_path: Path) -> None:
    """How many is written when it works again; no line is cut."""
    log, lock = DecisionLog(tmp_path / "log.jsonl"), threading.Condition()
    log.begin(lock, empty)
    real, log._file = log._file, open("/dev/full", "r+b", buffering=0)  # noqa: SIM115
    with lock:
        for event in lived(3):
            log.keep(event)
    with pytest.raises(OSError, match="No space"):
        log._write_once()
    log._file.close()
    log._file = real
    log.close()
    began, lost = read(log.path)
    assert isinstance(began, Began)
    assert lost == Lost(len(lived(3)))


def test_a_line_that_was_cut_is_passed_over_and_garbage_is_an_error(tmp_path: Path) -> None:
    """The first happens when power fails; the second is another file."""
    log = DecisionLog(tmp_path / "log.jsonl")
    log.begin(threading.Condition(), empty)
    log.close()
    with log.path.open("ab") as file:
        file.write(b'{"type":"plan","at":1')
    assert len(list(read(log.path))) == 1
    for data in (b"hello\n", b'{"type":"plan"}\n', b"\xff\xfe\n", b"[1]\n"):
        (tmp_path / "other").write_bytes(data)
        with pytest.raises(InputError, match="no line of a decision log"):
            list(read(tmp_path / "other"))
    with pytest.raises(InputError, match="can be read"):
        list(read(tmp_path / "nowhere"))


def test_where_no_log_can_be_written_it_is_told_at_once(tmp_path: Path) -> None:
    """Not at the first call."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="no decision log"):
        DecisionLog(tmp_path / "file" / "log.jsonl")


def test_a_replay_makes_the_same_plans_and_tells_what_another_policy_would_have_done() -> None:
    """One that pays any price for bytes sends less than the one that was logged, and its page has a picture of each."""
    dear = Policy(byte_price=1.0)
    found = replay(empty(), lived(), {"dear": dear})
    assert found.same == found.plans == 60
    by_name = {s.name: s for s in found.summaries}
    assert set(by_name) == {LOGGED, AGAIN, "dear"}
    assert by_name[LOGGED].met == 60
    assert abs(by_name[AGAIN].cloud - by_name[LOGGED].cloud) <= 6
    assert by_name["dear"].sent < by_name[LOGGED].sent
    assert by_name["dear"].local > by_name[LOGGED].local
    page = render(found)
    assert page.count("<figure>") == 3
    assert page == render(found)


def test_a_log_without_a_call_that_had_a_choice_is_told() -> None:
    """There is nothing to replay."""
    with pytest.raises(InputError, match="no call"):
        replay(empty(), [], {})
