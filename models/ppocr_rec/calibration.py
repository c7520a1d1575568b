"""Lines to calibrate ppocr_rec with, and others to judge by, all of them made up.

The page that the project reads in its demonstration is in neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count, islice
from pathlib import Path

from edge_runtime.backends.base import Session
from edge_runtime.optimize import Measure, digest
from edge_runtime.processing.texts import decode
from edge_runtime.values import Tensors
from models import recipe
from models.gather import labels_of
from models.lettering import line
from models.pipelines.score import edit_distance, normalise

LINES, OTHER_LINES = 32, 64
NARROW = 320
"""Pixels: the width of a line that is not padded further."""


def samples(packages: Path) -> Sequence[Tensors]:
    """32 lines."""
    return [recipe.prepared("ppocr_rec", line(seed)[1])[0] for seed in range(LINES)]


def measure(packages: Path) -> Measure:
    """Of the characters on 64 other lines, the share that is read right."""
    labels = labels_of(recipe.load("ppocr_rec"), packages)
    lines = [line(1000 + seed) for seed in range(OTHER_LINES)]
    inputs = [recipe.prepared("ppocr_rec", image)[0] for _, image in lines]
    texts = [normalise(text) for text, _ in lines]

    def share(session: Session) -> float:
        read = [decode(session.run(tensors)["symbols"][0], labels)[0] for tensors in inputs]
        edits = sum(edit_distance(normalise(found), text) for found, text in zip(read, texts, strict=True))
        return 1 - edits / sum(len(text) for text, _ in lines)

    data = f"{OTHER_LINES} made lines, with none of which it was calibrated"
    return Measure("1 - character error rate", data, share, digest(one["image"] for one in inputs))


def golden(packages: Path) -> Sequence[Tensors]:
    """Four more lines: the first that are short, and so of one width."""
    made = (recipe.prepared("ppocr_rec", line(seed)[1])[0] for seed in count(2000))
    return list(islice((inputs for inputs in made if inputs["image"].shape[3] == NARROW), 4))
