"""Figures as text, three digits in the unit that reads best; axes that start at zero or say that they are logarithmic."""

from __future__ import annotations

from math import ceil, floor, log10
from typing import Literal

import msgspec

CROSS = "\N{MULTIPLICATION SIGN}"
Kind = Literal["seconds", "bytes", "count"]

_UNITS: dict[Kind, tuple[tuple[float, str], ...]] = {
    "seconds": ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")),
    "bytes": ((2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB"), (1.0, "B")),
    "count": ((1.0, ""),),
}


def duration(seconds: float) -> str:
    """Seconds to read: "254 µs", "13.1 ms", "2.05 s"."""
    return figure(seconds, "seconds")


def size(count: float | None) -> str:
    """Bytes to read: "18.2 MiB"; "-" for None."""
    return "-" if count is None else figure(count, "bytes")


def times(ratio: float) -> str:
    """A ratio to read, like 2.3 times; with two digits behind the point where one would hide the difference."""
    return f"{ratio:.{2 if ratio < 1.5 else 1}f}{CROSS}"


def figure(value: float, kind: Kind) -> str:
    """A value of this kind to three digits, in the unit that reads best."""
    factor, unit = unit_for(value, kind)
    scaled = value / factor
    text = f"{scaled:.0f}" if abs(scaled) >= 99.95 else f"{scaled:.1f}" if abs(scaled) >= 9.995 else f"{scaled:.2f}"
    return f"{text} {unit}".rstrip()


def unit_for(value: float, kind: Kind) -> tuple[float, str]:
    """The largest unit of which `value` has at least one, and its name."""
    units = _UNITS[kind]
    return next(((factor, unit) for factor, unit in units if abs(value) >= factor * 0.9995), units[-1])


class Axis(msgspec.Struct, frozen=True):
    """Where a value lies between the two ends of a chart, and the marks to label. Made by `axis`."""

    low: float
    high: float
    log: bool
    ticks: tuple[float, ...]
    factor: float
    unit: str

    def at(self, value: float) -> float:
        """The place of a value in percent of the axis; what lies past an end is put on it."""
        if self.log:
            share = log10(max(value, self.low) / self.low) / log10(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return round(100 * min(1.0, max(0.0, share)), 3)

    def label(self, tick: float) -> str:
        """A mark's figure, in the axis's unit."""
        return f"{tick / self.factor:.6g}"


def axis(high: float, kind: Kind, *, low: float = 0.0, log: bool = False, marks: int = 5) -> Axis:
    """An axis with about `marks` round marks: linear from zero to at least `high`, or logarithmic from about `low`."""
    if log and 0 < low < high:
        powers = range(floor(log10(low)), ceil(log10(high)) + 1)
        steps = (1, 2, 5) if log10(high / low) < 2.5 else (1,)
        ticks = [step * 10.0**power for power in powers for step in steps]
        start = max((tick for tick in ticks if tick <= low), default=low)
        inside = tuple(tick for tick in ticks if start <= tick <= high)
        return Axis(start, high, True, inside, *unit_for(start if high / start < 1e3 else high, kind))
    high = high if high > 0 else 1.0
    factor, unit = unit_for(high, kind)
    raw = high / factor / marks
    power = 10.0 ** floor(log10(raw))
    step = factor * next(power * n for n in (1, 2, 2.5, 5, 10) if power * n >= raw * 0.999)
    count = ceil(high / step - 1e-9)
    return Axis(0.0, count * step, False, tuple(step * i for i in range(count + 1)), factor, unit)
