"""What routing learns, and when it lets local runs begin: pure state, told one event after another."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.routing.calendar import Calendar, Promise
from edge_runtime.routing.events import (
    Answered,
    Began,
    Done,
    Failed,
    GivenUp,
    Known,
    Linked,
    Paced,
    Probed,
    Ran,
    Ruled,
    Run,
)
from edge_runtime.routing.link import Breaker, Link
from edge_runtime.routing.pace import Pace
from edge_runtime.routing.policy import Policy, Request
from edge_runtime.routing.router import Router, State

jobs = st.lists(
    st.tuples(st.floats(0.01, 2.0), st.floats(0.001, 0.2), st.floats(1.0, 3.0)), min_size=1, max_size=8
)  # deadline, typical, safe / typical


@given(jobs)
def test_runs_begun_at_their_latest_start_all_make_their_deadlines(wanted: list[tuple[float, float, float]]) -> None:
    """If the first can begin in time and each takes its typical time, earliest deadline first makes them all."""
    calendar = Calendar()
    for number, (deadline, typical, share) in enumerate(wanted):
        calendar.promise(Promise(number, deadline, typical, typical * share))
    following = calendar.next(-100.0)
    assert following is not None
    now = following[0]
    if now <= -100.0:
        return
    while (following := calendar.next(now)) is not None:
        start, promise = following
        assert now <= start + 1e-9 or start == now
        calendar.begin(promise.call, now)
        now += promise.typical
        calendar.end(promise.call)
        assert now <= promise.deadline + 1e-9


def test_the_device_runs_one_thing_at_a_time_and_the_earliest_deadline_first() -> None:
    """And what is dropped is forgotten."""
    calendar = Calendar()
    calendar.promise(Promise(1, 2.0, 0.1, 0.2))
    calendar.promise(Promise(2, 1.0, 0.1, 0.2))
    following = calendar.next(0.0)
    assert following is not None
    assert following[0] == pytest.approx(0.8)
    assert following[1].call == 2
    calendar.begin(2, 0.8)
    assert calendar.next(0.85) is None
    calendar.end(2)
    calendar.drop(1)
    assert calendar.next(0.9) is None


@pytest.mark.parametrize(("burst", "put_off"), [(1, True), (5, False)])
def test_where_calls_come_in_bursts_nothing_is_put_off(burst: int, put_off: bool) -> None:
    """After some bursts of calls that come faster than the device answers; single calls are put off as long as can be."""
    calendar = Calendar()
    for number in range(30):
        now = number // burst + 0.01 * (number % burst)
        calendar.arrived(now, 0.018)
    calendar.promise(Promise(30, now + 0.5, 0.018, 0.04))
    following = calendar.next(now)
    assert following is not None
    assert (following[0] > now) == put_off


def test_a_late_run_is_shed_only_where_others_wait() -> None:
    """Alone it is run all the same: a late answer may still be of use, and harms nobody."""
    calendar = Calendar()
    late = Promise(1, 1.0, 0.5, 0.6)
    calendar.promise(late)
    assert not calendar.hopeless(late, 0.9)
    calendar.promise(Promise(2, 3.0, 0.5, 0.6))
    assert calendar.hopeless(late, 0.9)


@given(st.lists(st.tuples(st.integers(100, 10**6), st.floats(1e-4, 10.0)), min_size=1, max_size=50))
def test_a_link_stays_sane_whatever_is_seen(seen: list[tuple[int, float]]) -> None:
    """Its speed and round trip stay positive and within what was seen."""
    link, now = Link(), 0.0
    for size, seconds in seen:
        now += 0.3
        link.moved(size, seconds, now)
        assert link.per_byte is not None
        assert link.per_byte > 0
        assert 0 <= link.round_trip <= max(s for _, s in seen)


def test_a_link_tells_round_trip_and_speed_apart() -> None:
    """From probes and calls of different sizes it learns what each size takes."""
    link, now = Link(), 0.0
    for size in (1500, 150_000, 12_000, 600_000) * 10:
        now += 0.5
        link.moved(size, 0.05 + size * 4e-7, now)
    for size in (10_000, 150_000, 600_000):
        assert link.seconds(size) == pytest.approx(0.05 + size * 4e-7, rel=0.25)


def test_a_stuck_transfer_tells_that_the_link_is_slow() -> None:
    """A call that was given up with a tenth of its bytes sent predicts that the next one is late as well."""
    link = Link()
    link.moved(150_000, 0.1, 0.0)
    link.stuck(15_000, 150_000, 0.2, 0.8, 1.0)
    seconds = link.seconds(150_000)
    assert seconds is not None
    assert seconds > 0.2


@given(st.floats(0, 1), st.integers(1, 60), st.booleans())
def test_a_pause_is_within_its_bounds(draw: float, failures: int, absent: bool) -> None:
    """However often it fails and whatever is drawn; an answer ends it."""
    breaker, policy, now = Breaker(), Policy(), 0.0
    for _ in range(failures):
        breaker.failed(now, now, policy, draw, absent=absent)
        pause = breaker.down_until - now
        assert 0 < pause <= (policy.longest_absence if absent else policy.longest_backoff) + 1e-6
        now = breaker.down_until + 0.001
    breaker.answered()
    assert breaker.down_until < now


def test_calls_that_fail_together_count_as_one_failure() -> None:
    """They were under way when it went away."""
    breaker = Breaker()
    for _ in range(8):
        breaker.failed(0.0, 1.0, Policy(), 1.0, absent=False)
    assert breaker.failures == 1


def test_pace_scales_with_size_and_forgets_a_slow_run() -> None:
    """A size like none seen needs as much as the next larger; a slow run is remembered, and not for ever."""
    pace = Pace()
    assert pace.of(100) is None
    for _ in range(20):
        pace.observe(1000, 0.01)
    pace.observe(1000, 0.1)
    typical, slowest = pace.of(1000) or (0.0, 0.0)
    assert typical < 0.012
    assert slowest == pytest.approx(0.1)
    assert (pace.of(10) or (0.0, 0.0))[0] == typical
    assert (pace.of(4000) or (0.0, 0.0))[0] == pytest.approx(4 * typical)
    for _ in range(1000):
        pace.observe(1000, 0.01)
    assert (pace.of(1000) or (0.0, 1.0))[1] < 0.011


def router(**policy: float) -> Router:
    """A router that knows a model on two clouds."""
    made = Router()
    made.know(Ruled(0.0, Policy(**policy)))  # type: ignore[arg-type]
    made.know(Known(0.0, "m", 0.7, 0.8, ("a", "b")))
    made.know(Paced(0.0, "m", 1000, 0.01, 0.02))
    return made


def test_a_call_that_waits_behind_others_is_predicted_to_take_longer() -> None:
    """What this device still has to send counts."""
    one = router()
    one.know(Known(0.0, "m", 0.7, 0.8, ("a",)))
    one.know(Paced(0.0, "m", 150_000, 0.01, 0.02))
    one.plan(1, Request("m", 0.5, 150_000), 1.0)
    one.observe(Answered(1.2, 1, 0, 0.02))
    first = one.plan(2, Request("m", 2.0, 150_000), 1.3)
    second = one.plan(3, Request("m", 2.0, 150_000), 1.301)
    assert first.predicted is not None
    assert second.predicted is not None
    assert second.predicted > 1.5 * first.predicted


def test_the_work_of_an_endpoint_that_was_measured_is_in_the_first_prediction() -> None:
    """Beside what was measured of the link."""
    one = router()
    one.know(Linked(0.0, "a", 0.05, 1e-7))
    one.know(Known(0.0, "m", 0.7, 0.8, ("a",), {"a": 0.3}))
    assert one.plan(1, Request("m", 2.0, 150_000), 1.0).predicted == pytest.approx(0.05 + 0.015 + 0.3)


def test_a_predicted_wait_counts_and_is_forgotten() -> None:
    """An answer that says how long the next call would wait makes that one's prediction longer; later it means nothing."""
    one = router()
    one.know(Linked(0.0, "a", 0.05, 1e-7))
    one.know(Known(0.0, "m", 0.7, 0.8, ("a",), {"a": 0.1}))
    for call, wait, at in ((1, 0.0, 1.0), (2, 0.4, 1.4)):
        one.plan(call, Request("m", 2.0, 1000), at)
        one.observe(Answered(at + 0.25, call, 0, 0.2, waited=0.1, wait=wait))
    soon, later = (one.plan(call, Request("m", 2.0, 1000), at).predicted for call, at in ((3, 1.7), (4, 9.0)))
    assert soon is not None
    assert later is not None
    assert soon == pytest.approx(later + 0.4, abs=0.05)
    assert later == pytest.approx(0.15, abs=0.03)


