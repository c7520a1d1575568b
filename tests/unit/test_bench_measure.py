"""Taking turns, with a clock that the test turns by hand."""

from __future__ import annotations

import gc
from collections.abc import Callable

import pytest

from edge_runtime.bench.measure import ROUNDS, Case, Samples, WarmUp, called, measure
from edge_runtime.errors import InputError

MILLISECOND = 1_000_000
NO_WARMUP = WarmUp(runs=1, seconds=0.0, settle_runs=1, settle_seconds=0.0)


class Machine:
    """A clock, and work that moves it; `log` is who ran, in order."""

    def __init__(self) -> None:
        self.now = 0
        self.log: list[str] = []

    def clock(self) -> int:
        return self.now

    def case(self, name: str, cost: int, *, fails_at: int | None = None) -> Case:
        """A case of this cost in nanoseconds, that raises at its n-th run."""

        def run() -> None:
            self.log.append(name)
            self.now += cost
            if fails_at is not None and self.log.count(name) == fails_at:
                raise RuntimeError("the engine gave up")

        return called(name, run, self.clock, lambda: 2 * self.now)

    def measure(self, *cases: Case, warmup: WarmUp = NO_WARMUP, seed: int = 0, **limits: float) -> list[Samples]:
        """`measure` on this clock; the processor is busy all the time, on two cores."""
        runs, seconds = int(limits.get("runs", 200)), limits.get("seconds", 2.0)
        return measure(cases, runs=runs, seconds=seconds, warmup=warmup, seed=seed)


def test_a_fast_case_stops_at_its_runs_and_a_slow_one_at_its_time() -> None:
    """200 runs of 1 ms are enough after 0.2 s; runs of 100 ms end after 2 s, with 20 of them."""
    fast, slow = (machine := Machine()).measure(machine.case("fast", MILLISECOND), machine.case("slow", 100 * MILLISECOND))
    assert (len(fast.values), set(fast.values)) == (200, {MILLISECOND})
    assert (len(slow.values), set(slow.values)) == (20, {100 * MILLISECOND})


def test_a_case_slower_than_the_time_limit_is_measured_once() -> None:
    """Ten seconds a run and two allowed: one run, not none."""
    [samples] = (machine := Machine()).measure(machine.case("glacier", 10_000 * MILLISECOND))
    assert samples.values == (10_000 * MILLISECOND,)


def test_cases_take_turns() -> None:
    """Both cases are in every round, so that whatever changes over time meets both."""
    a, b = (machine := Machine()).measure(machine.case("a", MILLISECOND), machine.case("b", 2 * MILLISECOND))
    assert len(a.rounds) == len(b.rounds) == ROUNDS
    assert all(a.rounds)
    assert all(b.rounds)
    switches = sum(one != other for one, other in zip(machine.log, machine.log[1:], strict=False))
    assert switches >= ROUNDS


def test_order_is_drawn_from_the_seed() -> None:
    """The same seed gives the same order, another one another; neither case always goes first."""

    def log(seed: int) -> list[str]:
        machine = Machine()
        machine.measure(machine.case("a", MILLISECOND), machine.case("b", MILLISECOND), seed=seed)
        return machine.log

    assert log(1) == log(1)
    assert len({tuple(log(seed)) for seed in range(5)}) > 1


def test_warm_up_and_settling_are_kept_apart() -> None:
    """A long first run is in the warm-up, the first run of each turn in the settling runs; neither is a value."""
    machine = Machine()

    def run() -> None:
        machine.now += MILLISECOND if machine.log else 500 * MILLISECOND
        machine.log.append("run")

    [samples] = machine.measure(
        called("compiles first", run, machine.clock, lambda: 2 * machine.now),
        warmup=WarmUp(runs=3, seconds=0.0, settle_seconds=0.0),
    )
    assert samples.warmup == (500 * MILLISECOND, MILLISECOND, MILLISECOND)
    assert len(samples.settling) == ROUNDS
    assert max(samples.values) == MILLISECOND
    assert len(machine.log) == len(samples.warmup) + len(samples.settling) + len(samples.values)


def test_warm_up_lasts_for_its_time() -> None:
    """Runs of 1 ms are warmed up until 50 ms have passed, not for three runs only."""
    [samples] = (machine := Machine()).measure(machine.case("a", MILLISECOND), warmup=WarmUp(runs=3, seconds=0.05))
    assert len(samples.warmup) == 50


def test_processor_time_is_a_mean_per_run() -> None:
    """On a machine that keeps two cores busy, a run of 1 ms costs 2 ms of processor time."""
    [samples] = (machine := Machine()).measure(machine.case("a", MILLISECOND))
    assert set(samples.cpu) == {2 * MILLISECOND}


@pytest.mark.parametrize("fails_at", [1, 100])
def test_a_case_that_raises_ends_alone(fails_at: int) -> None:
    """Its message is kept with the rounds before it; the other case is measured to the end."""
    machine = Machine()
    bad, good = machine.measure(machine.case("bad", MILLISECOND, fails_at=fails_at), machine.case("good", MILLISECOND))
    assert bad.error == "RuntimeError: the engine gave up"
    assert len(bad.values) < fails_at
    assert (good.error, len(good.values)) == (None, 200)


def test_a_clock_too_coarse_to_see_a_run_makes_no_endless_loop() -> None:
    """Runs that take no time at all are counted as one nanosecond each, and end."""
    [samples] = (machine := Machine()).measure(machine.case("nothing", 0))
    assert samples.values == (1,) * 200


def test_garbage_is_collected_between_rounds_only_and_as_before_afterwards() -> None:
    """The collector is off while a case runs, and on again at the end, whatever the case raised."""
    seen = set()

    def run() -> None:
        seen.add(gc.isenabled())
        raise ValueError

    assert gc.isenabled()
    measure([called("a", run)])
    assert seen == {False}
    assert gc.isenabled()


def test_stopping_by_hand_stops() -> None:
    """Ctrl-C is no case's error: it gets through, and the collector is on again."""

    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure([called("a", interrupted)])
    assert gc.isenabled()


def test_progress_grows_to_the_end() -> None:
    """What is told never goes back and ends at the total."""
    machine, told = Machine(), list[tuple[int, int]]()
    measure(
        [machine.case("a", MILLISECOND), machine.case("b", 300 * MILLISECOND)], warmup=NO_WARMUP,
        progress=lambda done, total: told.append((done, total)),
    )  # fmt: skip
    assert told == sorted(told)
    assert told[-1][0] == told[-1][1]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: measure([], runs=0),
        lambda: measure([], seconds=0.0),
        lambda: measure([], seconds=float("nan")),
        lambda: measure([called("a", int), called("a", int)]),
    ],
)
def test_limits_that_cannot_be_used_are_refused(wrong: Callable[[], object]) -> None:
    """No runs, no time, and two cases of one name are the caller's error."""
    with pytest.raises(InputError):
        wrong()


def test_nothing_to_measure_is_no_error() -> None:
    """No cases give no samples."""
    assert measure([]) == []
