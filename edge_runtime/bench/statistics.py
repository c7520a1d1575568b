"""What samples of latency say, and how sure that is. Pure: numbers in, values out.

A percentile is the nearest rank: the smallest sample that at least that share of all samples does not exceed, so it is
always a latency that was really seen. Its interval is distribution-free: the samples below the true percentile are
binomially distributed, which gives two order statistics that enclose it with at least 95 % confidence whatever the shape
of the distribution (Hahn and Meeker, Statistical Intervals, chapter 5). It takes the samples as independent; `doubts`
says where they visibly are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import ceil, log
from typing import Annotated

import msgspec
import numpy as np
import numpy.typing as npt

SHARES = (0.50, 0.90, 0.95, 0.99)
CONFIDENCE = 0.95
MIN_ROUNDS = 5
"""Rounds that a ratio needs before its interval means anything."""

_BOOTSTRAP = 10_000
"""Samples of each case that a resample draws from, about; with more, an interval gets no better and takes long."""

Values = npt.NDArray[np.float64]


class Percentile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One percentile in the unit of the samples. `low` and `high` enclose it with 95 % confidence; both are None where the
    sample is smaller than `needed(share)`."""

    share: float
    value: Annotated[float, msgspec.Meta(gt=0.0)]
    low: float | None
    high: float | None


