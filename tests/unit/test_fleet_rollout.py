"""What a rollout decides, by a clock that the tests move."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from cloud_bridge.fleet.events import Aborted, Action, Cancel, Changed, Event, Finish, Notify, Paused, Resumed, TimeOut
from cloud_bridge.fleet.rollout import begin, decide, observe, wake
from cloud_bridge.fleet.spec import Constant, Exponential, Group, Rollout, Stop, Timeouts
from cloud_bridge.fleet.state import NEVER
from cloud_bridge.protocol.fleet.jobs import State as Status


def things(count: int, prefix: str = "t") -> tuple[str, ...]:
    return tuple(f"{prefix}{number}" for number in range(count))


def one(count: int, success: float = 100.0) -> tuple[Group, ...]:
    """One group of so many."""
    return (Group("all", things(count), success),)


class Played:
    """A rollout that is under way, and what it has done."""

    def __init__(self, spec: Rollout) -> None:
        self.spec, self.now, self.state = spec, 0.0, begin(spec, 0.0)
        self.done: list[Action] = []

    def step(self, seconds: float = 0.0) -> tuple[Action, ...]:
        """After so many seconds."""
        self.now += seconds
        self.state, actions = decide(self.spec, self.state, self.now)
        self.done += actions
        return actions

    def tell(self, *events: Event) -> None:
        self.state = observe(self.spec, self.state, events)

    def say(self, thing: str, status: Status, number: int = 1) -> None:
        """A thing's word."""
        self.tell(Changed(self.now, thing, number, status))

    def end(self, names: Iterable[str], status: Status = "SUCCEEDED", number: int = 1) -> None:
        for name in names:
            self.say(name, status, number)


def told(actions: Iterable[Action]) -> list[str]:
    return [action.thing for action in actions if isinstance(action, Notify)]


def test_without_bounds_all_are_told_at_once() -> None:
    """And when all have succeeded it is over."""
    played = Played(Rollout(one(5)))
    assert told(played.step()) == [*things(5)]
    assert wake(played.spec, played.state) == NEVER
    assert played.step(60) == ()
    played.end(things(5))
    assert played.step() == (Finish("succeeded"),)
    assert played.step() == ()


def test_a_constant_rate_is_spread() -> None:
    """Ten a minute are one each six seconds; 600 a minute are ten each second; nothing is made up for."""
    slow = Played(Rollout(one(20), Constant(10)))
    assert [len(told(slow.step(0 if second == 0 else 1))) for second in range(13)] == [1, *5 * [0], 1, *5 * [0], 1]
    assert wake(slow.spec, slow.state) == 18.0
    assert told(slow.step(100)) == ["t3"]
    fast = Played(Rollout(one(40), Constant(600)))
    assert [len(told(fast.step(0 if half == 0 else 0.5))) for half in range(5)] == [10, 0, 10, 0, 10]


def test_a_minute_has_no_more_than_its_rate() -> None:
    """Where sixty do not divide it, too."""
    played = Played(Rollout(one(500), Constant(100)))
    counts = [len(told(played.step(0 if tick == 0 else 0.1))) for tick in range(1200)]
    assert sum(counts[:600]) == 100
    assert all(sum(counts[at : at + 600]) <= 100 for at in range(600))
    assert sum(counts) >= 190


def test_an_exponential_rate_grows_with_those_told() -> None:
    """Twofold with each ten, up to its maximum."""
    rate = Exponential(base=60, factor=2.0, every=10, maximum=200)
    assert [rate.limit(count, 0) for count in (0, 9, 10, 19, 20, 1000, 10**9)] == [60, 60, 120, 120, 200, 200, 200]
    played = Played(Rollout(one(100), rate))
    instants: list[float] = []
    while len(instants) < 100:
        instants += [played.now] * len(told(played.step()))
        played.now = min(1e9, wake(played.spec, played.state))
    assert [sum(at <= t < at + 1 for t in instants) for at in range(14)] == 9 * [1] + 5 * [2]
    assert sum(20 <= t < 32 for t in instants) == 40


def test_an_exponential_rate_grows_with_those_that_succeeded() -> None:
    """However many were told."""
    rate = Exponential(base=60, factor=3.0, every=5, of="succeeded")
    played = Played(Rollout(one(100), rate))
    for _ in range(20):
        played.step(1)
    assert len(told(played.done)) == 20
    played.end(things(5))
    assert len(told(played.step(1))) == 3


def test_no_more_in_flight_than_may_be() -> None:
    """The next is told when one has ended, not when it has begun."""
    played = Played(Rollout(one(4), in_flight=2))
    assert told(played.step()) == ["t0", "t1"]
    played.say("t0", "IN_PROGRESS")
    assert played.step(10) == ()
    played.say("t0", "SUCCEEDED")
    assert told(played.step()) == ["t2"]


