"""Digits to calibrate digits_cnn with, and to judge it by."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edge_runtime.optimize import Measure
from edge_runtime.values import Tensors
from models.classifier import Classifier
from models.data import digits


def samples(packages: Path) -> Sequence[Tensors]:
    """150 digits that it was trained with."""
    return _classifier(packages).samples()


def measure(packages: Path) -> Measure:
    """The share of the 1,000 held-out digits that it reads right."""
    return _classifier(packages).measure()


def golden(packages: Path) -> Sequence[Tensors]:
    """Eight held-out digits, 0 to 7."""
    return _classifier(packages).golden()


def _classifier(packages: Path) -> Classifier:
    return Classifier(digits.load(packages), digits.images, digits.HELD_OUT_DATA)