def test_an_endpoint_that_slows_is_left_for_the_other() -> None:
    """The better of two by what is predicted."""
    made = router()
    now = 0.0
    for call in range(40):
        now += 0.2
        chosen = made.plan(call, Request("m", 1.0, 10_000), now).endpoint
        made.observe(Answered(now + (0.9 if chosen == "a" else 0.05), call, 0, 0.01))
        made.observe(Done(now + 0.9, call, "cloud", 0.5, True))
    assert made.plan(99, Request("m", 1.0, 10_000), now + 1.0).endpoint == "b"


def test_a_refusal_of_one_model_does_not_keep_others_from_the_endpoint() -> None:
    """An endpoint that does not know one model is there for the rest; one that cannot be reached is not."""
    made = Router()
    for name in ("m", "n"):
        made.know(Known(0.0, name, None, 0.8, ("a",)))
    made.plan(1, Request("m", 1.0, 100), 1.0)
    made.observe(Failed(1.1, 1, absent=False, only_model=True, draw=1.0))
    assert made.plan(2, Request("m", 1.0, 100), 1.2).target == "none"
    assert made.plan(3, Request("n", 1.0, 100), 1.2).target == "cloud"
    made.observe(Failed(1.3, 3, absent=True, draw=1.0))
    assert made.plan(4, Request("n", 1.0, 100), 1.4).target == "none"


