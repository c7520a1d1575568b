"""How many replicas of the endpoint there should be, and which calls are asked a second time. Pure: no I/O, no clock."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from edge_runtime.errors import InputError

BUSY = 0.7
"""The share of its time that a replica should run models: beyond, calls wait for one another."""

BACKLOG = 0.1
"""Seconds that a call may wait before it begins."""

MISSED = 0.01
"""The share of calls that may be refused, or be too late."""

AGAIN = 0.1
"""The share of calls that may be asked again when they were refused: where all are full, that only adds to it."""

BACK, BACK_SHARE = 0.05, 0.1
"""Seconds before the end of a call's budget, and the most of it, at which it is refused, so that this is in time, too."""


class Load(msgspec.Struct, frozen=True):
    """What a replica tells of the last moments."""

    busy: float
    """The share of its workers' time in which they ran models."""
    backlog: float
    """Seconds until a call that came now would begin."""
    missed: float
    """The share of calls that were refused for want of time, or were too late."""


class Range(msgspec.Struct, frozen=True):
    """So many replicas at least, and at most."""

    least: int
    most: int

    @classmethod
    def parse(cls, text: str) -> Range:
        """2 or 2:8. Raises InputError."""
        numbers = text.split(":")
        if len(numbers) <= 2 and all(number.isdecimal() and len(number) <= 4 for number in numbers):
            found = cls(int(numbers[0]), int(numbers[-1]))
            if 1 <= found.least <= found.most:
                return found
        raise InputError(f"{text!r} is no number of replicas: write N, or LEAST:MOST, like 2:8")


def wanted(loads: Sequence[Load], coming: int, within: Range) -> int:
    """How many replicas there should be, by what those that run tell; `coming` more are on their way.

    As many as do the work at BUSY of their time, what was turned away counted as work; where calls wait or are missed, one
    more at least; never more than twice as many at once, nor fewer while some are on their way: they were wanted.
    """
    running = len(loads)
    if not running:
        return max(within.least, min(coming, within.most))
    missed = min(1.0, math.fsum(load.missed for load in loads) / running)
    waits = math.fsum(load.backlog for load in loads) / running
    work = math.fsum(load.busy for load in loads) / BUSY
    need = work / (1.0 - missed) if missed < 1.0 else math.inf
    if missed > MISSED or waits > BACKLOG:
        need = max(need, running + 1)
    need = math.ceil(min(need, 2 * running) - 1e-9)
    if coming:
        need = max(need, running + coming)
    return max(within.least, min(need, within.most))


class SecondTry:
    """Grants a second try to one of ten calls, ten in a row at most. Not locked."""

    def __init__(self) -> None:
        self._left = 1.0 / AGAIN

    def call(self) -> None:
        """A call has come."""
        self._left = min(1.0 / AGAIN, self._left + AGAIN)

    def take(self) -> bool:
        """Whether this call may be asked once more."""
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True
