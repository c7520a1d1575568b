"""What was found beside what was aimed at, for a page."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.convention import Bar
from edge_runtime.bench.page import Cell, Table


def aims(bars: Sequence[Bar]) -> Table:
    """A row for each bar."""
    rows = tuple(
        (bar.name, Cell(f"{bar.value:.4g} {bar.unit}", "good" if bar.met else "bad"), f"{bar.sense} {bar.aim:.4g}")
        for bar in bars
    )
    return Table(("What", "Found", "Aim"), rows, "lrr")
