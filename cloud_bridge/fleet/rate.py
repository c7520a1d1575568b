"""How many may be told now, by a rate. Pure.

In any minute at most `limit` are told, and they are spread: in any window of ceil(limit / 60) of them no more than these.
A controller that comes late makes up for nothing: what it missed is not told in a burst.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

MINUTE = 60.0

Recent: TypeAlias = Sequence[tuple[float, int]]
"""When how many were told, oldest first; what is older than a minute does not matter."""


def room(limit: int, recent: Recent, now: float) -> int:
    """How many may be told at once, at `limit` a minute."""
    return max(0, min(most - sum(n for at, n in recent if now < at + window) for window, most in _windows(limit)))


def opens(limit: int, recent: Recent, now: float) -> float:
    """When the next one may be told, if nobody is told until then: now, or later."""
    return max(now, *(_opens(window, most, recent) for window, most in _windows(limit)))


def _opens(window: float, most: int, recent: Recent) -> float:
    for at, n in reversed(recent):
        most -= n
        if most <= 0:
            return at + window
    return 0.0


def _windows(limit: int) -> tuple[tuple[float, int], tuple[float, int]]:
    most = -(-limit // 60)
    return (MINUTE, limit), (MINUTE * most / limit, most)
