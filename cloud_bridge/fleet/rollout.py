"""What a rollout does next. Pure: no I/O, no clock; values in, values out.

The rules:
- a thing is in one place at any time: in a group that is not open yet, in the queue, in flight, or ended;
- groups open in their order: the next one when enough of the last have succeeded; when all of that ended and it was not
  enough, the rollout pauses, and goes on when it is resumed;
- who is in the queue is told in order, never past the rate, nor past what may be in flight;
- a failure that may be retried puts its thing at the end of the queue again, as its next execution;
- after every end the stops are looked at; a stop that cancels is an abort without force;
- an abort ends at once whom nobody told, then cancels who has not begun (with force: all), and waits for the others;
- time never goes back: an instant before the last one counts as that.

A state is a value: no function changes one that it was given.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cloud_bridge.fleet.events import (
    Aborted,
    Action,
    Cancel,
    Changed,
    Event,
    Finish,
    Notify,
    Outcome,
    Paused,
    TimeOut,
)
from cloud_bridge.fleet.rate import MINUTE, opens, room
from cloud_bridge.fleet.spec import EXECUTED, Rollout, Stop
from cloud_bridge.fleet.state import NEVER, Flight, Score, State
from cloud_bridge.protocol.fleet.jobs import TERMINAL
from cloud_bridge.protocol.fleet.jobs import State as Status


def begin(spec: Rollout, now: float) -> State:
    """A rollout of which nobody was told yet."""
    groups = {thing: number for number, group in enumerate(spec.groups) for thing in group.things}
    state = State(now, now, groups, [Score() for _ in spec.groups])
    _open(spec, state)
    _judge(spec, state)
    return state


def observe(spec: Rollout, state: State, events: Iterable[Event]) -> State:
    """What is known after these events. What no thing in flight can have said (an older execution's words, words after an
    end) changes nothing."""
    state = state.copy()
    for event in events:
        if not state.over:
            state.at = max(state.at, event.at)
            _observe(spec, state, event)
    return state


def decide(spec: Rollout, state: State, now: float) -> tuple[State, tuple[Action, ...]]:
    """What is to be done now, and what is known once it is done. Where that is nothing the state is the same one."""
    if state.over:
        return state, ()
    after = state.copy()
    after.at = max(after.at, now)
    actions = [*_time_out(spec, after), *_cancel(after), *_notify(spec, after)]
    if not after.flying and not after.queue and after.opened == len(spec.groups):
        after.phase = _outcome(spec, after)
        actions.append(Finish(after.phase))
    return (after, tuple(actions)) if actions else (state, ())


def wake(spec: Rollout, state: State) -> float:
    """The first instant at which time alone gives `decide`, which has just been asked, something to do."""
    if state.over:
        return NEVER
    instants = [_due(spec, flight) for flight in state.flying.values()] if _timed(spec) else []
    if spec.timeouts.rollout is not None:
        instants.append(state.began + spec.timeouts.rollout)
    if state.phase == "running" and state.queue and _seats(spec, state):
        limit = _limit(spec, state)
        instants.append(state.at if limit is None else opens(limit, state.recent, state.at))
    return min(instants, default=NEVER)


def _observe(spec: Rollout, state: State, event: Event) -> None:
    if isinstance(event, Changed):
        _changed(spec, state, event)
    elif isinstance(event, Aborted):
        state.force = state.force or event.force
        _abort(state, event.why or "an operator has stopped it")
    elif state.phase == "aborting":
        pass  # nothing brings it back
    elif isinstance(event, Paused):
        if state.phase == "running":
            state.phase, state.why = "paused", event.why or "an operator has paused it"
    elif state.phase == "paused":
        _resume(spec, state)


def _changed(spec: Rollout, state: State, event: Changed) -> None:
    flight = state.flying.get(event.thing)
    if flight is None or flight.number != event.number:
        return
    if event.status in TERMINAL:
        _end(spec, state, event.thing, event.status)
    elif event.status == "IN_PROGRESS":
        state.flying[event.thing] = Flight(flight.number, event.status, flight.since, state.at)


def _resume(spec: Rollout, state: State) -> None:
    gated, state.phase, state.why, state.gated, state.tally = state.gated, "running", "", False, {}
    if gated:
        _open(spec, state)
    _judge(spec, state)


def _abort(state: State, why: str) -> None:
    """Nobody else is told. Who was to try again has ended as he did."""
    if state.phase != "aborting":
        state.phase, state.why, state.gated = "aborting", why, False
    for thing in state.queue:
        _settle(state, thing, state.failed.pop(thing, (0, "CANCELED"))[1])
    for thing, group in state.groups.items() if state.opened < len(state.scores) else ():
        if group >= state.opened:
            _settle(state, thing, "CANCELED")
    state.queue, state.opened = [], len(state.scores)


def _end(spec: Rollout, state: State, thing: str, status: Status) -> None:
    """An execution has ended; and its thing with it, or it is to try again."""
    flight = state.flying.pop(thing)
    if status in EXECUTED:
        state.tally[status] = state.tally.get(status, 0) + 1
    if status in ("FAILED", "TIMED_OUT") and flight.number <= spec.retries and state.phase != "aborting":
        state.queue.append(thing)
        state.failed[thing] = flight.number, status
    else:
        _settle(state, thing, status)
    _judge(spec, state)


def _settle(state: State, thing: str, status: Status) -> None:
    state.ended[thing] = status
    won = status == "SUCCEEDED"
    state.succeeded += won
    group = state.groups[thing]
    score = state.scores[group]
    state.scores[group] = Score(score.ended + 1, score.succeeded + won)


def _judge(spec: Rollout, state: State) -> None:
    """Stop, open the next group, or pause before it."""
    executed = sum(state.tally.values())
    for stop in spec.stops:
        if _stops(stop, state, executed):
            why = f"{stop.percent:g} % of {executed} executions have ended as {stop.failure.replace('ALL', 'a failure')}"
            if stop.action == "cancel":
                _abort(state, why)
            elif state.phase == "running":
                state.phase, state.why = "paused", f"{why}, or more"
    while state.phase == "running" and state.opened < len(spec.groups):
        group, score = spec.groups[state.opened - 1], state.scores[state.opened - 1]
        if group.reached(score.succeeded):
            _open(spec, state)
        elif score.ended == len(group.things):
            state.phase, state.gated = "paused", True
            state.why = f"{score.succeeded} of {score.ended} in {group.name} have succeeded, and {group.success:g} % must"
        else:
            break


def _stops(stop: Stop, state: State, executed: int) -> bool:
    if state.phase == "aborting" or executed < stop.least:
        return False
    failures = executed - state.tally.get("SUCCEEDED", 0) if stop.failure == "ALL" else state.tally.get(stop.failure, 0)
    return 100.0 * failures >= stop.percent * executed


def _open(spec: Rollout, state: State) -> None:
    state.queue += spec.groups[state.opened].things
    state.opened += 1


def _time_out(spec: Rollout, state: State) -> Iterator[Action]:
    whole = spec.timeouts.rollout
    if over := whole is not None and state.at >= state.began + whole:
        _abort(state, f"it has taken longer than {whole:g} s")
    for thing, flight in [*state.flying.items()] if over or _timed(spec) else ():
        if over or _due(spec, flight) <= state.at:
            _end(spec, state, thing, "TIMED_OUT")
            yield TimeOut(thing, flight.number)


def _timed(spec: Rollout) -> bool:
    """Whether an execution's time can be over before the rollout's."""
    return spec.timeouts.execution is not None or spec.timeouts.step is not None


def _due(spec: Rollout, flight: Flight) -> float:
    """When an execution's time is over."""
    due = NEVER if spec.timeouts.execution is None else flight.since + spec.timeouts.execution
    if flight.status == "IN_PROGRESS" and spec.timeouts.step is not None:
        due = min(due, flight.heard + spec.timeouts.step)
    return due


