"""Time, as an agent needs it: an argument, never a call."""

from __future__ import annotations

import random
from collections.abc import Callable

import msgspec

RETRY = 30.0
"""Seconds without an answer after which a request goes out again, at the earliest."""

SLOWEST = 480.0
"""And at the latest, or up to twice that."""


class Instant(msgspec.Struct, frozen=True):
    """One moment on both clocks."""

    unix: float
    """Seconds since 1970: for what is said to others. It may jump."""
    mono: float
    """Seconds of a clock that only goes on: for what is waited for."""


class Patience:
    """When to ask again whoever does not answer: after as long again as nobody has answered, and up to twice that, at
    random. So a controller that is behind is not asked the more for it."""

    def __init__(self, draw: Callable[[], float] = random.random) -> None:
        self._draw = draw
        self._since: float | None = None

    def again(self, now: Instant) -> float:
        """For a question that goes out now: when it does so once more, unless it is answered."""
        self._since = now.mono if self._since is None else self._since
        return now.mono + min(max(RETRY, now.mono - self._since), SLOWEST) * (1.0 + self._draw())

    def answered(self) -> None:
        """Somebody has."""
        self._since = None