def test_a_probe_brings_an_endpoint_back() -> None:
    """And is asked for while calls come, one at a time, and no longer."""
    made = Router()
    made.know(Known(0.0, "m", 0.7, 0.8, ("a",)))
    made.plan(1, Request("m", 1.0, 100_000), 1.0)
    made.observe(Failed(1.1, 1, absent=True, draw=1.0))
    again, probing = made.probe(1.2)
    assert probing is None
    assert 1.2 < again <= 1.1 + Policy().longest_absence
    _, probing = made.probe(again)
    assert probing is not None
    assert probing.size == 10_000
    made.probing(probing)
    assert made.probe(again + 0.1)[1] is None
    made.probed(Probed(again + 0.2, "a", probing.size, 0.2))
    assert made.plan(2, Request("m", 1.0, 100_000), again + 0.3).target == "cloud"
    assert made.probe(again + 100.0) == (float("inf"), None)


def test_another_policy_rules_from_the_next_call_on() -> None:
    """While running."""
    made = router()
    assert made.plan(1, Request("m", 1.0, 10_000), 1.0).target == "cloud"
    made.observe(Answered(1.1, 1, 0, 0.01))
    made.know(Ruled(1.2, Policy(byte_price=1.0)))
    assert made.plan(2, Request("m", 1.0, 10_000), 1.3).target == "local"


events = st.lists(
    st.one_of(
        st.tuples(st.just("plan"), st.none() | st.floats(0.01, 2), st.integers(1, 10**6)),
        st.tuples(st.just("answered"), st.floats(0, 0.5), st.integers(0, 30)),
        st.tuples(st.just("failed"), st.booleans(), st.integers(0, 30)),
        st.tuples(st.just("given up"), st.integers(0, 10**6), st.integers(0, 30)),
        st.tuples(st.just("ran"), st.floats(0.001, 0.5), st.integers(0, 30)),
    ),
    max_size=60,
)  # fmt: skip


@given(events)
def test_whatever_happens_plans_are_made_and_the_state_survives_a_file(happened: list[tuple[str, object, int]]) -> None:
    """Any order of events, foreign and double ones among them; a router made from the JSON of another's state plans
    alike."""
    made, now, calls = router(), 0.0, 0
    for kind, value, number in happened:
        now += 0.05
        if kind == "plan":
            made.plan(calls, Request("m", value, number), now)  # type: ignore[arg-type]
            calls += 1
        elif kind == "answered":
            made.observe(Answered(now, number, 10, value))  # type: ignore[arg-type]
        elif kind == "failed":
            made.observe(Failed(now, number, absent=bool(value), draw=0.5))
        elif kind == "given up":
            made.observe(GivenUp(now, number, int(value)))  # type: ignore[call-overload]
        else:
            made.observe(Began(now, number))
            made.observe(Ran(now, number, Run("m", 1000, value)))  # type: ignore[arg-type]
            made.observe(Done(now, number, "local", 0.1, True))
    copy = Router(msgspec.json.decode(msgspec.json.encode(made.state), type=State))
    for call in range(3):
        request = Request("m", 0.3, 50_000)
        assert copy.plan(1000 + call, request, now + 1) == made.plan(1000 + call, request, now + 1)
