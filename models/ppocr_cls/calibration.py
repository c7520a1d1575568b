"""Lines to calibrate ppocr_cls with, upright and turned, and others to judge by, all of them made up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from edge_runtime.backends.base import Session
from edge_runtime.optimize import Measure, digest
from edge_runtime.values import Tensors
from models import recipe
from models.lettering import line

LINES, OTHER_LINES = 48, 150


def samples(packages: Path) -> Sequence[Tensors]:
    """48 lines, each both ways."""
    return [inputs for inputs, _ in _both_ways(range(LINES))]


def measure(packages: Path) -> Measure:
    """Of 150 other lines, each both ways, the share that is told right."""
    known = list(_both_ways(range(1000, 1000 + OTHER_LINES)))

    def accuracy(session: Session) -> float:
        return float(np.mean([session.run(inputs)["turned"].argmax() == turned for inputs, turned in known]))

    data = f"{OTHER_LINES} made lines, each both ways, with none of which it was calibrated"
    return Measure("accuracy", data, accuracy, digest(inputs["image"] for inputs, _ in known))


def _both_ways(seeds: range) -> Iterator[tuple[Tensors, int]]:
    for seed in seeds:
        _, picture = line(seed)
        yield recipe.prepared("ppocr_cls", picture)[0], 0
        yield recipe.prepared("ppocr_cls", np.rot90(picture, 2))[0], 1


def golden(packages: Path) -> Sequence[Tensors]:
    """Four other lines, each both ways."""
    return [inputs for inputs, _ in _both_ways(range(2000, 2004))]