def _cancel(state: State) -> Iterator[Action]:
    if state.phase != "aborting":
        return
    for thing, flight in [*state.flying.items()]:
        if state.force or flight.status == "QUEUED":
            del state.flying[thing]
            _settle(state, thing, "CANCELED")
            yield Cancel(thing, flight.number)


def _notify(spec: Rollout, state: State) -> Iterator[Action]:
    if state.phase != "running":
        return
    count, limit = min(len(state.queue), _seats(spec, state)), _limit(spec, state)
    if limit is not None:
        count = min(count, room(limit, state.recent, state.at))
    if not count:
        return
    told, state.queue = state.queue[:count], state.queue[count:]
    for thing in told:
        number = state.failed.pop(thing, (0, "QUEUED"))[0] + 1
        state.flying[thing] = Flight(number, "QUEUED", state.at, state.at)
        yield Notify(thing, number)
    state.notified += count
    state.recent = [(at, n) for at, n in state.recent if state.at < at + MINUTE]
    state.recent.append((state.at, count))


def _seats(spec: Rollout, state: State) -> int:
    """How many more may be in flight."""
    return len(state.queue) if spec.in_flight is None else max(0, spec.in_flight - len(state.flying))


def _limit(spec: Rollout, state: State) -> int | None:
    return None if spec.rate is None else spec.rate.limit(state.notified, state.succeeded)


def _outcome(spec: Rollout, state: State) -> Outcome:
    if state.phase == "aborting":
        return "aborted"
    good = all(group.reached(score.succeeded) for group, score in zip(spec.groups, state.scores, strict=True))
    return "succeeded" if good else "failed"
