"""Patches to calibrate patches_cnn with, and to judge it by."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edge_runtime.optimize import Measure
from edge_runtime.values import Tensors
from models.classifier import Classifier
from models.patches_cnn.data import images, load


def samples(packages: Path, data: Path | None = None) -> Sequence[Tensors]:
    """150 patches that it was trained with."""
    return _classifier(packages, data).samples()


def measure(packages: Path, data: Path | None = None) -> Measure:
    """The share of held-out patches whose photograph it names right."""
    return _classifier(packages, data).measure()


def golden(packages: Path, data: Path | None = None) -> Sequence[Tensors]:
    """Eight held-out patches, of eight classes."""
    return _classifier(packages, data).golden()


def _classifier(packages: Path, data: Path | None) -> Classifier:
    held_out = (
        "2,000 patches of strips of ten photographs that nothing was trained with"
        if data is None
        else "CIFAR-10's test batch"
    )
    return Classifier(load(packages, data), images, held_out)
