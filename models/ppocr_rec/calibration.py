"""Lines to calibrate ppocr_rec with, and others to judge by, all of them made up.

The page that the project reads in its demonstration is in neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edge_runtime.backends.base import Session
from edge_runtime.bundles.bundle import Bundle
from edge_runtime.optimize import Gate, retention
from edge_runtime.processing.texts import decode
from edge_runtime.values import Tensors
from models import recipe
from models.lettering import line
from models.pipelines.score import edit_distance, normalise

LINES, OTHER_LINES = 32, 64


def samples(packages: Path) -> Sequence[Tensors]:
    """32 lines."""
    return [recipe.prepared("ppocr_rec", line(seed)[1])[0] for seed in range(LINES)]


def gate(bundle: Bundle, packages: Path, tolerance: float) -> Gate:
    """Of the characters on 64 other lines, the share that is read right drops by the tolerance at most."""
    labels = bundle.labels()
    made = (line(1000 + seed) for seed in range(OTHER_LINES))
    lines = [(text, recipe.prepared("ppocr_rec", picture)[0]) for text, picture in made]

    def measure(session: Session) -> float:
        edits = sum(
            edit_distance(normalise(decode(session.run(tensors)["symbols"][0], labels)[0]), normalise(text))
            for text, tensors in lines
        )
        return 1 - edits / sum(len(text) for text, _ in lines)

    return retention(
        measure, "1 - character error rate", tolerance, f"{OTHER_LINES} made lines, with none of which it was calibrated"
    )
