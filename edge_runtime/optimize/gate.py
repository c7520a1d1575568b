"""Whether a variant is right enough to be let in: a measured figure, and how far inside its limit it lies."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import msgspec
import numpy as np

from edge_runtime.backends.base import Session
from edge_runtime.bundles.manifest import Accuracy
from edge_runtime.errors import InputError, RunError
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
    """What came of one variant."""

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


class Measure(msgspec.Struct, frozen=True):
    """How right a model is at its task, on data that it was neither trained nor calibrated with."""

    metric: str
    """What is measured: "accuracy", "F1"."""
    data: str
    """On what, in words."""
    of: Callable[[Session], float]
    """The figure of a session, 0 to 1; higher is better. It may raise anything."""
    digest: str = ""
    """The sha256 of the data."""

    def __call__(self, session: Session) -> float:
        """The figure. Raises InputError, with the function's own words, when it fails or gives no number."""
        try:
            value = float(self.of(session))
        except (Exception, SystemExit) as error:
            told = f"{type(error).__name__}: {error}".rstrip(": ")
            raise InputError(f"{self.metric} cannot be measured on {session.device}: {told}") from error
        if not math.isfinite(value):
            raise InputError(f"{self.metric} measured on {session.device} is {value}, which is no figure to judge by")
        return value

    def accuracy(self, value: float) -> Accuracy:
        """The figure as a manifest tells it."""
        return Accuracy(self.metric, value, self.data, self.digest)


def agreement(samples: Sequence[Tensors], tolerance: float, data: str, digest: str = "") -> Gate:
    """A gate for any model: on these samples no output is further from the reference's than `tolerance` allows.

    The figure is the largest absolute difference of an output tensor's elements, relative to the largest absolute value
    that the reference has in that tensor; the worst of the tensors. `samples` must not be those of the calibration.
    """
    if not samples:
        raise InputError("no samples to judge with were given")
    limit = _limit(tolerance)

    def gate(reference: Session, candidate: Session) -> Verdict:
        wanted = [reference.run(sample) for sample in samples]
        try:
            found = [candidate.run(sample) for sample in samples]
        except RunError as error:
            return refusal(candidate.device.engine, str(error))
        worst = max(relative_difference([row[name] for row in wanted], [row[name] for row in found]) for name in wanted[0])
        metric = "max difference from fp32, relative to its largest value"
        return Verdict(candidate.device.engine, Accuracy(metric, worst, data, digest), limit - worst)

    return gate


class Retention:
    """A gate by the measure that counts for a task: it drops by `max_drop` at most.

    The reference is measured first, and only once: a gate is for one model. A measure that fails on the reference raises
    InputError; on a candidate, it refuses that.
    """

    def __init__(self, measure: Measure, max_drop: float) -> None:
        self.measure = measure
        self.max_drop = _limit(max_drop)
        self._before: float | None = None

    def before(self, reference: Session) -> float:
        """The reference's figure."""
        if self._before is None:
            self._before = self.measure(reference)
        return self._before

    def __call__(self, reference: Session, candidate: Session) -> Verdict:
        before, engine = self.before(reference), candidate.device.engine
        try:
            after = before if candidate is reference else self.measure(candidate)
        except InputError as error:
            return refusal(engine, str(error))
        # To twelve digits: 0.97 less 0.96 is over 0.01 in floating point.
        return Verdict(engine, self.measure.accuracy(after), round(self.max_drop - (before - after), 12))


def retention(measure: Measure, max_drop: float) -> Retention:
    """A gate that lets a variant in whose measure is at most `max_drop` below the reference's."""
    return Retention(measure, max_drop)


def refusal(engine: str, trouble: str) -> Verdict:
    """The verdict on a variant of which there is no figure."""
    return Verdict(engine, Accuracy("", float("nan"), ""), float("-inf"), trouble)


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
