"""How much one report's figure differs from another's, and how sure that is. Pure: figures in, a ratio out.

Two runs of the same thing minutes apart, in processes of their own, differ by more than the rounds inside either of them
show: memory lies elsewhere, threads sit on other cores, a neighbour came or went. So an interval has two parts. What the
rounds show is a bootstrap over the rounds of each process. What lies between processes begins as an assumption: a process
may be off by as much as one of its rounds is, and by `BETWEEN` more (measured: three small nets on a shared two-core
machine, 90 runs each, were off by 4, 7 and 13 %; their rounds by 3, 4 and 14 %). The assumption is worth `WEIGHT`
observations; where a report has several processes (`bench --repeat`), what those show is weighed in, and their mean is
surer than one. The interval is Student's, on the logarithms.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp
from statistics import NormalDist
from typing import TypeAlias

import numpy as np

from edge_runtime.bench.statistics import CONFIDENCE, MIN_ROUNDS, Ratio, Values

BETWEEN = 0.03
"""How far a process is off at least, as a standard deviation of the logarithm."""
WEIGHT = 10
"""Degrees of freedom of the assumption."""
TRIMMED = 0.1
"""The share of the rounds that is left out at either end, so that one bad second of the machine decides nothing."""
RESAMPLES = 300

Starts: TypeAlias = "Sequence[Values]"
"""The logarithms of one report's figures: an array a process, of one figure a round."""


def starts_of(figures: Sequence[Sequence[float]]) -> list[Values]:
    """Figures above zero, by process and round, as `Starts`; processes without a round are left out."""
    return [np.log(np.asarray(part, dtype=np.float64)) for part in figures if len(part)]


def centre(starts: Starts) -> float:
    """A report's figure, as a logarithm: the mean over its processes of the trimmed mean over their rounds. (A median over
    rounds would jump between the two speeds that a small net on two threads has.)"""
    return float(np.mean([trimmed(part) for part in starts]))


def trimmed(rounds: Values) -> Values:
    """The mean along the last axis without the tenth at either end."""
    cut = int(rounds.shape[-1] * TRIMMED)
    kept = np.sort(rounds, axis=-1)[..., cut : rounds.shape[-1] - cut]
    return np.asarray(kept.mean(axis=-1))


def ratio_between(before: Starts, after: Starts, *, one_sided: float = (1 + CONFIDENCE) / 2, seed: int = 0) -> Ratio:
    """After over before. The true ratio lies above `low` with the confidence `one_sided`, and below `high` likewise; there
    is no interval from fewer than five rounds of either."""
    change = centre(after) - centre(before)
    if min(sum(map(len, before)), sum(map(len, after))) < MIN_ROUNDS:
        return Ratio(exp(change), None, None)
    half = half_width(before, after, one_sided, np.random.default_rng(seed))
    return Ratio(exp(change), exp(change - half), exp(change + half))


def half_width(before: Starts, after: Starts, one_sided: float, random: np.random.Generator) -> float:
    """How far the logarithm of a ratio may be off, at this confidence."""
    seen = [np.array([trimmed(part) for part in starts]) for starts in (before, after)]
    squares = sum(float(((figures - figures.mean()) ** 2).sum()) for figures in seen)
    freedom = WEIGHT + sum(len(figures) - 1 for figures in seen)
    assumed = BETWEEN**2 + float(np.mean([part.var() for part in (*before, *after)]))
    between = (WEIGHT * assumed + squares) / freedom * sum(1 / len(figures) for figures in seen)
    within = sum(_within(starts, random) for starts in (before, after))
    return student(one_sided, freedom) * float((between + within) ** 0.5)


def _within(starts: Starts, random: np.random.Generator) -> float:
    """The variance of a report's figure as far as its rounds show it: a bootstrap over the rounds of each process."""
    total = 0.0
    for part in starts:
        draws = part[random.integers(len(part), size=(RESAMPLES, len(part)))]
        total += float(trimmed(draws).var())
    return total / len(starts) ** 2


def student(probability: float, freedom: int) -> float:
    """The quantile of Student's t, from the normal one's (Abramowitz and Stegun 26.7.5): to 1 % for ten degrees and
    more."""
    z = NormalDist().inv_cdf(probability)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return float(z + sum(term / freedom**power for power, term in enumerate(terms, 1)))