class Ratio(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Median over median, with its 95 % interval; None and None from fewer than five rounds."""

    value: float
    low: float | None
    high: float | None

    @property
    def decided(self) -> bool:
        """Whether the interval excludes 1, so that one of the two is faster beyond the noise that was seen."""
        return self.low is not None and self.high is not None and not self.low <= 1.0 <= self.high


def percentiles(values: Sequence[float] | Values, shares: Sequence[float] = SHARES) -> tuple[Percentile, ...]:
    """The percentiles of at least one sample, each with its interval."""
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    count = len(ordered)
    found = []
    for share in shares:
        ranks = interval_ranks(count, share)
        low, high = (None, None) if ranks is None else (float(ordered[ranks[0] - 1]), float(ordered[ranks[1] - 1]))
        found.append(Percentile(share, float(ordered[rank(count, share) - 1]), low, high))
    return tuple(found)


def rank(count: int, share: float) -> int:
    """The nearest rank (from 1) of a percentile in `count` sorted samples."""
    return min(count, max(1, ceil(count * share - 1e-9)))


def needed(share: float, confidence: float = CONFIDENCE) -> int:
    """How many samples a percentile's two-sided interval takes: with fewer, not even the extremes enclose it surely."""
    tail = (1.0 - confidence) / 2
    return ceil(log(tail) / log(max(share, 1.0 - share)))


@lru_cache(maxsize=256)
def interval_ranks(count: int, share: float, confidence: float = CONFIDENCE) -> tuple[int, int] | None:
    """The ranks (from 1) of the two order statistics that enclose a percentile, each tail at most (1 - confidence) / 2."""
    tail = (1.0 - confidence) / 2
    k = np.arange(1, count + 1)
    log_choose = np.concatenate(([0.0], np.cumsum(np.log((count - k + 1) / k))))
    below = np.arange(count + 1)
    mass = np.exp(log_choose + below * log(share) + (count - below) * log(1.0 - share))
    at_most = np.cumsum(mass)  # P(at most k samples lie below the true percentile), k = 0..count
    low = int(np.searchsorted(at_most, tail, side="right"))  # the largest l with P(fewer than l) <= tail
    high = int(np.searchsorted(at_most, 1.0 - tail)) + 1  # the smallest u with P(at least u) <= tail
    return None if low < 1 or high > count else (low, high)


def ratio_of_medians(
    numerator: Sequence[Sequence[float]], denominator: Sequence[Sequence[float]], *, seed: int = 0, resamples: int = 1000
) -> Ratio:
    """Median of one case over median of another that was measured in the same rounds.

    Round i of both ran side by side, so a slow minute of the machine is in both. The interval is a bootstrap over whole
    rounds, both cases together: what is shared cancels, and the correlation inside a round is kept.
    """
    if len(numerator) != len(denominator):
        raise ValueError(f"{len(numerator)} rounds against {len(denominator)}: only rounds measured side by side compare")
    pairs = [(np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64))
             for a, b in zip(numerator, denominator, strict=True) if len(a) and len(b)]  # fmt: skip
    if not pairs:
        raise ValueError("no round has samples of both cases")
    value = _median([a for a, _ in pairs]) / _median([b for _, b in pairs])
    if len(pairs) < MIN_ROUNDS:
        return Ratio(value, None, None)
    pairs = list(zip(_thinned([a for a, _ in pairs]), _thinned([b for _, b in pairs]), strict=True))
    draws = np.random.default_rng(seed).integers(len(pairs), size=(resamples, len(pairs)))
    ratios = [_median([pairs[i][0] for i in draw]) / _median([pairs[i][1] for i in draw]) for draw in draws]
    low, high = np.quantile(ratios, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Ratio(value, min(value, float(low)), max(value, float(high)))


def paired_ratio(
    numerator: Sequence[float], denominator: Sequence[float], *, seed: int = 0, resamples: int = 2000
) -> Ratio:
    """The median of the ratios of figures that were taken in pairs, one right after the other: what drifts from pair to
    pair cancels in each. The interval is a bootstrap over pairs."""
    if len(numerator) != len(denominator) or not len(numerator):
        raise ValueError(f"{len(numerator)} figures against {len(denominator)}: only pairs compare")
    ratios = np.divide(np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64))
    value = float(np.median(ratios))
    if len(ratios) < MIN_ROUNDS:
        return Ratio(value, None, None)
    draws = np.random.default_rng(seed).choice(ratios, (resamples, len(ratios)))
    low, high = np.quantile(np.median(draws, axis=1), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Ratio(value, min(value, float(low)), max(value, float(high)))


def doubts(values: Sequence[float] | Values) -> tuple[str, ...]:
    """What speaks against trusting these samples (in the order in which they were taken), each as one sentence."""
    samples = np.asarray(values, dtype=np.float64)
    count = len(samples)
    found = []
    unsure = [share for share in SHARES if count < needed(share)]
    if unsure:
        names = " and ".join(f"p{share * 100:g} (needs {needed(share)})" for share in unsure)
        found.append(f"{count} runs are too few for a confidence interval of {names}.")
    if count < 2:
        return tuple(found)
    spread = float(samples.std(ddof=1) / samples.mean())
    if spread > 0.10:
        found.append(f"The standard deviation is {spread * 100:.0f} % of the mean; 10 % or less is steady.")
    first, second = _median([samples[: count // 2]]), _median([samples[count // 2 :]])
    drift = second / first - 1.0
    if abs(drift) > 0.05:
        found.append(
            f"The second half is {abs(drift) * 100:.0f} % {'slower' if drift > 0 else 'faster'} than the first: it drifts."
        )
    middle = _median([samples])
    if samples.max() > 10 * middle:
        found.append(f"The slowest run took {samples.max() / middle:.0f} times the median: something else ran meanwhile.")
    return tuple(found)


def _thinned(parts: Sequence[Values]) -> list[Values]:
    """Every n-th order statistic of each round, by one step for all rounds so that each keeps its weight."""
    step = max(1, sum(map(len, parts)) // _BOOTSTRAP)
    return [np.sort(part)[min(step, len(part)) // 2 :: step] for part in parts]


def _median(parts: Sequence[Values]) -> float:
    """The nearest-rank median, so that a ratio is the ratio of the medians that a report shows."""
    values = np.concatenate(parts)
    index = rank(len(values), 0.5) - 1
    return float(np.partition(values, index)[index])
