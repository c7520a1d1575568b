"""What earlier calls teach about the next one. No I/O and no clock: every time is an argument."""

from __future__ import annotations

from collections import deque
from math import exp, log

from edge_runtime.routing.policy import Estimate, Policy

WINDOW = 32
"""Local runs that are remembered: enough to have seen a slow one, few enough to forget a bad minute."""

WEIGHT = 0.3
"""Of the newest answer in the cloud's running mean. The mean is taken over logarithms: one stall must not double it."""


class LocalTimes:
    """How long the local model has taken lately, by the size of its input. Runs may end on several threads at once."""

    def __init__(self) -> None:
        self._seen: deque[tuple[int, float]] = deque(maxlen=WINDOW)

    def observe(self, size: int, seconds: float) -> None:
        """A run over `size` bytes of input took `seconds`."""
        self._seen.append((size, seconds))

    def estimate(self, size: int) -> Estimate:
        """The slowest recent run, scaled up for an input that is larger than all of them; typical is the median of those
        over inputs that were no smaller."""
        seen = self._seen.copy()  # in one step: other threads go on appending
        if not seen:
            return Estimate("local", None)
        largest, _ = max(seen)
        slowest = max(seconds for _, seconds in seen) * max(1.0, size / max(1, largest))
        alike = sorted(seconds for over, seconds in seen if over >= size)
        return Estimate("local", slowest, typical=alike[len(alike) // 2] if alike else slowest)


class CloudTimes:
    """How long the cloud has taken for this model lately, and whether it is to be left alone. Not locked: callers lock."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._log_mean: float | None = None
        self._heard = 0.0
        self._failures = 0
        self._failed_at = float("-inf")
        self._down_until = 0.0

    def asked(self, until: float) -> None:
        """A call goes to it. Where it has failed, this call alone tries it: others leave it alone until `until`, when the
        call ends at the latest."""
        if self._failures:
            self._down_until = until

    def answered(self, seconds: float, now: float) -> None:
        """An answer came after `seconds`."""
        fresh, mean = log(max(seconds, 1e-6)), self._recent(now)
        self._log_mean = fresh if mean is None else (1 - WEIGHT) * mean + WEIGHT * fresh
        self._heard = now
        self._failures = 0
        self._down_until = 0.0

    def failed(self, asked: float, now: float) -> None:
        """It refused, could not be reached, or had not answered when it was given up. Calls that were under way together
        when it failed are one failure: one that was `asked` before the last one counts no more."""
        if asked < self._failed_at:
            return
        self._failed_at = now
        self._failures += 1
        pause = min(self._policy.longest_backoff, self._policy.backoff * 2.0 ** min(self._failures - 1, 30))
        self._down_until = now + pause
        self._log_mean = None  # what was learnt before it failed says nothing about how it comes back

    def estimate(self, now: float) -> Estimate:
        """The typical time, if an answer of late has told it, and until when it is down."""
        mean = self._recent(now)
        return Estimate("cloud", None if mean is None else exp(mean), self._down_until)

    def _recent(self, now: float) -> float | None:
        return self._log_mean if now - self._heard <= self._policy.memory else None
