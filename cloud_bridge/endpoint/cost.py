"""How long a model takes on so many rows, learnt from its runs: seconds = a * rows + b. Pure."""

from __future__ import annotations

import msgspec

FADING = 0.98
"""What a run still counts when another one came: the line follows the last fifty."""

REACH = 4
"""How many times the rows of the largest run the line reaches."""

CAREFUL = 3.0
"""How many times the usual deviation from the line a run may take and still be in time."""


class Cost(msgspec.Struct):
    """One model's line, by least squares, and how far runs lie from it."""

    count: float = 0.0
    rows: float = 0.0
    squares: float = 0.0
    seconds: float = 0.0
    products: float = 0.0
    most: int = 0
    """Rows of the largest run."""
    deviation: float = 0.0
    """Of a run from the line, as a share of it: a running mean."""

    def of(self, rows: int) -> float:
        """Seconds that a run of so many rows takes mostly; 0 before the first one. Of many more rows than ever ran nothing
        is known: they are taken to cost as much as the most that can be told of."""
        a, b = self._line()
        return a * min(rows, REACH * self.most) + b

    def safe(self, rows: int) -> float:
        """Seconds that hardly any run of so many rows exceeds."""
        return self.of(rows) * (1.0 + CAREFUL * self.deviation)

    def observe(self, rows: int, seconds: float) -> None:
        """A run took so long."""
        if self.count:
            told = self.of(rows)
            off = min(1.0, abs(seconds - told) / max(told, 1e-9))
            self.deviation += (off - self.deviation) * (1.0 - FADING) * 5.0
        self.most = max(self.most, rows)
        self.count = FADING * self.count + 1.0
        self.rows = FADING * self.rows + rows
        self.squares = FADING * self.squares + rows * rows
        self.seconds = FADING * self.seconds + seconds
        self.products = FADING * self.products + rows * seconds

    def _line(self) -> tuple[float, float]:
        """Neither part is below zero. Until runs of different sizes were seen, rows are taken to cost as much together as
        one by one: batches are then closed early rather than late."""
        if not self.count:
            return 0.0, 0.0
        spread = self.count * self.squares - self.rows * self.rows
        through_zero = self.products / self.squares
        if spread <= 1e-6 * self.count * self.squares:
            return through_zero, 0.0
        a = (self.count * self.products - self.rows * self.seconds) / spread
        b = (self.seconds - a * self.rows) / self.count
        if a < 0.0:
            return 0.0, self.seconds / self.count
        return (a, b) if b >= 0.0 else (through_zero, 0.0)
