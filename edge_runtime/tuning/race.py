"""Who leads a race, who drops out, and when it is over. Pure: the figures of rounds in, decisions out.

Every contender has its turn in every round, so round i of two contenders is the same stretch of the machine's time: ratios
are taken over the rounds that both ran, and their intervals are a bootstrap over whole rounds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from typing import TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from edge_runtime.bench.statistics import CONFIDENCE, MIN_ROUNDS, Ratio
from edge_runtime.tuning.effort import Effort

Figures: TypeAlias = Sequence[Sequence[float]]
"""A contender's figures: for each round what was seen in its turn; () where it had none."""
Matrix: TypeAlias = npt.NDArray[np.float64]

_POINTS = 20
"""Quantiles that stand for a turn: each round weighs the same, whatever number of runs it had time for."""
_RESAMPLES = 400


class Standing(msgspec.Struct, frozen=True):
    """A contender's place: its figure over the leader's."""

    name: str
    figure: float
    ratio: Ratio


def standings(contenders: Mapping[str, Figures], share: float, *, seed: int = 0) -> list[Standing]:
    """The contenders that have figures, the best first, each held against the leader in the rounds that both ran.

    `share` is the percentile of all figures that counts: 0.5 or 0.95.
    """
    figures = {name: _figure(rounds, share) for name, rounds in contenders.items() if any(len(r) for r in rounds)}
    order = sorted(figures, key=lambda name: figures[name])
    return [Standing(n, figures[n], ratio(contenders[n], contenders[order[0]], share, seed=seed)) for n in order]


def ratio(one: Figures, other: Figures, share: float, *, seed: int = 0) -> Ratio:
    """One contender's percentile over another's, with its interval; None and None from too few shared rounds."""
    shared = [(a, b) for a, b in zip(one, other, strict=False) if len(a) and len(b)]
    if not shared:
        return Ratio(_figure(one, share) / _figure(other, share), None, None)
    above, below = (np.stack([_points(row) for row in rows]) for rows in zip(*shared, strict=True))
    value = float(_percentile(above[None], share)[0] / _percentile(below[None], share)[0])
    if len(shared) < MIN_ROUNDS:
        return Ratio(value, None, None)
    draws = np.random.default_rng(seed).integers(len(shared), size=(_RESAMPLES, len(shared)))
    ratios = _percentile(above[draws], share) / _percentile(below[draws], share)
    low, high = np.quantile(ratios, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Ratio(value, min(value, float(low)), max(value, float(high)))


def survivors(standing: Sequence[Standing], effort: Effort) -> list[str]:
    """Who goes on: the better half, and of the other half whoever may still be as good as the leader. Never fewer than the
    finalists."""
    half = max(effort.finalists, ceil(len(standing) / 2))
    return [row.name for place, row in enumerate(standing) if place < half or _may_lead(row, effort)]


def decided(standing: Sequence[Standing], effort: Effort) -> bool:
    """Whether more rounds would change nothing: the leader is ahead of the runner-up beyond the noise, or their difference
    is surely smaller than a tie, or nobody else is left."""
    if len(standing) < 2:
        return True
    gap = standing[1].ratio
    return gap.low is not None and gap.high is not None and (gap.low > 1.0 or gap.high < 1.0 + effort.tie)


def tied(standing: Sequence[Standing], effort: Effort) -> list[str]:
    """The leader, and whoever is not behind it beyond the noise or beyond a tie."""
    return [row.name for row in standing if row is standing[0] or not surely_behind(row.ratio, effort)]


def surely_behind(gap: Ratio, effort: Effort) -> bool:
    """Whether it is slower beyond the noise, and by more than a tie."""
    return gap.low is not None and gap.low > 1.0 and gap.value > 1.0 + effort.tie


def outweighs(gain: float, loss: float, effort: Effort) -> bool:
    """Whether a gain beside a busy neighbour is worth a loss on an idle machine, both as ratios above 1: an idle machine
    weighs `idle` times as much, and a small gain is none."""
    return gain > effort.gain and gain > loss**effort.idle


def _may_lead(row: Standing, effort: Effort) -> bool:
    return row.ratio.value <= 1.0 + effort.tie or (row.ratio.low is not None and row.ratio.low <= 1.0)


def _points(turn: Sequence[float]) -> Matrix:
    ordered = np.asarray(turn, dtype=np.float64)
    return np.quantile(ordered, (np.arange(_POINTS) + 0.5) / _POINTS)


def _percentile(drawn: Matrix, share: float) -> Matrix:
    """Of the last two axes together."""
    return np.quantile(drawn.reshape(len(drawn), -1), share, axis=1)


def _figure(rounds: Figures, share: float) -> float:
    return float(_percentile(np.stack([_points(turn) for turn in rounds if len(turn)])[None], share)[0])
