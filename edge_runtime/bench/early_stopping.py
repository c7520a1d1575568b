"""How many queries a percentile takes before it may be claimed: MLPerf LoadGen's early stopping, with its confidence.

Of n queries, let t be over the limit. The claim that at least a share p of all queries is within it is let through when a
system that is only just not good enough would show so few over the limit with a probability of 1 % at most:
P(Binomial(n, 1 - p) <= t) <= 0.01. LoadGen's document "Early stopping" derives it by the same test. Pure.
"""

from __future__ import annotations

from functools import lru_cache
from math import exp, lgamma, log

from edge_runtime.errors import InputError

CONFIDENCE = 0.99


@lru_cache(maxsize=1024)
def needed(over: int, share: float) -> int:
    """The fewest queries of which `over` may be over the limit, for the percentile `share` (0.9, 0.99)."""
    check_share(share)
    low, high = over + 1, over + 2
    while not _allows(high, over, share):
        low, high = high, 2 * high
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if _allows(middle, over, share) else (middle + 1, high)
    return low


def allowed(count: int, share: float) -> int | None:
    """How many of `count` queries may be over the limit; None where there are too few to claim anything."""
    check_share(share)
    if count < needed(0, share):
        return None
    low, high = 0, count
    while low < high:  # the largest number that needs no more than there are
        middle = (low + high + 1) // 2
        low, high = (middle, high) if _allows(count, middle, share) else (low, middle - 1)
    return low


def estimate(latencies: list[int], share: float) -> int | None:
    """The percentile that may be claimed: the smallest latency that no more than the allowed number exceed, less one more
    that is given away for having looked at the data first. None from too few queries."""
    over = allowed(len(latencies), share)
    return None if over is None or over < 1 else sorted(latencies)[len(latencies) - over]


def check_share(share: float) -> None:
    """Raise InputError for what is no percentile."""
    if not 0.0 < share < 1.0:
        raise InputError(f"a percentile of {share}: give a share between 0 and 1, like 0.99")


def _allows(count: int, over: int, share: float) -> bool:
    return count > over and _at_most(over, count, 1.0 - share) <= 1.0 - CONFIDENCE


def _at_most(most: int, count: int, chance: float) -> float:
    """P(Binomial(count, chance) <= most), summed from its largest term down, so that nothing underflows."""
    total = 0.0
    for k in range(most, -1, -1):
        term = exp(
            lgamma(count + 1) - lgamma(k + 1) - lgamma(count - k + 1) + k * log(chance) + (count - k) * log(1.0 - chance)
        )
        total += term
        if term < total * 1e-17 and k < count * chance:
            break
    return total
