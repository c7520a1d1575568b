"""Digits to calibrate digits_vae with, and to judge it by: they are to be read in what it makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edge_runtime.backends.base import Session
from edge_runtime.optimize import Measure
from edge_runtime.values import Tensors
from models import judge
from models.classifier import Classifier
from models.data import digits


def samples(packages: Path) -> Sequence[Tensors]:
    """150 digits that it was trained with."""
    return _digits(packages).samples()


def measure(packages: Path) -> Measure:
    """The share of the 1,000 held-out digits that digits_cnn reads right in their reconstruction."""
    held_out = digits.load(packages)
    images = digits.images(held_out.test_x)

    def recognised(session: Session) -> float:
        made = np.concatenate([session.run({"image": one[None]})["reconstruction"] for one in images])
        return float(np.mean(judge.read(made) == held_out.test_y))

    return Measure("share recognised", f"{digits.HELD_OUT_DATA}; judged by digits_cnn", recognised, held_out.digest)


def golden(packages: Path) -> Sequence[Tensors]:
    """Eight held-out digits, 0 to 7."""
    return _digits(packages).golden()


def _digits(packages: Path) -> Classifier:
    return Classifier(digits.load(packages), digits.images, digits.HELD_OUT_DATA)
