"""The gate, on simulated machines whose speed wanders: false alarms stay under the limit, and regressions are found."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from edge_runtime.bench.between import ratio_between, starts_of, student
from edge_runtime.bench.gate import ALARM, gate
from edge_runtime.errors import InputError
from tests.reports import entry, failed, report, simulated

NET = {"onnx": 1e-3, "openvino": 2e-3, "tflite": 0.5e-3}
TRIALS = 150


def _failures(
    trials: int, slower: float = 1.0, *, limit: float = 0.05, starts: int = 1, between: float = 0.02, speed: float = 1.3
) -> float:
    """The share of simulated gates that fail, where one of three candidates really became this much slower."""
    random = np.random.default_rng(0)
    count = 0
    for _ in range(trials):
        before = simulated(NET, random, starts=starts, between=between)
        changed = {**NET, "openvino": NET["openvino"] * slower}
        after = simulated(changed, random, speed=random.uniform(1 / speed, speed), starts=starts, between=between)
        count += not gate(before, after, limit, deals=0).passed
    return count / trials


def test_nothing_changed_is_no_alarm_though_the_machine_did() -> None:
    """Clocks up to 1.3 times faster or slower that drift, processes that differ by 2 %: 2 % of the gates at most."""
    assert _failures(TRIALS) <= 0.02


def test_no_alarm_where_nothing_is_allowed() -> None:
    """Even a limit of 0 % keeps the promised rate: it is the noise that is bounded, not the limit that hides it."""
    assert _failures(TRIALS, limit=0.0) <= 2 * ALARM


@pytest.mark.parametrize("between", [0.04, 0.06])
def test_processes_that_differ_widely_are_seen_in_repetitions(between: float) -> None:
    """More than is assumed: three processes each show it, and the interval grows by it."""
    assert _failures(TRIALS, starts=3, between=between) <= 0.02


def test_a_real_regression_is_found() -> None:
    """Half as slow again is found every time from one process each; a quarter from three."""
    assert _failures(30, 1.5) == 1.0
    assert _failures(30, 1.25, starts=3) >= 0.9


def test_a_regression_inside_the_limit_passes() -> None:
    """Ten percent slower is fine where twenty are allowed."""
    assert _failures(30, 1.1, limit=0.2) == 0.0


def test_a_report_passes_beside_itself() -> None:
    """Nothing fails, no row is sure of a change, and how it was decided is said."""
    same = simulated(NET, np.random.default_rng(0))
    found = gate(same, same, 0.05)
    assert found.passed
    assert {row.verdict for row in found.comparison.rows} == {"inconclusive"}
    assert f"{found.alarms} of {found.deals} such gates failed" in found.how
    assert found.alarms <= 2
    assert "0.33% for each of 3 rows" in found.how


def test_what_ran_before_and_fails_now_is_a_failure() -> None:
    """Whatever the noise: an error is no noise. What failed before and fails now is not."""
    before = report(entry("onnx"), failed("tflite", "no such op"))
    found = gate(before, report(failed("onnx", "it crashed"), failed("tflite", "no such op")), 0.05)
    assert not found.passed
    assert "it crashed" in found.failures[0]
    assert gate(before, before, 0.05).passed


def test_a_failure_says_by_how_much() -> None:
    """The row, the ratio, the end that decided, and what was allowed."""
    random = np.random.default_rng(0)
    found = gate(simulated(NET, random), simulated({**NET, "tflite": 1.5e-3}, random), 0.05)
    assert len(found.failures) == 1
    assert found.failures[0].startswith("net tflite fp32: 2.98 times as long")
    assert "1.05 is allowed" in found.failures[0]


def test_more_rows_are_held_to_more_confidence() -> None:
    """The chance of one false alarm among many is what is bounded: each row's share of it shrinks."""
    few, many = (
        gate(found, found, 0.05, deals=0)
        for found in (simulated({f"b{i}": 1e-3 for i in range(n)}, np.random.default_rng(0)) for n in (2, 20))
    )
    assert (1 - many.confidence) * 20 == pytest.approx((1 - few.confidence) * 2) == pytest.approx(ALARM)


def test_reports_with_nothing_in_common_are_refused() -> None:
    """A gate that compares nothing must not pass."""
    with pytest.raises(InputError, match="nothing in common"):
        gate(report(entry("onnx")), report(msgspec.structs.replace(entry("onnx"), model="other")), 0.05)


def test_too_few_rounds_decide_nothing() -> None:
    """Four rounds have no interval: however slow, that is no proof."""
    found = gate(report(entry("onnx", rounds=4)), report(entry("onnx", 90e-3, rounds=4)), 0.05)
    assert found.passed
    assert found.rows[0].ratio.low is None


def test_one_bad_round_decides_nothing() -> None:
    """A second in which the machine stood still is in the interval, not in the verdict."""
    steady = starts_of([[1.0, 1.01, 0.99, 1.0, 1.02, 0.98, 1.0, 1.01, 0.99, 1.0]])
    bumped = starts_of([[1.0, 1.01, 0.99, 1.0, 9.0, 0.98, 1.0, 1.01, 0.99, 1.0]])
    assert not ratio_between(steady, bumped).decided
    assert ratio_between(steady, bumped).value == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize(
    ("probability", "freedom", "right"), [(0.975, 10, 2.2281), (0.995, 14, 2.9768), (0.9995, 10, 4.587)]
)
def test_students_quantiles_are_right(probability: float, freedom: int, right: float) -> None:
    """Against the tables."""
    assert student(probability, freedom) == pytest.approx(right, rel=0.005)