def test_groups_come_in_their_order() -> None:
    """The next when enough have succeeded; an empty one at once."""
    groups = Group("canary", ("c0", "c1"), 50.0), Group("none", ()), Group("rest", ("r0",))
    played = Played(Rollout(groups))
    assert told(played.step()) == ["c0", "c1"]
    played.say("c1", "SUCCEEDED")
    assert told(played.step()) == ["r0"]
    played.end(["r0"])
    assert played.step() == ()
    played.say("c0", "FAILED")
    assert played.step() == (Finish("succeeded"),)


def test_a_group_that_is_not_good_enough_pauses() -> None:
    """When all of it has ended; who resumes it goes on all the same, and it has failed."""
    played = Played(Rollout((Group("canary", ("c0", "c1"), 60.0), Group("rest", ("r0",)))))
    played.step()
    played.say("c0", "FAILED")
    assert played.state.phase == "running"
    played.say("c1", "SUCCEEDED")
    assert (played.state.phase, played.step(1000)) == ("paused", ())
    assert played.state.why == "1 of 2 in canary have succeeded, and 60 % must"
    played.tell(Resumed(played.now))
    assert told(played.step()) == ["r0"]
    played.say("r0", "SUCCEEDED")
    assert played.step() == (Finish("failed"),)


def test_whoever_paused_it_for_another_reason_has_not_passed_the_group() -> None:
    """A group that failed while it was paused stops it once it is resumed."""
    played = Played(Rollout((Group("canary", ("c0",)), Group("rest", ("r0",)))))
    played.step()
    played.tell(Paused(0.0, "lunch"))
    played.say("c0", "FAILED")
    assert (played.state.phase, played.state.why) == ("paused", "lunch")
    played.tell(Resumed(0.0))
    assert played.state.phase == "paused"
    assert "canary" in played.state.why
    played.tell(Resumed(0.0))
    assert told(played.step()) == ["r0"]


def test_while_it_is_paused_nobody_is_told() -> None:
    """Those who were are heard and timed out; then it goes on where it was."""
    played = Played(Rollout(one(6), in_flight=3, timeouts=Timeouts(execution=10.0)))
    played.step()
    played.tell(Paused(0.0))
    played.say("t0", "SUCCEEDED")
    assert played.step(5) == ()
    assert played.step(5) == (TimeOut("t1", 1), TimeOut("t2", 1))
    assert played.step(100) == ()
    played.tell(Resumed(played.now))
    assert told(played.step()) == ["t3", "t4", "t5"]


@pytest.mark.parametrize("failure", ["FAILED", "REJECTED", "TIMED_OUT"])
def test_a_stop_counts_its_kind_of_failure(failure: Status) -> None:
    """By percent of what was executed, from the least number on; others do not count."""
    stop = Stop(failure, percent=40.0, least=5)  # type: ignore[arg-type]
    played = Played(Rollout(one(10), in_flight=9, stops=(stop,)))
    played.step()
    other: Status = "REJECTED" if failure == "FAILED" else "FAILED"
    played.end(["t0", "t1"], failure)
    played.end(["t2", "t3"], other)
    assert not played.state.why
    played.say("t4", "SUCCEEDED")
    assert played.state.phase == "aborting"
    assert "40 % of 5" in played.state.why
    assert played.step() == (*(Cancel(f"t{number}", 1) for number in range(5, 9)), Finish("aborted"))
    assert played.state.ended["t9"] == "CANCELED"


def test_a_stop_below_its_percent_does_nothing() -> None:
    """One failure of three is less than 34 %, and more than 33 %."""
    for percent, phase in ((34.0, "running"), (33.0, "aborting")):
        played = Played(Rollout(one(4), stops=(Stop("ALL", percent, least=3),)))
        played.step()
        played.end(["t0", "t1"])
        played.say("t2", "REJECTED")
        assert played.state.phase == phase


def test_a_stop_that_pauses_counts_anew_when_resumed() -> None:
    """And what was told goes on meanwhile."""
    played = Played(Rollout(one(8), in_flight=2, stops=(Stop("ALL", 50.0, least=2, action="pause"),)))
    played.step()
    played.end(["t0", "t1"], "FAILED")
    assert (played.state.phase, played.step()) == ("paused", ())
    played.tell(Resumed(0.0))
    assert told(played.step()) == ["t2", "t3"]
    played.say("t2", "FAILED")
    assert told(played.step()) == ["t4"]
    played.say("t3", "FAILED")
    assert (played.state.phase, played.step()) == ("paused", ())


