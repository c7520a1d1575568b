"""Noise to calibrate digits_gan with, and the judgement of the digits that it makes of other noise."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edge_runtime.backends.base import Session
from edge_runtime.optimize import Measure
from edge_runtime.values import Array, Tensors
from models import judge

NOISE, CLASSES = 32, 10
SAMPLES, MADE, GOLDEN = 150, 500, 8
ALIKE = 0.05
"""Two made digits whose pixels differ by less (root mean square, 0..1) are one and the same."""


def samples(packages: Path) -> Sequence[Tensors]:
    """Noise, and the ten digits in turn."""
    return inputs(SAMPLES, seed=1)


def measure(packages: Path) -> Measure:
    """The share of 500 made digits that digits_cnn reads as what they were to be, copies of one another not counted."""
    made = inputs(MADE, seed=2)
    wanted = np.arange(MADE) % CLASSES

    def recognised(session: Session) -> float:
        pictures = np.concatenate([session.run(one)["picture"] for one in made])
        return float(np.mean((judge.read(pictures) == wanted) & ~copies(pictures, wanted)))

    digest = hashlib.sha256(b"".join(one["noise"].tobytes() for one in made)).hexdigest()
    return Measure(
        "share recognised", "500 made digits, judged by digits_cnn; copies of others do not count", recognised, digest
    )


def golden(packages: Path) -> Sequence[Tensors]:
    """Other noise, and the digits 0 to 7."""
    return inputs(GOLDEN, seed=3)


def inputs(count: int, seed: int) -> list[Tensors]:
    """So many inputs: standard normal noise, and the ten digits in turn."""
    dice = np.random.default_rng(seed)
    labels = np.eye(CLASSES, dtype=np.float32)
    return [
        {"noise": dice.standard_normal((1, NOISE)).astype(np.float32), "label": labels[[at % CLASSES]]}
        for at in range(count)
    ]


def copies(pictures: Array, classes: Array) -> Array:
    """Which pictures are like an earlier one of their class: of ten that are the same, nine."""
    found = np.zeros(len(pictures), bool)
    for one in np.unique(classes):
        rows = np.flatnonzero(classes == one)
        flat = pictures[rows].reshape(len(rows), -1).astype(np.float64)
        apart = np.sqrt(np.square(flat[:, None] - flat).mean(-1))
        found[rows] = np.tril(apart < ALIKE, -1).any(1)
    return found
