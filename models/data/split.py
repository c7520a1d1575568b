"""What is trained on, and what is held out."""

from __future__ import annotations

import hashlib

import msgspec
import numpy as np

from edge_runtime.values import Array


class Split(msgspec.Struct, frozen=True, eq=False):
    """Inputs and their classes (int64, places in `classes`), in two parts that share nothing."""

    train_x: Array
    train_y: Array
    test_x: Array
    test_y: Array
    classes: tuple[str, ...]

    @property
    def digest(self) -> str:
        """sha256 of what is held out."""
        digest = hashlib.sha256(self.test_x.tobytes())
        digest.update(self.test_y.tobytes())
        return digest.hexdigest()


def head(classes: Array, each: int) -> Array:
    """Where the first `each` of every class are, in their order."""
    rows = [np.flatnonzero(classes == one)[:each] for one in np.unique(classes)]
    return np.sort(np.concatenate(rows))
