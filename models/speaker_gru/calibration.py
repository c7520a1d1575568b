"""Utterances to calibrate the nets that tell speakers apart with, and to judge them by."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edge_runtime.optimize import Measure
from edge_runtime.values import Array, Tensors
from models.classifier import Classifier
from models.data import vowels


def samples(packages: Path) -> Sequence[Tensors]:
    """144 utterances that they were trained with, 16 of each speaker."""
    return _classifier(packages).samples()


def measure(packages: Path) -> Measure:
    """The share of the 370 held-out utterances whose speaker is found."""
    return _classifier(packages).measure()


def golden(packages: Path) -> Sequence[Tensors]:
    """The first held-out utterance of eight speakers."""
    return _classifier(packages).golden()


def _classifier(packages: Path) -> Classifier:
    return Classifier(vowels.load(packages), _as_loaded, vowels.HELD_OUT_DATA, input="series")


def _as_loaded(series: Array) -> Array:
    return series
