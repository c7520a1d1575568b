"""Pictures to calibrate ppocr_det with, and others to judge by: printed pages made for it, and photographs.

The page that the project reads in its demonstration is in neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2

from edge_runtime.backends.base import Session
from edge_runtime.optimize import Measure, digest
from edge_runtime.processing.boxes import Box, find_boxes
from edge_runtime.processing.files import read_image
from edge_runtime.values import Array, Tensors
from models import recipe
from models.lettering import SIZES, page

PHOTOS = ("text.png", "astronaut.png", "coffee.png", "rocket.jpg")
OTHER_PHOTOS = ("chelsea.png", "coins.png", "motorcycle_left.png")
PAGES, OTHER_PAGES = 32, 24
SAME = 0.7
"""The intersection over union from which on two boxes are the same."""


def samples(packages: Path) -> Sequence[Tensors]:
    """Four photographs, one of them of handwriting, and 32 pages."""
    photos = _photos(packages, PHOTOS)
    return [
        recipe.prepared("ppocr_det", picture)[0] for picture in (*photos, *(page(seed, photos) for seed in range(PAGES)))
    ]


def measure(packages: Path) -> Measure:
    """The F1 of the boxes on 24 other pages and three other photographs, against those of the first session that is
    measured: fp32's."""
    photos = _photos(packages, OTHER_PHOTOS)
    pages = (page(1000 + seed, photos) for seed in range(OTHER_PAGES))
    inputs = [recipe.prepared("ppocr_det", picture)[0] for picture in (*photos, *pages)]
    known: list[tuple[Box, ...]] = []

    def f1(session: Session) -> float:
        found = [find_boxes(session.run(tensors)["probability"][0, 0]) for tensors in inputs]
        known.extend(found if not known else ())  # the first that is measured is fp32
        return box_f1(known, found)

    data = f"{OTHER_PAGES} made pages and {len(OTHER_PHOTOS)} photographs, with none of which it was calibrated"
    return Measure(
        f"F1 of the boxes against fp32's (intersection over union {SAME})", data, f1, digest(one["image"] for one in inputs)
    )


def golden(packages: Path) -> Sequence[Tensors]:
    """Four more pages, of one size."""
    seeds = range(2000, 2000 + 4 * len(SIZES), len(SIZES))
    return [recipe.prepared("ppocr_det", page(seed, _photos(packages, OTHER_PHOTOS)))[0] for seed in seeds]


def box_f1(known: Sequence[Sequence[Box]], found: Sequence[Sequence[Box]]) -> float:
    """The F1 of finding the known boxes, picture by picture; each found box stands for one known box at most."""
    hits = 0
    for wanted, boxes in zip(known, found, strict=True):
        free = list(boxes)
        for box in wanted:
            best = max(free, key=lambda other: overlap(box, other), default=None)
            if best is not None and overlap(box, best) >= SAME:
                free.remove(best)
                hits += 1
    total = sum(map(len, known)) + sum(map(len, found))
    return 2 * hits / total if total else 1.0


def overlap(one: Box, other: Box) -> float:
    """The intersection of two boxes over their union."""
    shared, _ = cv2.intersectConvexConvex(one.corners, other.corners)
    return float(shared / (one.width * one.height + other.width * other.height - shared))


def _photos(packages: Path, names: Sequence[str]) -> list[Array]:
    return [read_image(packages / "skimage" / "data" / name) for name in names]
