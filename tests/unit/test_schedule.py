"""The endpoint's scheduler, driven by a clock that the tests move."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from cloud_bridge.endpoint.cost import Cost
from cloud_bridge.endpoint.schedule import NEVER, Scheduler, Work

A, B = 0.010, 0.020
"""Seconds of a row, and of a run."""


def scheduler(instances: int = 1) -> Scheduler:
    """One that knows what its models cost."""
    made = Scheduler(instances)
    for model in "mn":
        for rows in (1, 2, 4):
            made.cost(model).observe(rows, A * rows + B)
        made.cost(model).deviation = 0.0
    return made


def work(model: str = "m", *, deadline: float = NEVER, rows: int = 1, most: int = 8, priority: int = 0) -> Work:
    return Work(model, rows, most, deadline, priority)


def test_a_line_is_learnt() -> None:
    """From runs of different sizes; from runs of one size rows are taken to cost as much together as one by one."""
    cost = Cost()
    assert cost.of(3) == 0.0
    cost.observe(2, 0.04)
    assert abs(cost.of(4) - 0.08) < 1e-12
    cost.observe(6, 0.08)
    assert abs(cost.of(4) - 0.06) < 1e-9
    assert cost.safe(4) > cost.of(4)
    assert cost.of(1 << 20) == cost.of(24)


@given(st.lists(st.tuples(st.integers(1, 64), st.floats(1e-5, 10.0)), min_size=1, max_size=40))
def test_a_line_is_never_below_zero_and_never_falls(runs: list[tuple[int, float]]) -> None:
    """Whatever runs are told."""
    cost = Cost()
    for rows, seconds in runs:
        cost.observe(rows, seconds)
    told = [cost.of(rows) for rows in range(1, 65)]
    assert all(0.0 <= one <= other * (1 + 1e-9) + 1e-12 for one, other in pairwise(told))
    assert cost.safe(8) >= cost.of(8)


def test_an_idle_instance_waits_for_nobody() -> None:
    """A call alone runs at once."""
    one = scheduler()
    call = work(deadline=1.0)
    assert one.offer(call, 0.0).accepted
    assert one.next(0.0) == ([call], [])


def test_calls_that_wait_run_together() -> None:
    """As many rows as may; of other models and shapes none."""
    one = scheduler()
    first, *rest = calls = [work(most=3) for _ in range(6)]
    other = work("n")
    for call in (first, other, *rest):
        one.offer(call, 0.0)
    assert one.next(0.0)[0] == calls[:3]
    assert one.next(0.0) == ((), ())  # none is free
    one.ended(calls[:3], 3 * A + B)
    assert one.next(0.1)[0] == [other]
    one.ended([other], A + B)
    assert one.next(0.2)[0] == calls[3:]


def test_a_batch_closes_before_a_member_would_miss() -> None:
    """One more row would take too long for the first."""
    one = scheduler(2)
    calls = [work(deadline=2 * A + B + 1e-6), *(work(deadline=1.0) for _ in range(4))]
    for call in calls:
        assert one.offer(call, 0.0).accepted
    assert one.next(0.0)[0] == calls[:2]


def test_a_batch_closes_before_another_model_would_miss() -> None:
    """Whose call is next, and would make it after a shorter batch."""
    one = scheduler()
    calls = [work(deadline=0.1) for _ in range(4)]
    other = work("n", deadline=0.1 + 1e-6)
    for call in (*calls, other):
        one.offer(call, 0.0)
    batch, _ = one.next(0.0)
    assert batch == calls[: len(batch)]
    assert len(batch) * A + B + A + B <= 0.1 + 1e-6


def test_at_the_door() -> None:
    """What cannot make it is refused, with what it would have waited; so is what would make another one miss."""
    one = scheduler()
    one.offer(work(), 0.0)
    one.next(0.0)
    told = one.offer(work(deadline=0.05), 0.0)
    assert not told.accepted
    assert abs(told.wait - (A + B)) < 1e-9
    assert abs(told.done - 2 * (A + B)) < 1e-9
    assert one.offer(work("m", deadline=0.065), 0.0).accepted
    assert not one.offer(work("n", deadline=0.062), 0.0).accepted
    assert one.offer(work("n"), 0.0).accepted


def test_priority_goes_first() -> None:
    """Before an earlier deadline."""
    one = scheduler()
    late, soon, urgent = work("m", deadline=3.0), work("n", deadline=1.0), work("m", deadline=9.0, priority=1)
    for call in (late, soon, urgent):
        one.offer(call, 0.0)
    assert one.next(0.0)[0][0] is urgent


def test_what_is_dropped_or_late_does_not_run() -> None:
    """A dropped call is gone; one whose time is over when its turn comes is told apart."""
    one = scheduler()
    running, dropped, late, fine = work(), work("n"), work(deadline=0.2), work(deadline=2.0)
    for call in (running, dropped, late, fine):
        assert one.offer(call, 0.0).accepted
        one.next(0.0)
    assert one.drop(dropped)
    assert not one.drop(dropped)
    one.ended([running], 0.5)
    assert one.next(0.5) == ([fine], [late])


def test_backlog() -> None:
    """What a newcomer would wait; nothing when idle."""
    one = scheduler()
    assert one.backlog(0.0) == 0.0
    one.offer(work(), 0.0)
    one.next(0.0)
    one.offer(work("n"), 0.0)
    assert abs(one.backlog(0.0) - 2 * (A + B)) < 1e-9


def test_who_would_run_with_those_that_wait_waits_less() -> None:
    """A newcomer of the same group joins their run."""
    one = scheduler()
    one.offer(work(), 0.0)
    one.next(0.0)
    one.offer(work("n"), 0.0)
    assert abs(one.backlog(0.0, "n", 8) - (A + B)) < 1e-9


calls = st.lists(
    st.tuples(
        st.floats(0.0, 0.1), st.sampled_from("mn"), st.integers(1, 5), st.one_of(st.just(NEVER), st.floats(0.01, 0.5)),
        st.integers(0, 1), st.booleans(),
    ),
    max_size=40,
)  # fmt: skip


@given(calls, st.integers(1, 3), st.integers(1, 8))
def test_who_is_accepted_makes_it(
    arrivals: list[tuple[float, str, int, float, int, bool]], instances: int, most: int
) -> None:
    """Where runs take what they are known to take, no accepted call misses its deadline, none is lost, and none runs twice;
    a batch has one group and no more rows than may be."""
    one = scheduler(instances)
    events: list[tuple[float, int, object]] = []
    now = 0.0
    for number, (gap, model, rows, left, priority, leaves) in enumerate(arrivals):
        now += gap
        call = work(model, deadline=now + left, rows=rows, most=most, priority=priority)
        heapq.heappush(events, (now, number, call))
        if leaves:
            heapq.heappush(events, (now + 0.02, 1000 + number, (call,)))
    accepted: set[int] = set()
    ended: dict[int, float] = {}
    gone: set[int] = set()
    number = 10_000

    def start(now: float) -> None:
        nonlocal number
        while True:
            batch, late = one.next(now)
            assert not late
            if not batch:
                return
            rows = sum(each.rows for each in batch)
            assert len({each.group for each in batch}) == 1
            assert len(batch) == 1 or rows <= most
            number += 1
            heapq.heappush(events, (now + A * rows + B, number, list(batch)))

    while events:
        now, _, what = heapq.heappop(events)
        if isinstance(what, Work):
            if one.offer(what, now).accepted:
                accepted.add(id(what))
        elif isinstance(what, tuple):
            if one.drop(what[0]):
                gone.add(id(what[0]))
        elif isinstance(what, list):
            one.ended(what, A * sum(each.rows for each in what) + B)
            for each in what:
                assert id(each) not in ended
                ended[id(each)] = now
                assert now <= each.deadline + 1e-6
        start(now)
    assert accepted == ended.keys() | gone
    assert len(one) == 0


@given(calls)
def test_the_order(arrivals: list[tuple[float, str, int, float, int, bool]]) -> None:
    """What runs first is of the highest priority that waits, and of that the earliest deadline."""
    one = scheduler()
    waiting: list[Work] = []
    for _, model, rows, left, priority, _ in arrivals:
        call = work(model, deadline=left, rows=rows, priority=priority)
        if one.offer(call, 0.0).accepted:
            waiting.append(call)
    batch: Sequence[Work] = one.next(0.0)[0]
    if waiting:
        first = min(waiting, key=lambda each: (-each.priority, each.deadline))
        assert (batch[0].priority, batch[0].deadline) == (first.priority, first.deadline)
