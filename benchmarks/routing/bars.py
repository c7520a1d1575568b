"""What the comparison is held against, and its table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from benchmarks.convention import Bar, at_least, at_most
from benchmarks.routing.cells import OURS, Score, Scored
from benchmarks.routing.world import LOCAL_SLOW

EWMA, HELD, BRAINLESS = "EWMA", "EWMA + held-back local", "cloud + held-back local"


def steady(cells: Iterable[Scored]) -> list[Scored]:
    """The cells of a fast device with Poisson and periodic calls."""
    return [c for c in cells if c.cell.workload != "bursts" and c.cell.local < LOCAL_SLOW]


def bursts(cells: Iterable[Scored]) -> list[Scored]:
    return [c for c in cells if c.cell.workload == "bursts"]


def slow(cells: Iterable[Scored]) -> list[Scored]:
    """The cells of a slow device."""
    return [c for c in cells if c.cell.local >= LOCAL_SLOW]


def values(cells: Sequence[Scored], policy: str, of: Callable[[Score], float]) -> np.ndarray:
    """One figure of a policy in each of these cells."""
    return np.array([of(cell.of(policy)) for cell in cells])


def calibration(cells: Iterable[Scored]) -> list[tuple[float, float, int]]:
    """By tenths of the chance that was told: its mean, the share that came in time, and how many calls."""
    tenths = np.array([cell.of(OURS).odds for cell in cells]).sum(axis=0)
    return [(float(total / calls), float(came / calls), int(calls)) for total, came, calls in tenths if calls]


def calibration_error(cells: Iterable[Scored]) -> float:
    """The expected calibration error: how far told and true are apart, by how many calls it was told to."""
    found = calibration(cells)
    total = sum(count for _, _, count in found)
    return sum(abs(told - true) * count for told, true, count in found) / total if total else float("nan")


def bars(cells: Sequence[Scored]) -> list[Bar]:
    """Ours, against the aims."""
    fast, together, late = steady(cells), bursts(cells), slow(cells)

    def regret(policy: str, some: Sequence[Scored] = fast) -> np.ndarray:
        return 100 * values(some, policy, lambda s: s.regret)

    def mean(policy: str, of: Callable[[Score], float]) -> float:
        return float(values(fast, policy, of).mean())

    ours = regret(OURS)
    hits = 100 * values(fast, OURS, lambda s: s.hit_where_oracle)
    sent = mean(OURS, lambda s: s.sent + s.probed) / mean("oracle", lambda s: s.sent)
    wasted = mean(OURS, lambda s: s.wasted) / mean(BRAINLESS, lambda s: s.wasted)
    more = 100 * (mean(OURS, lambda s: s.hit) - mean(EWMA, lambda s: s.hit))
    found = [
        at_least("budgets met where the oracle meets them, worst cell", float(hits.min()), "%", 99.5),
        at_most("regret to the oracle, mean", float(ours.mean()), "%", 0.5),
        at_most("p95 cell", float(np.quantile(ours, 0.95)), "%", 1.5),
        at_most("worst cell", float(ours.max()), "%", 5),
        at_most("bytes over the oracle's, probes included", sent, "x", 1.15),
        at_most(f"wasted bytes over those of {BRAINLESS}", wasted, "x", 1 / 3),
        at_least("regret of EWMA over ours", float(regret(EWMA).mean() / ours.mean()), "x", 7),
        at_least("hits ahead of EWMA", more, "points", 2),
        at_least(f"regret of {HELD} over ours", float(regret(HELD).mean() / ours.mean()), "x", 3),
    ]
    if together:
        could = values(together, OURS, lambda s: s.hit_where_oracle)
        found += [
            at_least("bursts: budgets met where the oracle meets them", 100 * float(could.mean()), "%", 98.5),
            at_most("bursts: regret", float(regret(OURS, together).mean()), "%", 1.5),
        ]
    if late:
        ahead = values(late, OURS, lambda s: s.utility) - values(late, HELD, lambda s: s.utility)
        more = values(late, OURS, lambda s: s.hit) - values(late, HELD, lambda s: s.hit)
        found += [
            at_least(f"slow device: utility ahead of {HELD}", 100 * float(ahead.mean()), "points", 0),
            at_least(f"slow device: hits ahead of {HELD}", 100 * float(more.mean()), "points", 0),
        ]
    found.append(at_most("calibration error of p", 100 * calibration_error(cells), "%", 2))
    return found


def rows(cells: Sequence[Scored], ablated: Sequence[Scored]) -> list[str]:
    """A table of policies, for each kind of cells."""
    lines: list[str] = []
    for title, some in (("fast device", steady(cells)), ("bursts", bursts(cells)), ("slow device", slow(cells))):
        if some:
            lines += _table(f"{title}, {len(some)} cells", some)
    return lines + (_table(f"parts left out, {len(ablated)} cells", ablated) if ablated else [])


def _table(title: str, cells: Sequence[Scored]) -> list[str]:
    head = (
        f"{title:30} {'hit':>7} {'worst':>7} {'utility':>8} {'regret':>7} {'p95':>6} {'worst':>6} {'sent':>6} {'wasted':>7}"
    )
    lines = [head + f" {'probes':>7} {'local':>6}"]
    for score in cells[0].scores:
        name = score.policy
        regret = 100 * values(cells, name, lambda s: s.regret)
        hits = 100 * values(cells, name, lambda s: s.hit_where_oracle)
        figures = [values(cells, name, of).mean() for of in (lambda s: s.sent, lambda s: s.wasted, lambda s: s.probed)]
        lines.append(
            f"{name:30} {hits.mean():6.2f}% {hits.min():6.2f}% {values(cells, name, lambda s: s.utility).mean():8.4f} "
            f"{regret.mean():6.2f}% {np.quantile(regret, 0.95):5.1f}% {regret.max():5.1f}% "
            f"{figures[0]:6.3f} {figures[1]:7.3f} {figures[2]:7.3f} {values(cells, name, lambda s: s.local).mean():6.3f}"
        )
    return lines
