"""Schedules, verdicts, and what a stall costs the queries behind it."""

from __future__ import annotations

import time

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.bench.drive import drive
from edge_runtime.bench.scenario_page import sections
from edge_runtime.bench.scenarios import (
    Burst,
    FixedRate,
    Judged,
    MultiStream,
    Offline,
    Scenario,
    ScenarioRun,
    Server,
    SingleStream,
    arrivals,
    judge,
)  # fmt: skip
from edge_runtime.errors import InputError

MS = 1_000_000


@given(st.floats(1.0, 1000.0), st.integers(0, 100))
def test_arrivals_at_a_server_are_random_and_come_from_the_seed(rate: float, seed: int) -> None:
    """Their mean distance is that of the rate; the same seed gives the same instants."""
    scenario = Server(rate=rate, latency=1.0, queries=2000, seed=seed)
    instants = arrivals(scenario)
    assert instants is not None
    assert instants == arrivals(scenario) == sorted(instants)
    assert np.mean(np.diff(instants)) == pytest.approx(1 / rate, rel=0.15)
    assert np.std(np.diff(instants)) == pytest.approx(1 / rate, rel=0.25)  # exponential: as wide as it is long


def test_other_arrivals() -> None:
    """A sensor's are even, bursts come in bursts, offline is all at once, and streams wait for their answers."""
    assert arrivals(FixedRate(rate=10.0, queries=3)) == [0.0, 0.1, 0.2]
    assert arrivals(Burst(size=2, gap=0.5, queries=5)) == [0.0, 0.0, 0.5, 0.5, 1.0]
    assert arrivals(Offline(queries=3)) == [0.0, 0.0, 0.0]
    assert arrivals(SingleStream()) is None
    assert arrivals(MultiStream()) is None
    long = arrivals(FixedRate(rate=10.0, queries=1, seconds=2.0))
    assert long is not None
    assert len(long) == 20


def _judged(scenario: Scenario, latencies: list[int], errors: tuple[str, ...] = ()) -> Judged:
    scheduled = list(range(0, len(latencies) * 10 * MS, 10 * MS))
    return judge(scenario, scheduled, [due + took for due, took in zip(scheduled, latencies, strict=True)], errors)


def test_a_run_is_valid_when_its_percentile_is_within_the_limit_and_sure() -> None:
    """500 queries of 1 ms are enough for p99 of 5 ms; with two slow ones they are too few; with ten it is over."""
    server = Server(rate=100.0, latency=0.005, queries=500)
    good = _judged(server, [MS] * 500)
    assert good.valid
    assert good.figure == pytest.approx(0.001)
    unsure = _judged(server, [MS] * 498 + [9 * MS] * 2)
    assert (unsure.valid, "838 are needed" in unsure.reasons[0]) == (False, True)
    over = _judged(server, [MS] * 490 + [9 * MS] * 10)
    assert (over.valid, over.reasons) == (False, ("p99 is 9.00 ms, over the limit of 5.00 ms.",))


def test_too_few_too_short_and_failed() -> None:
    """Each is a reason of its own."""
    assert _judged(SingleStream(queries=64), [MS] * 64).valid
    assert "64 are needed" in _judged(SingleStream(queries=20), [MS] * 20).reasons[0]
    assert "of at least 100" in _judged(Offline(queries=100), [MS] * 64).reasons[0]
    assert "It lasted" in _judged(SingleStream(queries=64, seconds=60.0), [MS] * 64).reasons[0]
    assert "1 queries failed: it broke" in _judged(SingleStream(queries=64), [MS] * 64, ("it broke",)).reasons[0]
    assert judge(SingleStream(), [], [], ()).reasons == ("No query was answered.",)


def test_a_stall_counts_for_every_query_behind_it() -> None:
    """A call of 20 ms, asked for a hundred times a second: each query waits 10 ms longer than the one before it."""
    driven = drive(lambda: time.sleep(0.02), FixedRate(rate=100.0, queries=40, latency=0.05))
    latencies = [end - due for due, end in zip(driven.scheduled, driven.ended, strict=True)]
    assert latencies[-1] > 300 * MS
    assert not driven.judged(FixedRate(rate=100.0, queries=40, latency=0.05)).valid


def test_driving_keeps_every_query_and_what_failed() -> None:
    """Several samples a query, several workers, a call that raises now and then."""
    calls: list[int] = []
    driven = drive(lambda: calls.append(1), MultiStream(queries=5, samples=3))
    assert (len(driven.ended), len(calls)) == (5, 15)
    many = drive(lambda: calls.append(1), Offline(queries=50), workers=4)
    assert len(many.ended) == 50

    def breaks() -> None:
        calls.append(1)
        if len(calls) % 2:
            raise RuntimeError("the engine gave up")

    broken = drive(breaks, FixedRate(rate=1000.0, queries=20))
    assert (len(broken.ended), len(broken.errors)) == (10, 10)
    assert "the engine gave up" in broken.judged(FixedRate(rate=1000.0, queries=20)).reasons[0]
    never = drive(lambda: 1 / 0, SingleStream(queries=3))
    assert not never.judged(SingleStream(queries=3)).valid


def test_a_run_survives_json_and_makes_a_section() -> None:
    """Every scenario is known again by its name; the page tells the verdict and why."""
    for scenario in (SingleStream(queries=9), Server(rate=10.0, latency=0.1), Burst(size=2, gap=1.0), Offline(queries=9)):
        judged = Judged(False, 0.01, ("It was too short.",))
        run = ScenarioRun(
            model="m", version="1", label="a way", scenario=scenario, scheduled=(0, MS), started=(0, MS),
            ended=(MS, 3 * MS), judged=judged, loadgen=Judged(True, 0.02),
        )  # fmt: skip
        assert msgspec.json.decode(msgspec.json.encode(run), type=ScenarioRun) == run
        assert run.latencies == (MS, 2 * MS)
        [section] = sections([run])
        assert "It was too short." in str(section.blocks)
        assert "INVALID" in str(run)
        assert "LoadGen: VALID" in str(run)
    assert sections([]) == ()


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_bad_numbers_are_refused(value: float) -> None:
    """A rate, a limit, a gap; no queries; a percentile that is none."""
    for make in (
        lambda: Server(rate=value, latency=1.0), lambda: Server(rate=1.0, latency=value), lambda: FixedRate(rate=value),
        lambda: Burst(size=1, gap=value),
    ):  # fmt: skip
        with pytest.raises(InputError, match="above zero"):
            make()
    with pytest.raises(InputError):
        SingleStream(queries=0)
    with pytest.raises(InputError, match="percentile"):
        SingleStream(percentile=value)
    with pytest.raises(InputError):
        Burst(size=0, gap=1.0)
