"""What the calibrations of the three nets that tell languages share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edge_runtime.backends.base import Session
from edge_runtime.optimize import Measure
from edge_runtime.values import Array, Tensors
from models.data import language

INPUT, OUTPUT = "text", "scores"
SAMPLES, GOLDEN = 160, 8
_SAMPLES_SEED = 1_000_000


def samples(packages: Path) -> Sequence[Tensors]:
    """160 phrases of words that the nets were trained with, 20 in each language."""
    return _inputs(language.phrases(language.load(packages).train, SAMPLES, _SAMPLES_SEED).x)


def measure(packages: Path) -> Measure:
    """The share of the 4,000 held-out phrases whose language is told right."""
    held_out = language.held_out(packages)
    inputs = _inputs(held_out.x)

    def accuracy(session: Session) -> float:
        told = [int(session.run(one)[OUTPUT].argmax()) for one in inputs]
        return float(np.mean(told == held_out.y))

    return Measure("accuracy", language.HELD_OUT_DATA, accuracy, held_out.digest)


def golden(packages: Path) -> Sequence[Tensors]:
    """One held-out phrase in each language, in the classes' order."""
    held_out = language.held_out(packages)
    return _inputs(held_out.x[np.unique(held_out.y, return_index=True)[1][:GOLDEN]])


def _inputs(many: Array) -> list[Tensors]:
    return [{INPUT: one[None]} for one in many]
