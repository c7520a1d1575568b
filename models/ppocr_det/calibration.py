"""Pictures to calibrate ppocr_det with, and others to judge by: printed pages made for it, and photographs.

The page that the project reads in its demonstration is in neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from edge_runtime.backends.base import Session
from edge_runtime.optimize import Gate, retention
from edge_runtime.values import Array, Tensors
from models.pipelines.boxes import Box, find_boxes
from models.pipelines.read import prepare_page
from models.pipelines.sources import read_image

PHOTOS = ("text.png", "astronaut.png", "coffee.png", "rocket.jpg")
OTHER_PHOTOS = ("chelsea.png", "coins.png", "motorcycle_left.png")
PAGES, OTHER_PAGES = 32, 24
SAME = 0.7
"""The intersection over union from which on two boxes are the same."""

SIZES = ((192, 384), (256, 512), (320, 480), (480, 352))
FONTS = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_COMPLEX, cv2.FONT_HERSHEY_TRIPLEX)
CHARACTERS = tuple("etaoinshrdlucmfwypvbgkjqxzETAOINSHRDLU0123456789.,:;()=-+*/&%$#@'")
# As often as in print, more or less: the lower case three times the rest.
ODDS = np.array([3.0 if character.islower() else 1.0 for character in CHARACTERS])


def samples(packages: Path) -> Sequence[Tensors]:
    """Four photographs, one of them of handwriting, and 32 pages."""
    photos = _photos(packages, PHOTOS)
    return [{"image": prepare_page(image)} for image in (*photos, *(page(seed, photos) for seed in range(PAGES)))]


def gate(packages: Path, tolerance: float) -> Gate:
    """On 24 other pages and three other photographs the boxes are fp32's: their F1 is below 1 by the tolerance at most."""
    photos = _photos(packages, OTHER_PHOTOS)
    pages = (page(1000 + seed, photos) for seed in range(OTHER_PAGES))
    images = [prepare_page(image) for image in (*photos, *pages)]
    known: list[tuple[Box, ...]] = []

    def measure(session: Session) -> float:
        found = [find_boxes(session.run({"image": image})["probability"][0, 0]) for image in images]
        known.extend(found if not known else ())  # the first that is measured is fp32
        return box_f1(known, found)

    data = f"{OTHER_PAGES} made pages and {len(OTHER_PHOTOS)} photographs, with none of which it was calibrated"
    return retention(measure, f"F1 of the boxes against fp32's (intersection over union {SAME})", tolerance, data)


def page(seed: int, photos: Sequence[Array]) -> Array:
    """A page of words in some font, size, colour and light, on paper or on a photograph: uint8 [H, W, 3]."""
    dice = np.random.default_rng(seed)
    height, width = SIZES[seed % len(SIZES)]
    dark = dice.random() < 0.25
    image = np.full((height, width, 3), int(dice.integers(0, 70) if dark else dice.integers(170, 256)), np.uint8)
    if dice.random() < 0.3:
        image = np.asarray(cv2.resize(photos[int(dice.integers(len(photos)))], (width, height)))
    light = np.linspace(1 - 0.45 * dice.random(), 1, width)[None, :, None]
    image = (image * light).astype(np.uint8)
    y = 4
    while y < height - 8:
        scale = float(dice.uniform(0.32, 0.8))
        y += int(30 * scale)
        text = " ".join(word(dice) for _ in range(dice.integers(1, 9)))
        colour = [int(c) for c in (dice.integers(180, 256, 3) if dark else dice.integers(0, 90, 3))]
        font = FONTS[int(dice.integers(len(FONTS)))]
        cv2.putText(image, text, (int(dice.integers(2, 40)), y), font, scale, colour, 1, cv2.LINE_AA)
        y += int(dice.integers(2, 14))
    return np.asarray(cv2.GaussianBlur(image, (3, 3), 0)) if dice.random() < 0.5 else image


def word(dice: np.random.Generator) -> str:
    """Something that looks like a word."""
    return "".join(dice.choice(CHARACTERS, int(dice.integers(1, 11)), p=ODDS / ODDS.sum()))


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
