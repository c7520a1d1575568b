"""How long the local model takes, by the size of its input. Pure.

Sizes are taken by octave. Of each it is known what a run takes typically, and what the slowest run of late took, forgotten
by and by: both in constant time, since they are asked for on every call.
"""

from __future__ import annotations

import msgspec

WEIGHT = 0.1
"""Of the newest run in what is typical."""

FADING = 0.99
"""Of how far the slowest run of late was above the typical one, what each further run leaves."""


class Pace(msgspec.Struct):
    """One model's local runs. Bytes of input and seconds."""

    known: dict[int, tuple[int, float, float]] = {}
    """Octave -> the largest size seen, typical, slowest."""

    def seed(self, size: int, typical: float, slowest: float) -> None:
        """What was measured before the first call."""
        self.known[size.bit_length()] = (size, typical, max(typical, slowest))

    def observe(self, size: int, seconds: float) -> None:
        """A run over `size` bytes took `seconds`."""
        octave = size.bit_length()
        known = self.known.get(octave)
        if known is None:
            self.known[octave] = (size, seconds, seconds)
            return
        largest, typical, slowest = known
        # One slow run must not move what is typical: it counts as if it had taken twice the typical time at most.
        typical += WEIGHT * (min(seconds, 2.0 * typical) - typical)
        faded = typical + FADING * (slowest - typical)
        self.known[octave] = (max(size, largest), typical, max(seconds, faded, typical))

    def of(self, size: int) -> tuple[float, float] | None:
        """Typical and slowest seconds over `size` bytes; None before the first run. A size like none that was seen is taken
        to need as much as the next larger one, or proportionally more than the largest."""
        known = self.known.get(size.bit_length())
        if known is None:
            if not self.known:
                return None
            larger = [octave for octave in self.known if octave > size.bit_length()]
            known = self.known[min(larger) if larger else max(self.known)]
        largest, typical, slowest = known
        grown = max(1.0, size / max(largest, 1))
        return typical * grown, slowest * grown
