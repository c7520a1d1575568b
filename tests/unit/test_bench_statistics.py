"""Percentiles, intervals, ratios and doubts: against properties that hold for every sample, and against known answers."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.bench.statistics import (
    MIN_ROUNDS,
    SHARES,
    doubts,
    interval_ranks,
    needed,
    paired_ratio,
    percentiles,
    rank,
    ratio_of_medians,
)

LATENCIES = st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=500)


@given(LATENCIES)
def test_percentiles_are_samples_in_order_inside_their_intervals(values: list[float]) -> None:
    """Each percentile was really measured, none is below the one before, and each lies in its own interval."""
    found = percentiles(values)
    assert [p.share for p in found] == list(SHARES)
    assert all(p.value in values for p in found)
    assert [p.value for p in found] == sorted(p.value for p in found)
    for p in found:
        if p.low is not None and p.high is not None:
            assert min(values) <= p.low <= p.value <= p.high <= max(values)


@given(LATENCIES, st.randoms())
def test_percentiles_do_not_depend_on_order(values: list[float], random: np.random.Generator) -> None:
    """A shuffled sample has the same percentiles."""
    shuffled = list(values)
    random.shuffle(shuffled)
    assert percentiles(shuffled) == percentiles(values)


@given(LATENCIES, st.sampled_from([0.25, 2.0, 1024.0]))
def test_percentiles_scale_with_the_sample(values: list[float], factor: float) -> None:
    """In another unit they are the same figures in that unit (powers of two, so that rounding cannot differ)."""
    plain, scaled = percentiles(values), percentiles([value * factor for value in values])
    assert [p.value * factor for p in plain] == [p.value for p in scaled]
    assert [None if p.low is None else p.low * factor for p in plain] == [p.low for p in scaled]


def test_nearest_ranks() -> None:
    """The smallest sample that at least that share of all does not exceed."""
    assert [rank(count, 0.5) for count in (1, 2, 3, 4, 100)] == [1, 1, 2, 2, 50]
    assert [rank(100, share) for share in SHARES] == [50, 90, 95, 99]
    assert rank(10, 0.99) == 10


@pytest.mark.parametrize(("share", "runs"), [(0.5, 6), (0.9, 36), (0.95, 72), (0.99, 368)])
def test_samples_needed(share: float, runs: int) -> None:
    """With as many samples as are said to be needed there is an interval, with one less there is none."""
    assert needed(share) == runs
    assert interval_ranks(runs, share) is not None
    assert interval_ranks(runs - 1, share) is None


@given(st.integers(1, 400), st.sampled_from(SHARES))
def test_interval_is_the_narrowest_that_keeps_its_promise(count: int, share: float) -> None:
    """Against binomial sums with exact coefficients: both tails hold at most 2.5 %, and one rank further in is too much."""
    mass = [comb(count, k) * share**k * (1 - share) ** (count - k) for k in range(count + 1)]
    ranks = interval_ranks(count, share)
    if ranks is None:
        assert mass[0] > 0.025 or mass[count] > 0.025
        return
    low, high = ranks
    assert 1 <= low <= high <= count
    assert sum(mass[:low]) <= 0.025 + 1e-9 < sum(mass[: low + 1]) + 2e-9
    assert sum(mass[high:]) <= 0.025 + 1e-9 < sum(mass[high - 1 :]) + 2e-9


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    """Of 600 lognormal samples, at least 93 % of the 95 % intervals enclose the true percentile."""
    random = np.random.default_rng(7)
    samples = random.lognormal(size=(600, 400))
    for share, truth in ((0.5, 1.0), (0.9, np.exp(1.2815515655)), (0.99, np.exp(2.3263478740))):
        found = [percentiles(sample, (share,))[0] for sample in samples]
        covered = [p.low is not None and p.high is not None and p.low <= truth <= p.high for p in found]
        assert np.mean(covered) >= 0.93


def _rounds(random: np.random.Generator, scale: float, drift: np.ndarray) -> list[list[float]]:
    return [list(scale * slow * random.lognormal(sigma=0.05, size=20)) for slow in drift]


def test_ratio_sees_through_drift_that_both_share() -> None:
    """The machine slows to a third of its speed over the rounds; two cases 10 % apart are still told apart, and rightly."""
    random = np.random.default_rng(1)
    drift = np.linspace(1.0, 3.0, 10)
    ratio = ratio_of_medians(_rounds(random, 1.1, drift), _rounds(random, 1.0, drift))
    assert ratio.low is not None
    assert ratio.high is not None
    assert ratio.low <= ratio.value <= ratio.high
    assert ratio.low <= 1.1 <= ratio.high


def test_ratio_of_equals_is_not_decided() -> None:
    """Two samples of one distribution are seldom called different: at most 12 of 100 times."""
    random = np.random.default_rng(2)
    flat = np.ones(10)
    wrong = [
        ratio_of_medians(_rounds(random, 1, flat), _rounds(random, 1, flat), resamples=200).decided for _ in range(100)
    ]
    assert sum(wrong) <= 12


def test_ratio_is_the_ratio_of_the_medians_that_are_shown() -> None:
    """It agrees with the p50 of both, gives the same interval again, and turns around with its cases."""
    random = np.random.default_rng(3)
    a, b = _rounds(random, 2.0, np.ones(10)), _rounds(random, 1.0, np.ones(10))
    flat = [percentiles(np.concatenate(rounds), (0.5,))[0].value for rounds in (a, b)]
    ratio = ratio_of_medians(a, b)
    assert ratio.value == pytest.approx(flat[0] / flat[1])
    assert ratio == ratio_of_medians(a, b)
    assert ratio.decided
    assert ratio_of_medians(b, a).value == pytest.approx(1 / ratio.value)


def test_ratio_of_few_rounds_has_no_interval() -> None:
    """Four rounds give a figure without an interval, and no verdict."""
    rounds = [[1.0, 2.0]] * (MIN_ROUNDS - 1)
    ratio = ratio_of_medians(rounds, rounds)
    assert (ratio.value, ratio.low, ratio.high, ratio.decided) == (1.0, None, None, False)


def test_ratio_refuses_rounds_that_were_not_side_by_side() -> None:
    """A different number of rounds, or no round with both, is an error and no figure."""
    with pytest.raises(ValueError, match="2 rounds against 1"):
        ratio_of_medians([[1.0], [1.0]], [[1.0]])
    with pytest.raises(ValueError, match="no round"):
        ratio_of_medians([[1.0], []], [[], [1.0]])


def test_ratio_of_many_samples_keeps_each_rounds_weight() -> None:
    """Thinning a million samples for the bootstrap leaves the interval around the figure."""
    random = np.random.default_rng(4)
    a = [list(random.normal(3.0, 0.1, 50_000)) for _ in range(8)]
    b = [list(random.normal(1.0, 0.1, 500)) for _ in range(8)]
    ratio = ratio_of_medians(a, b, resamples=200)
    assert ratio.low is not None
    assert ratio.high is not None
    assert 2.9 < ratio.low <= ratio.value <= ratio.high < 3.1


def test_steady_samples_raise_no_doubt() -> None:
    """Four hundred runs around one value are trusted."""
    assert doubts(np.random.default_rng(5).normal(1.0, 0.02, 400)) == ()


def test_each_doubt_names_what_it_saw() -> None:
    """Too few runs, spread, drift either way, and an outlier are each told in a sentence with the figure."""
    steady = np.ones(400)
    assert doubts(steady[:100]) == ("100 runs are too few for a confidence interval of p99 (needs 368).",)
    assert "p50 (needs 6) and p90 (needs 36)" in doubts(steady[:3])[0]
    assert "The second half is 20 % slower" in " ".join(doubts(np.repeat([1.0, 1.2], 200)))
    assert "The second half is 20 % faster" in " ".join(doubts(np.repeat([1.0, 0.8], 200)))
    outlier = " ".join(doubts(np.append(steady, 50.0)))
    assert "standard deviation" in outlier
    assert "50 times the median" in outlier


@given(LATENCIES)
def test_doubts_are_sentences(values: list[float]) -> None:
    """Whatever was measured, a doubt reads as a sentence."""
    assert all(doubt.endswith(".") and "nan" not in doubt for doubt in doubts(values))


def test_a_paired_ratio_cancels_what_drifts_from_pair_to_pair() -> None:
    """The machine doubles its time from pair to pair; the ratio stays, and so does its interval."""
    drift = [2.0**i for i in range(10)]
    ratio = paired_ratio([3.0 * d for d in drift], [2.0 * d for d in drift])
    assert (ratio.value, ratio.low, ratio.high) == (1.5, 1.5, 1.5)
    assert paired_ratio([3.0], [2.0]).low is None
    with pytest.raises(ValueError, match="only pairs"):
        paired_ratio([1.0], [])
