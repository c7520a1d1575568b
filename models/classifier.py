"""What the calibrations of the classifiers share: inputs to calibrate with, and the share of held-out ones read right."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import numpy as np

from edge_runtime.backends.base import Session
from edge_runtime.optimize import Measure
from edge_runtime.values import Array, Tensors
from models.data.split import Split, head

SAMPLES, GOLDEN = 150, 8
"""Inputs to calibrate with, evenly of all classes; and held-out inputs whose right outputs the bundle keeps."""


class Classifier(msgspec.Struct, frozen=True):
    """A net that gives each input scores of its classes."""

    split: Split
    prepare: Callable[[Array], Array]
    """Inputs as the split has them -> as the net takes them, still many."""
    data: str
    """What is held out, in words."""
    input: str = "image"
    output: str = "scores"

    def samples(self) -> Sequence[Tensors]:
        """Of what was trained with."""
        chosen = head(self.split.train_y, SAMPLES // len(self.split.classes))
        return self._inputs(self.split.train_x[chosen])

    def golden(self) -> Sequence[Tensors]:
        """The first held-out one of each class, in the classes' order."""
        return self._inputs(self.split.test_x[np.unique(self.split.test_y, return_index=True)[1][:GOLDEN]])

    def measure(self) -> Measure:
        """The share of what is held out whose likeliest class is the right one."""
        inputs, classes = self._inputs(self.split.test_x), self.split.test_y

        def accuracy(session: Session) -> float:
            found = [int(session.run(one)[self.output].argmax()) for one in inputs]
            return float(np.mean(found == classes))

        return Measure("accuracy", self.data, accuracy, self.split.digest)

    def _inputs(self, many: Array) -> list[Tensors]:
        return [{self.input: one[None]} for one in self.prepare(many)]
