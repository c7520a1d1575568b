"""The step after a model, by its type: from the outputs of all calls to the answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from edge_runtime.errors import InputError, ManifestError
from edge_runtime.processing import answers, boxes, images, sounds, steps, texts
from edge_runtime.processing.answers import Answer
from edge_runtime.values import Array, Tensors


class Done:
    """One input's calls, carried out."""

    def __init__(
        self, processing: steps.Processing, labels: Sequence[str], raw: Any, calls: Sequence[Tensors],
        outputs: Sequence[Tensors], first: int,
    ) -> None:  # fmt: skip
        self.processing = processing
        self.labels = labels
        self.raw = raw
        self.calls = calls
        self.outputs = outputs
        self.first = first
        """Windows that a stream had heard before."""

    def output(self, name: str) -> Array:
        """An output of all calls, one after the other along the first axis."""
        arrays = [output[name] for output in self.outputs]
        return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)

    @property
    def window_seconds(self) -> float | None:
        """How long one call's new samples are."""
        windows, rate = self.processing.windows, self.processing.rate
        return None if windows is None or rate is None else windows.length / rate


def answer(done: Done) -> Answer:
    """What the last step makes of it."""
    after = done.processing.after
    try:
        return _STEPS[type(after)](after, done)
    except InputError:
        raise
    except (ValueError, TypeError, IndexError) as error:  # numpy's, of an output of another shape than the step is for
        raise ManifestError(
            f"the model's output {after.output!r} is not one of which {steps.name(after)} are made: {error}"
        ) from error


def _labels(step: steps.Labels, done: Done) -> answers.Labels:
    scores = done.output(step.output).astype(np.float64)
    scores = scores.reshape(-1, scores.shape[-1])
    if step.softmax:
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        scores = powers / powers.sum(axis=1, keepdims=True)
    mean = scores.mean(axis=0)
    best = np.argsort(-mean, kind="stable")[: step.top].tolist()
    names = done.labels or list(map(str, range(len(mean))))
    return answers.Labels(tuple(answers.Label(names[place], float(mean[place])) for place in best))


def _boxes(step: steps.Boxes, done: Done) -> answers.Boxes:
    return answers.Boxes(boxes.regions(_alone(done.output(step.output), 4)[0], done.raw.shape))


def _ctc(step: steps.Ctc, done: Done) -> answers.Text:
    return answers.Text(*texts.decode(_alone(done.output(step.output), 3), done.labels))


def _events(step: steps.Events, done: Done) -> answers.Events:
    scores = done.output(step.output)
    windows, frames, classes = (scores[:, None] if scores.ndim == 2 else scores).shape
    edges = sounds.frame_edges(done.first, windows, frames, step, done.window_seconds)
    return answers.Events(sounds.events(scores.reshape(-1, classes), edges, step, done.labels))


def _pooled(step: steps.Pooled, done: Done) -> answers.Embedding:
    marked = done.calls[0][step.mask][0].astype(np.float32)
    total = marked @ _alone(done.output(step.output), 3)
    return answers.Embedding((total / max(float(np.linalg.norm(total)), 1e-12)).astype(np.float32))


def _picture(step: steps.Picture, done: Done) -> answers.Picture:
    return answers.Picture(images.pixels(done.output(step.output)))


def _sound(step: steps.Sound, done: Done) -> answers.Sound:
    return answers.Sound(done.output(step.output).astype(np.float32).reshape(-1), done.processing.rate)


def _anomaly(step: steps.Anomaly, done: Done) -> answers.Anomaly:
    errors = [
        float(np.mean(np.square(output[step.output].astype(np.float64) - call[done.processing.input])))
        for call, output in zip(done.calls, done.outputs, strict=True)
    ]
    return answers.Anomaly(tuple(errors), max(errors) >= step.threshold)


def _alone(output: Array, rank: int) -> Array:
    """The one of a batch of one."""
    if output.ndim != rank or output.shape[0] != 1:
        raise ManifestError(f"an answer is made of an output [1, ...] of {rank} axes; the model gave {list(output.shape)}")
    return np.asarray(output[0])


_STEPS: dict[type[steps.Step], Callable[[Any, Done], Answer]] = {
    steps.Labels: _labels,
    steps.Boxes: _boxes,
    steps.Ctc: _ctc,
    steps.Events: _events,
    steps.Pooled: _pooled,
    steps.Picture: _picture,
    steps.Sound: _sound,
    steps.Anomaly: _anomaly,
}
