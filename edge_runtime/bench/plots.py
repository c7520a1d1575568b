"""Plots over two axes: how samples are distributed, and how calls went over time."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from edge_runtime.bench.page import Chart
from edge_runtime.bench.svg import Swatch, columns, escape, foot, legend, level, series, tip
from edge_runtime.bench.units import Axis, Kind, axis, figure

_HEIGHT = 220
_DASHES = ("", "7 3", "2 3", "9 3 2 3")
_POINTS = 200
"""Points of one curve, at most: more cannot be told apart on a page."""
_LONG = 8.0
"""Times the least sample that a linear axis may reach; past it, the axis is logarithmic."""


class Curve(msgspec.Struct, frozen=True):
    """The samples of one line."""

    label: str
    values: tuple[float, ...]
    series: int = 0


class Call(msgspec.Struct, frozen=True):
    """One call: when it began, how long it took and might take, and the group that colours it ("local", "cloud")."""

    at: float
    elapsed: float
    budget: float | None
    group: str
    note: str = ""

    @property
    def met(self) -> bool:
        """Whether it took no longer than it was allowed."""
        return self.budget is None or self.elapsed <= self.budget


def ecdf(curves: Sequence[Curve], kind: Kind, *, title: str = "", caption: str = "") -> Chart:
    """The share of samples (upwards) that are no larger than a value (to the right). The largest 1 % may lie outside."""
    ordered = [np.sort(np.asarray(curve.values, dtype=np.float64)) for curve in curves]
    low = min(float(values[0]) for values in ordered)
    high = max(float(np.quantile(values, 0.99)) for values in ordered)
    scale = axis(high, kind, low=low, log=high > _LONG * low)
    dashes = [_DASHES[i // 4 % len(_DASHES)] for i in range(len(curves))]  # colour alone tells four apart
    lines = "".join(_curve(c, values, dash, scale) for c, values, dash in zip(curves, ordered, dashes, strict=True))
    levels = "".join(level(100 - share, f"{share} %", minor=share in (25, 75)) for share in (0, 25, 50, 75, 100))
    plot = (
        f'<svg height="{_HEIGHT}" role="img" aria-label="{escape(title or "distribution")}">{levels}'
        f"{columns(scale, _HEIGHT)}"
        f'<svg viewBox="0 0 100 100" preserveAspectRatio="none" height="{_HEIGHT}">{lines}</svg></svg>{foot(scale)}'
    )
    swatches = [
        Swatch(c.label, f'<line class="line" x2="26" y1="6" y2="6" stroke-dasharray="{dash}"/>', c.series)
        for c, dash in zip(curves, dashes, strict=True)
    ]
    return Chart(f'<div class="plot">{plot}</div>{legend(swatches)}', title, caption)


def timeline(
    calls: Sequence[Call],
    *,
    events: Sequence[tuple[float, str]] = (),
    order: Sequence[str] = (),
    title: str = "",
    caption: str = "",
) -> Chart:
    """Each call as a dot: how long it took over when it began, under the dashed line of what it was allowed.

    A call past its budget is a red cross. `events` are (instant, name): what happened meanwhile. All times are in seconds.
    Groups have their colours by `order`, the same in one chart as in another, then as they come.
    """
    there = dict.fromkeys(call.group for call in calls)
    groups = list(dict.fromkeys((*order, *there)))
    across = axis(max([call.at for call in calls] + [at for at, _ in events], default=0.0), "seconds", marks=6)
    highest = max([c.elapsed for c in calls] + [c.budget for c in calls if c.budget is not None], default=0.0)
    up = axis(1.1 * highest, "seconds")
    levels = "".join(level(100 - up.at(tick), f"{up.label(tick)} {up.unit}") for tick in up.ticks)
    marks = "".join(_call(call, groups.index(call.group), across, up) for call in calls)
    happened = "".join(_event(at, name, across) for at, name in events)
    plot = (
        f'<svg height="{_HEIGHT}" role="img" aria-label="{escape(title or "calls over time")}">'
        f"{levels}{_budgets(calls, across, up)}{happened}{marks}</svg>{foot(across)}"
    )
    swatches = [
        Swatch(group, '<circle class="dot" cx="13" cy="6" r="4.5"/>', i) for i, group in enumerate(groups) if group in there
    ]
    if any(call.budget is not None for call in calls):
        swatches.append(Swatch("budget", '<line class="budget" x2="26" y1="6" y2="6"/>'))
    if not all(call.met for call in calls):
        swatches.append(Swatch("budget missed", '<path class="miss" d="M8 1 18 11M8 11 18 1"/>'))
    return Chart(f'<div class="plot wide">{plot}</div>{legend(swatches)}', title, caption)


def _curve(curve: Curve, ordered: np.ndarray[tuple[int], np.dtype[np.float64]], dash: str, scale: Axis) -> str:
    """The steps of one curve."""
    count = len(ordered)
    inside = int(np.searchsorted(ordered, scale.high, side="right"))
    picked = np.unique(np.linspace(0, max(0, inside - 1), min(count, _POINTS)).round().astype(int))
    steps = "".join(f"H{scale.at(float(ordered[i])):g}V{100 - 100 * (i + 1) / count:.4g}" for i in picked)
    path = f"M{scale.at(float(ordered[0])):g} 100{steps}{'H100' * (inside < count)}"
    return f'<path class="line {series(curve.series)}" stroke-dasharray="{dash}" d="{path}">{tip(curve.label)}</path>'


def _call(call: Call, number: int, across: Axis, up: Axis) -> str:
    x, y = across.at(call.at), 100 - up.at(call.elapsed)
    allowed = "" if call.budget is None else f" of {figure(call.budget, 'seconds')}"
    said = f"at {figure(call.at, 'seconds')}: {call.group}, {figure(call.elapsed, 'seconds')}{allowed}"
    said += "" if call.met else ", missed"
    told = tip(f"{said}; {call.note}" if call.note else said)
    if call.met:
        return f'<circle class="dot {series(number)}" cx="{x:g}%" cy="{y:g}%" r="4.5">{told}</circle>'
    return f'<svg x="{x:g}%" y="{y:g}%">{told}<path class="miss" d="M-5-5 5 5M-5 5 5-5"/></svg>'


def _event(at: float, name: str, across: Axis) -> str:
    x = across.at(at)
    anchor, shift = ("end", -6) if x > 60 else ("start", 6)
    line = f'<line class="event" x1="{x:g}%" x2="{x:g}%" y1="0" y2="{_HEIGHT}"/>'
    return f'{line}<text class="event-name" x="{x:g}%" dx="{shift}" y="12" text-anchor="{anchor}">{escape(name)}</text>'


def _budgets(calls: Sequence[Call], across: Axis, up: Axis) -> str:
    """A dashed line for each stretch of calls with the same budget."""
    bounded = sorted((call for call in calls if call.budget is not None), key=lambda call: call.at)
    lines, start = [], 0
    for i, call in enumerate(bounded):
        last = i + 1 == len(bounded)
        if last or bounded[i + 1].budget != call.budget:
            left = across.at(bounded[start].at) if start else 0.0
            right = 100.0 if last else across.at(bounded[i + 1].at)
            y = f"{100 - up.at(call.budget or 0.0):g}%"
            lines.append(f'<line class="budget" x1="{left:g}%" x2="{right:g}%" y1="{y}" y2="{y}"/>')
            start = i + 1
    return "".join(lines)
