"""How many queries a percentile takes."""

from __future__ import annotations

from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.bench.early_stopping import CONFIDENCE, allowed, estimate, needed
from edge_runtime.errors import InputError

SHARES = (0.9, 0.95, 0.99, 0.999)


def test_the_counts_are_loadgens() -> None:
    """With one query given away, and with none over the limit, as LoadGen's document has them."""
    assert [needed(1, share) for share in SHARES] == [64, 130, 662, 6636]
    assert [needed(0, share) for share in SHARES] == [44, 90, 459, 4603]


@given(st.integers(0, 20), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_one_query_fewer_would_not_do(over: int, share: float) -> None:
    """The binomial tail, summed as it is written, is within the limit at the count and past it one before."""

    def tail(count: int) -> float:
        return sum(comb(count, k) * (1 - share) ** k * share ** (count - k) for k in range(over + 1))

    count = needed(over, share)
    assert tail(count) <= 1 - CONFIDENCE + 1e-9
    assert tail(count - 1) > 1 - CONFIDENCE - 1e-9 or count == over + 1


@given(st.integers(1, 3000), st.sampled_from(SHARES))
def test_what_is_allowed_is_the_inverse(count: int, share: float) -> None:
    """So many may be over, and not one more."""
    over = allowed(count, share)
    if over is None:
        assert count < needed(0, share)
    else:
        assert needed(over, share) <= count < needed(over + 1, share)


def test_the_estimate_discards_what_loadgen_discards() -> None:
    """Of 128 queries at p90 it gives the four slowest away; of 64 none; of fewer it says nothing."""
    assert estimate(list(range(1, 129)), 0.9) == 124
    assert estimate(list(range(1, 65)), 0.9) == 64
    assert estimate(list(range(1, 64)), 0.9) is None


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0, float("nan")])
def test_no_percentile(share: float) -> None:
    """What lies outside 0 and 1 is refused."""
    with pytest.raises(InputError, match="percentile"):
        needed(0, share)
