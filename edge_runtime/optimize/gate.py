"""Whether a variant is right enough to be let in: a measured figure, and how far inside its limit it lies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import msgspec
import numpy as np

from edge_runtime.backends.base import Session
from edge_runtime.bundles.manifest import Accuracy
from edge_runtime.errors import InputError
from edge_runtime.values import Array, Tensors


class Verdict(msgspec.Struct, frozen=True):
    """What a gate says of a variant on one engine."""

    engine: str
    """The engine that ran it: "onnxruntime 1.31.1"."""
    accuracy: Accuracy
    margin: float
    """How much worse the figure could be and still pass; below 0 (or NaN) it does not."""
    trouble: str = ""
    """Why there is no figure, when there is none."""

    @property
    def admitted(self) -> bool:
        return self.margin >= 0

    def __str__(self) -> str:
        if self.trouble:
            return f"refused on {self.engine}: {self.trouble}"
        word = "admitted" if self.admitted else "refused"
        return f"{word} on {self.engine}: {self.accuracy.metric} {self.accuracy.value:.4g}, margin {self.margin:+.2g}"


class Trial(msgspec.Struct, frozen=True):
    """What came of one int8 variant."""

    variant: str
    """Its name: "int8-onnx"."""
    verdicts: tuple[Verdict, ...] = ()
    """One for each engine here that runs it."""
    trouble: str = ""
    """Why there are no verdicts, when there are none."""

    @property
    def admitted(self) -> bool:
        """Whether it passed, on every engine."""
        return bool(self.verdicts) and all(verdict.admitted for verdict in self.verdicts)

    def __str__(self) -> str:
        told = [str(verdict) for verdict in self.verdicts] or [f"refused: {self.trouble}"]
        return "\n".join(f"{self.variant} {line}" for line in told)


Gate: TypeAlias = Callable[[Session, Session], Verdict]
"""Compares a candidate (second) with its reference (first)."""


def agreement(samples: Sequence[Tensors], tolerance: float, data: str) -> Gate:
    """A gate for any model: on these samples no output is further from the reference's than `tolerance` allows.

    The figure is the largest absolute difference of an output tensor's elements, relative to the largest absolute value
    that the reference has in that tensor; the worst of the tensors. `samples` must not be those of the calibration.
    """
    if not samples:
        raise InputError("no samples to judge with were given")
    limit = _limit(tolerance)

    def gate(reference: Session, candidate: Session) -> Verdict:
        runs = [(reference.run(sample), candidate.run(sample)) for sample in samples]
        worst = max(
            relative_difference([one[name] for one, _ in runs], [other[name] for _, other in runs]) for name in runs[0][0]
        )
        metric = "max difference from fp32, relative to its largest value"
        return Verdict(candidate.device.engine, Accuracy(metric, worst, data), limit - worst)

    return gate


class Measure(msgspec.Struct, frozen=True):
    """A figure that counts for a task: from 0 to 1, higher is better."""

    metric: str
    data: str
    """What it is measured on: nothing that the model was trained or calibrated with."""
    of: Callable[[Session], float]
    digest: str = ""
    """sha256 of that data."""


def retention(measure: Callable[[Session], float], metric: str, max_drop: float, data: str) -> Gate:
    """A gate by the measure that counts for a task (F1, accuracy; higher is better): it drops by `max_drop` at most.

    The reference is measured first, and only once: a gate is for one model.
    """
    limit = _limit(max_drop)
    before: list[float] = []

    def gate(reference: Session, candidate: Session) -> Verdict:
        if not before:
            before.append(measure(reference))
        after = measure(candidate)
        return Verdict(candidate.device.engine, Accuracy(metric, after, data), limit - (before[0] - after))

    return gate


def relative_difference(reference: Sequence[Array], found: Sequence[Array]) -> float:
    """max |found - reference| / max |reference| over all values of a tensor; infinite if one is NaN or lacks a partner."""
    if any(a.shape != b.shape for a, b in zip(reference, found, strict=True)):
        return float("inf")
    # np.max, unlike max(), never loses a NaN.
    scale = float(np.max([np.abs(a.astype(np.float64)).max() for a in reference]))
    worst = float(np.max([np.abs(a.astype(np.float64) - b).max() for a, b in zip(reference, found, strict=True)]))
    if worst == 0:
        return 0.0
    return worst / scale if scale > 0 and np.isfinite(worst) else float("inf")


def _limit(value: float) -> float:
    if not 0 <= value < float("inf"):
        raise InputError(f"a tolerance of {value} lets everything or nothing in: give a number from 0 up")
    return value
