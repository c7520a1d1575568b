"""Rollouts of every kind against a fleet that does what it likes: what holds whatever happens."""

from __future__ import annotations

from itertools import count

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cloud_bridge.fleet import log
from cloud_bridge.fleet.events import (
    Aborted,
    Began,
    Changed,
    Decided,
    Event,
    Finish,
    Notify,
    Paused,
    Resumed,
    TimeOut,
)
from cloud_bridge.fleet.rollout import begin, decide, observe, wake
from cloud_bridge.fleet.spec import Constant, Exponential, Group, Rollout, Stop, Timeouts, check
from cloud_bridge.protocol.fleet.jobs import TERMINAL

stops = st.builds(
    Stop, st.sampled_from(["FAILED", "REJECTED", "TIMED_OUT", "ALL"]), st.floats(1.0, 100.0), st.integers(1, 6),
    st.sampled_from(["cancel", "pause"]),
)  # fmt: skip
rates = st.one_of(
    st.none(), st.builds(Constant, st.integers(1, 400)),
    st.builds(
        Exponential, st.integers(1, 200), st.floats(1.1, 5.0), st.integers(1, 6), st.sampled_from(["notified", "succeeded"])
    ),
)  # fmt: skip
seconds = st.one_of(st.none(), st.floats(0.5, 200.0))


@st.composite
def rollouts(draw: st.DrawFn) -> Rollout:
    numbers = count()
    groups = tuple(
        Group(f"g{number}", tuple(f"t{next(numbers)}" for _ in range(size)), draw(st.floats(0.0, 100.0)))
        for number, size in enumerate(draw(st.lists(st.integers(0, 9), min_size=1, max_size=4)))
    )
    return Rollout(
        groups, draw(rates), draw(st.one_of(st.none(), st.integers(1, 5))), tuple(draw(st.lists(stops, max_size=2))),
        Timeouts(draw(seconds), draw(seconds), draw(seconds)), draw(st.integers(0, 2)),
    )  # fmt: skip


