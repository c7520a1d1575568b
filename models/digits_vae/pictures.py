"""What digits_vae makes of held-out digits."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edge_runtime.backends.base import Session
from edge_runtime.values import Array
from models.data import digits
from models.data.split import head

ROWS = 4
"""Of each digit."""


def pictures(session: Session, packages: Path) -> Array:
    """A column for each digit: a row of originals, and below it a row of their reconstructions."""
    held_out = digits.load(packages)
    chosen = head(held_out.test_y, ROWS)
    chosen = chosen[np.argsort(held_out.test_y[chosen], kind="stable")]
    originals = digits.images(held_out.test_x[chosen])
    made = np.concatenate([session.run({"image": one[None]})["reconstruction"] for one in originals])
    both = np.stack([originals[:, 0], made[:, 0]], 1).reshape(10, ROWS, 2, *made.shape[2:])
    return both.transpose(1, 2, 0, 3, 4).reshape(ROWS * 2, 10, *made.shape[2:])
