"""A model's processing, ready to use: from what a user has to the calls, and from their outputs to the answer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from edge_runtime.errors import BundleError, InputError
from edge_runtime.processing import after, micro, steps, texts
from edge_runtime.processing.answers import Answer
from edge_runtime.processing.before import Kit, prepare
from edge_runtime.processing.kinds import Raw, checked
from edge_runtime.signature import Signature
from edge_runtime.values import Array, Tensors


class Processor:
    """What turns a picture, a sound, a text, bytes, a series or a class into tensors, and outputs into an answer.

    Holds no state; every method may be called from several threads. Raises ManifestError or BundleError where processing,
    signature, labels and vocabulary do not fit each other, EngineMissingError where a step's package is not installed.
    """

    def __init__(
        self, processing: steps.Processing, signature: Signature, labels: Sequence[str] = (), vocabulary: Path | None = None
    ) -> None:
        processing.check(signature)
        _check_labels(processing, signature, labels)
        self.processing = processing
        self._labels = tuple(labels)
        self._kit = Kit(processing.input, _encoder(processing, vocabulary))

    def before(self, raw: Raw, context: Array | None = None, ears: micro.Ears | None = None) -> Sequence[Tensors]:
        """The tensors of each call, without a model's state: one call, or one for each window. Raises InputError.

        `context` is what came before the first window, where it is not silence; `ears` what heard it, for micro-features.
        """
        return _tensors(self.processing, raw, msgspec.structs.replace(self._kit, before=context, ears=ears))

    def after(self, raw: Raw, calls: Sequence[Tensors], outputs: Sequence[Tensors], *, first: int = 0) -> Answer:
        """The answer, from what `before` was given and gave, and the outputs of each call. `first` is how many windows a
        stream had heard before: the times of events count from its beginning."""
        return after.answer(after.Done(self.processing, self._labels, raw, calls, outputs, first))

    def feed(self) -> Feed:
        """The same for a stream."""
        return Feed(self)


class Feed:
    """A stream's processing: it is handed the new samples alone, a window at a time, and keeps those that the model sees
    again. For one thread at a time."""

    def __init__(self, processor: Processor) -> None:
        self._processor = processor
        self._windows = processor.processing.windows
        self._context: Array | None = None
        self._ears = micro.Ears() if isinstance(self._windows, steps.MicroFeatures) else None
        self._pending: tuple[Raw, Tensors] | None = None
        """What the ears heard last, while its call was not carried out: tried again, it is not heard twice."""
        self._heard = 0

    def before(self, raw: Raw) -> Tensors:
        """The tensors of the next call: of one window's new samples, or of all where a model has no windows."""
        windows = self._windows
        if windows is not None and isinstance(raw, np.ndarray) and raw.ndim and len(raw) != windows.length:
            raise InputError(f"a stream takes {windows.length} new samples at a time; these are {len(raw)}")
        if self._ears is None:
            return self._processor.before(raw, self._context)[0]
        if self._pending is None or not np.array_equal(self._pending[0], raw):
            call = self._processor.before(raw, ears=self._ears)[0]
            self._pending = np.array(raw), call
        return self._pending[1]

    def after(self, raw: Raw, call: Tensors, outputs: Tensors) -> Answer:
        """The answer of this call, which was carried out: the next one follows it."""
        answer = self._processor.after(raw, [call], [outputs], first=self._heard)
        self._heard += 1
        self._pending = None
        windows = self._windows
        if windows is not None and windows.context and isinstance(raw, np.ndarray):
            before = np.zeros_like(raw, shape=(windows.context, *raw.shape[1:])) if self._context is None else self._context
            self._context = np.concatenate([before, raw])[-windows.context :]
        return answer


def tensors(processing: steps.Processing, raw: Raw, vocabulary: Path | None = None) -> Sequence[Tensors]:
    """The tensors of each call, where there is no bundle yet: what `Processor.before` gives."""
    return _tensors(processing, raw, Kit(processing.input, _encoder(processing, vocabulary)))


def _tensors(processing: steps.Processing, raw: Raw, kit: Kit) -> Sequence[Tensors]:
    return prepare(processing.before, checked(processing.takes, raw), kit)


def _check_labels(processing: steps.Processing, signature: Signature, labels: Sequence[str]) -> None:
    """Raise BundleError for labels that are not those of the output's classes."""
    step = processing.after
    if step.labelled and not labels:
        raise BundleError("the answer of this model is made of labels, and its bundle has none: give the manifest `labels`")
    shape = next(spec.shape for spec in signature.outputs if spec.name == step.output)
    classes = shape[-1] if shape else None
    named = isinstance(step, steps.Labels | steps.Ctc | steps.Events) and isinstance(classes, int)
    if labels and named and classes != len(labels):
        raise BundleError(f"{len(labels)} labels do not fit the {classes} classes of output {step.output!r}")


def _encoder(processing: steps.Processing, vocabulary: Path | None) -> texts.Encode | None:
    step = next((step for step in processing.before if isinstance(step, steps.WordPieces)), None)
    if step is None:
        return None
    if vocabulary is None:
        raise BundleError("texts are taken apart by a vocabulary, and the bundle has none: give the manifest `vocabulary`")
    return texts.word_pieces(step, vocabulary)
