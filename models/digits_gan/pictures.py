"""What digits_gan draws: ten of each digit."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edge_runtime.backends.base import Session
from edge_runtime.values import Array
from models.digits_gan.calibration import CLASSES, inputs

ROWS = 10


def pictures(session: Session, packages: Path) -> Array:
    """A column for each digit; the noise is that of nothing else."""
    drawn = [session.run(one)["picture"] for one in inputs(ROWS * CLASSES, seed=4)]
    return np.concatenate(drawn).reshape(ROWS, CLASSES, *drawn[0].shape[2:])