def test_an_execution_that_says_nothing_for_a_step_is_timed_out() -> None:
    """Each word gives it a step's time again; one that has not begun has no steps."""
    played = Played(Rollout(one(2), timeouts=Timeouts(step=10.0)))
    played.step()
    played.say("t0", "IN_PROGRESS")
    assert played.step(9) == ()
    played.say("t0", "IN_PROGRESS")
    assert played.step(9) == ()
    assert wake(played.spec, played.state) == 19.0
    assert played.step(1) == (TimeOut("t0", 1),)
    assert wake(played.spec, played.state) == NEVER


def test_an_execution_is_timed_out_however_often_it_speaks() -> None:
    """And whether it has begun or not."""
    played = Played(Rollout(one(2), timeouts=Timeouts(step=10.0, execution=15.0)))
    played.step()
    for _ in range(2):
        played.say("t0", "IN_PROGRESS")
        assert played.step(7) == ()
        played.say("t0", "IN_PROGRESS")
    assert played.step(1) == (TimeOut("t0", 1), TimeOut("t1", 1), Finish("failed"))


def test_a_rollout_has_its_time() -> None:
    """Then who was told is timed out, and nobody else is told, be it paused or not."""
    for pause in (False, True):
        played = Played(Rollout(one(3), in_flight=1, retries=3, timeouts=Timeouts(rollout=100.0)))
        played.step()
        if pause:
            played.tell(Paused(0.0))
        assert wake(played.spec, played.state) == 100.0
        assert played.step(100) == (TimeOut("t0", 1), Finish("aborted"))
        assert played.state.ended == {"t0": "TIMED_OUT", "t1": "CANCELED", "t2": "CANCELED"}
        assert "longer than 100 s" in played.state.why


def test_a_failure_is_tried_again() -> None:
    """As its next execution, after the others; not more often than may be, and not what was rejected."""
    played = Played(Rollout(one(3), in_flight=1, retries=1))
    played.step()
    played.say("t0", "FAILED")
    assert told(played.step()) == ["t1"]
    played.say("t1", "REJECTED")
    assert told(played.step()) == ["t2"]
    played.say("t2", "SUCCEEDED")
    assert played.step() == (Notify("t0", 2),)
    played.say("t0", "SUCCEEDED", number=1)  # the first one's, late
    assert played.step() == ()
    played.say("t0", "FAILED", number=2)
    assert played.step() == (Finish("failed"),)
    assert played.state.ended == {"t0": "FAILED", "t1": "REJECTED", "t2": "SUCCEEDED"}


def test_an_abort_lets_those_end_that_have_begun() -> None:
    """Who waits to try again has ended as he did; a second abort, with force, cancels all."""
    played = Played(Rollout((*one(4), Group("rest", ("r0",))), in_flight=3, retries=1))
    played.step()
    played.say("t0", "FAILED")
    played.say("t1", "IN_PROGRESS")
    played.tell(Aborted(0.0, why="a bad version"))
    assert (played.state.phase, played.state.why) == ("aborting", "a bad version")
    assert played.step() == (Cancel("t2", 1),)
    assert played.state.ended == {"t0": "FAILED", "t2": "CANCELED", "t3": "CANCELED", "r0": "CANCELED"}
    played.tell(Paused(0.0), Resumed(0.0))
    assert (played.state.phase, played.step(1e6)) == ("aborting", ())
    played.tell(Aborted(0.0, force=True))
    assert played.step() == (Cancel("t1", 1), Finish("aborted"))


def test_what_was_not_asked_for_changes_nothing() -> None:
    """Strangers, things that were not told, statuses that are none, words after an end."""
    played = Played(Rollout(one(2), in_flight=1))
    played.step()
    before = played.state
    played.say("stranger", "SUCCEEDED")
    played.say("t1", "SUCCEEDED")
    played.say("t0", "SUCCEEDED", number=2)
    played.say("t0", "QUEUED")
    assert played.state == before
    played.say("t0", "SUCCEEDED")
    played.say("t0", "FAILED")
    assert played.state.ended == {"t0": "SUCCEEDED"}


def test_time_does_not_go_back() -> None:
    """A controller whose clock is behind neither tells more nor forgets what was told."""
    played = Played(Rollout(one(3), Constant(60)))
    played.step(1000)
    assert played.step(-500) == ()
    assert told(played.step(501)) == ["t1"]


def test_what_was_given_is_not_changed() -> None:
    """A state that was kept is as it was, whatever was made of it."""
    spec = Rollout(one(3), in_flight=1)
    first = begin(spec, 0.0)
    kept = first.copy()
    second, _ = decide(spec, first, 0.0)
    assert first == kept
    kept = second.copy()
    observe(spec, second, (Changed(1.0, "t0", 1, "FAILED"), Aborted(2.0, force=True)))
    decide(spec, second, 5.0)
    assert second == kept