class Fleet(RuleBasedStateMachine):
    """One rollout. `flying` and `ended` are kept here, from the actions and from what things said, not from its state."""

    @initialize(spec=rollouts())
    def start(self, spec: Rollout) -> None:
        self.spec, self.now = check(spec), 1000.0
        self.state = begin(spec, self.now)
        self.lines: list[log.Line] = [Began(self.now, "job", spec)]
        self.flying: dict[str, int] = {}
        self.begun: set[str] = set()
        self.tries: dict[str, int] = {}
        self.forced = False
        self.told: list[tuple[float, int | None]] = []
        """When each was told, and the limit then."""
        self.succeeded: set[str] = set()
        self.closed = self.finished = False

    def hear(self, event: Event) -> None:
        self.lines.append(event)
        self.state = observe(self.spec, self.state, (event,))

    @rule(wait=st.one_of(st.just(0.0), st.floats(0.0, 3.0), st.floats(0.0, 100.0)))
    def tick(self, wait: float) -> None:
        """Some time passes; where nothing could happen nothing does."""
        self.decide()
        quiet, self.now = wake(self.spec, self.state), self.now + wait
        acted = self.decide()
        assert acted or self.now < quiet
        assert not (acted and self.now < quiet)

    def decide(self) -> bool:
        phase, before = self.state.phase, self.state.copy()
        self.state, actions = decide(self.spec, self.state, self.now)
        if not actions:
            assert self.state == before
            return False
        self.lines.append(Decided(self.now, actions))
        limit = self.spec.rate.limit(before.notified, len(self.succeeded)) if self.spec.rate else None
        for action in actions:
            assert not self.finished
            if isinstance(action, Finish):
                self.finished = True
            elif isinstance(action, Notify):
                assert phase == "running"
                assert action.thing not in self.flying
                assert action.number == self.tries.get(action.thing, 0) + 1 <= self.spec.retries + 1
                self.flying[action.thing] = self.tries[action.thing] = action.number
                self.told.append((self.now, limit))
            else:
                assert self.flying.pop(action.thing) == action.number
                stopped = self.state.phase in ("aborting", "aborted")
                assert isinstance(action, TimeOut) or (stopped and (self.forced or action.thing not in self.begun))
                self.begun.discard(action.thing)
        return True

    @precondition(lambda self: self.flying)
    @rule(
        data=st.data(), status=st.sampled_from(["IN_PROGRESS", "SUCCEEDED", "SUCCEEDED", "FAILED", "REJECTED", "REMOVED"])
    )
    def speak(self, data: st.DataObject, status: str) -> None:
        """A thing that was told says something."""
        thing = data.draw(st.sampled_from(sorted(self.flying)))
        if self.flying[thing] > 1:
            self.late(thing, self.flying[thing] - 1)
        self.hear(Changed(self.now, thing, self.flying[thing], status))  # type: ignore[arg-type]
        if status in TERMINAL:
            self.late(thing, self.flying.pop(thing))
            self.begun.discard(thing)
        else:
            self.begun.add(thing)
        if status == "SUCCEEDED":
            self.succeeded.add(thing)

    def late(self, thing: str, number: int) -> None:
        """Words of an execution that has ended: nothing comes of them."""
        before = self.state.copy()
        self.hear(Changed(self.now, thing, number, "REJECTED"))
        before.at = self.state.at
        assert self.state == before

    @rule(what=st.sampled_from([*4 * [Resumed], Paused]))
    def operate(self, what: type[Paused | Resumed]) -> None:
        """Somebody pauses it, or resumes it."""
        self.hear(what(self.now))
        assert what is Resumed or self.state.phase != "running"

    @precondition(lambda self: len(self.told) > 3)
    @rule(force=st.booleans())
    def abort(self, force: bool) -> None:
        """Somebody ends it."""
        self.hear(Aborted(self.now, force))
        self.forced |= force
        assert self.state.over or self.state.phase == "aborting"

    @invariant()
    def all_are_in_one_place(self) -> None:
        """Waiting, queued, in flight or ended: what it knows of its things is what they know."""
        state = self.state
        assert {thing: flight.number for thing, flight in state.flying.items()} == self.flying
        later = [thing for group in self.spec.groups[state.opened :] for thing in group.things]
        places = [*later, *state.queue, *state.flying, *state.ended]
        assert len(places) == len(set(places))
        assert set(places) == {thing for group in self.spec.groups for thing in group.things}
        assert {thing for thing, status in state.ended.items() if status == "SUCCEEDED"} == self.succeeded
        assert set(state.ended.values()) <= TERMINAL

    @invariant()
    def bounds_hold(self) -> None:
        """In flight, and in every window; who has stopped does not go on."""
        assert self.spec.in_flight is None or len(self.flying) <= self.spec.in_flight
        if self.told and (limit := self.told[-1][1]) is not None:
            end = self.told[-1][0]
            assert sum(end < at + 60.0 for at, _ in self.told) <= limit
            second = -(-limit // 60)
            assert sum(end < at + 60.0 * second / limit for at, _ in self.told) <= second
        closed = self.state.phase in ("aborting", "aborted")
        assert closed or not self.closed
        self.closed = closed

    def teardown(self) -> None:
        """Whatever happened, it comes to an end, and its log gives the same again."""
        if not hasattr(self, "spec"):
            return
        for _ in range(1000):
            if self.state.over:
                break
            self.hear(Resumed(self.now))
            self.decide()
            for thing, number in [*self.flying.items()]:
                del self.flying[thing]
                self.succeeded.add(thing)
                self.hear(Changed(self.now, thing, number, "SUCCEEDED"))
            self.decide()
            self.now = max(self.now, min(wake(self.spec, self.state), self.now + 60.0))
            self.bounds_hold()
        assert self.finished
        assert self.state.over
        assert self.state.ended.keys() == {thing for group in self.spec.groups for thing in group.things}
        assert sum(score.ended for score in self.state.scores) == len(self.state.ended)
        assert sum(score.succeeded for score in self.state.scores) == len(self.succeeded)
        assert log.replay(log.decode(log.encode(line), "here") for line in self.lines)[1] == self.state


Fleet.TestCase.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
TestRollouts = Fleet.TestCase
