"""Whether a report may pass beside a baseline: it fails on a regression that the noise cannot explain, and on nothing else.

A row fails when even the lower end of its interval lies above what is allowed. The more rows there are, the likelier one of
them looks slower by chance: each is held to `ALARM` over the number of rows (Bonferroni), so that the chance of a false
alarm of the whole gate is `ALARM` at most, however many rows it has. What ran before and fails now is a failure too.
"""

from __future__ import annotations

import msgspec
import numpy as np

from edge_runtime.bench.between import Starts, centre, half_width, ratio_between
from edge_runtime.bench.compare import Comparison, compare, figures, paired, yardsticks_fit
from edge_runtime.bench.report import Report
from edge_runtime.bench.statistics import MIN_ROUNDS, Ratio

ALARM = 0.01
"""The chance that a gate fails by chance, at most, where nothing became slower."""
DEALS = 200


class Held(msgspec.Struct, frozen=True):
    """One row, held against the limit."""

    name: str
    ratio: Ratio
    """The median, after over before; `low` is the end that decides."""
    failed: bool


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What a gate decided, and how."""

    limit: float
    """The regression that is allowed, as a share."""
    rows: tuple[Held, ...]
    confidence: float
    """Of each row's lower end."""
    alarms: int
    """Of `deals` in which these reports' own rounds, without the difference between the reports, were dealt anew: how often
    the same rule found a regression."""
    deals: int
    seen: bool
    """Whether both reports have several processes, so that what lies between processes was seen and not just assumed."""
    comparison: Comparison

    @property
    def failures(self) -> tuple[str, ...]:
        """What fails, in words."""
        slower = (
            f"{row.name}: {row.ratio.value:.2f} times as long as before, at least {row.ratio.low:.2f} times; "
            f"{1 + self.limit:.2f} is allowed"
            for row in self.rows
            if row.failed
        )
        return (*slower, *(f"{text} (it ran before)" for text in self.comparison.broken))

    @property
    def passed(self) -> bool:
        """Whether nothing fails."""
        return not self.failures

    @property
    def how(self) -> str:
        """How it was decided, in words."""
        known = "" if self.seen else ", as far as processes differ by no more than is assumed (bench --repeat 3 sees it)"
        unit = "" if self.comparison.speed is None else ", each round's over the yardstick's in the same round"
        return (
            f"A row fails when its figure (the mean of its rounds' medians{unit}) is over {1 + self.limit:.2f} times the "
            f"baseline's with {self.confidence:.2%} confidence: {1 - self.confidence:.2%} for each of {len(self.rows)} row"
            f"{'s' * (len(self.rows) != 1)} leaves the whole gate a chance of a false alarm of {ALARM:.0%} at most{known}. "
            f"With these reports' own rounds dealt anew to two sides, {self.alarms} of {self.deals} such gates failed."
        )


def gate(baseline: Report, current: Report, limit: float, *, deals: int = DEALS) -> Decision:
    """Hold a report against a baseline; `limit` is the regression that is allowed, 0.05 for 5 %. Raises InputError where
    the two have nothing in common."""
    comparison = compare(baseline, current)
    shared = yardsticks_fit(baseline, current)
    sides = [
        (figures(baseline, pair.before, 0.5, shared=shared), figures(current, pair.after, 0.5, shared=shared))
        for pair in paired(baseline, current)
    ]
    confidence = 1 - ALARM / max(1, len(sides))
    ratios = [ratio_between(before, after, one_sided=confidence) for before, after in sides]
    rows = (Held(row.name, ratio, _fails(ratio, limit)) for row, ratio in zip(comparison.rows, ratios, strict=True))
    return Decision(
        limit=limit, rows=tuple(rows), confidence=confidence, alarms=_alarms(sides, limit, confidence, deals), deals=deals,
        seen=min(baseline.protocol.repeat, current.protocol.repeat) > 1, comparison=comparison,
    )  # fmt: skip


def _fails(ratio: Ratio, limit: float) -> bool:
    return ratio.low is not None and ratio.low > 1 + limit


def _alarms(sides: list[tuple[Starts, Starts]], limit: float, confidence: float, deals: int) -> int:
    """How many of so many gates on rounds that were dealt anew fail."""
    random = np.random.default_rng(0)
    sure = [(b, a) for b, a in sides if min(sum(map(len, b)), sum(map(len, a))) >= MIN_ROUNDS]
    count = 0
    for _ in range(deals):
        dealt = (_dealt(before, after, random) for before, after in sure)
        count += any(
            centre(after) - centre(before) - half_width(before, after, confidence, random) > np.log1p(limit)
            for before, after in dealt
        )
    return count


def _dealt(before: Starts, after: Starts, random: np.random.Generator) -> tuple[Starts, Starts]:
    """Both sides without the difference between them, dealt to two sides of the same size: whole processes where each side
    has several, rounds otherwise."""
    level = [[part - centre(side) for part in side] for side in (before, after)]
    together = [*level[0], *level[1]]
    if min(len(before), len(after)) > 1:
        order = [together[i] for i in random.permutation(len(together))]
        return order[: len(before)], order[len(before) :]
    rounds = random.permutation(np.concatenate(together))
    parts = np.split(rounds, np.cumsum([len(part) for part in together])[:-1])
    return parts[: len(before)], parts[len(before) :]
