"""Sounds and series of measurements, [samples] or [steps, channels]: cut into what a model takes, and what is on in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from edge_runtime.processing import steps
from edge_runtime.processing.answers import Event
from edge_runtime.values import Array


def windows(step: steps.Windows, series: Array, before: Array | None = None) -> Iterator[Array]:
    """The pieces, [context + length, ...] each; none of a series that is too short to fill one, unless it is padded.

    `before` is the context of the first, where it is not silence: the last `context` samples before the series.
    """
    rest = -len(series) % step.length if step.pad else 0
    edge = [(0, 0)] * (series.ndim - 1)
    padded = np.pad(series, [(step.context, rest), *edge])
    if before is not None:
        padded[: step.context] = before
    for start in range(0, len(series) + rest - step.length + 1, step.length):
        yield padded[start : start + step.context + step.length]


def fit(step: steps.Fit, series: Array) -> Array:
    """[length, ...]."""
    kept = series[: step.length]
    edge = [(0, 0)] * (series.ndim - 1)
    return np.pad(kept, [(0, step.length - len(kept)), *edge], constant_values=step.value)


def column(step: steps.Column, series: Array) -> Array:
    """[..., 1]."""
    return series[..., None]


def frame_edges(first: int, windows: int, frames: int, step: steps.Events, window_seconds: float | None) -> Array:
    """float64 [windows * frames + 1]: when each frame begins, and when the last one ends, from the window `first` on.

    The frames of a window count from the window's beginning, so that nothing adds up over many of them.
    """
    length = frames * step.seconds if window_seconds is None else window_seconds
    starts = (np.arange(first, first + windows)[:, None] * length + np.arange(frames) * step.seconds).ravel()
    return np.append(starts, starts[-1] + step.seconds)


def events(scores: Array, edges: Array, step: steps.Events, labels: Sequence[str]) -> tuple[Event, ...]:
    """What is on, of float32 [frames, classes], in the order in which it begins. `edges` are [frames + 1], in seconds."""
    found = []
    on = scores >= step.threshold
    for number in np.flatnonzero(on.any(axis=0)).tolist():
        name = labels[number] if labels else step.name or str(number)
        for first, end in runs(on[:, number]):
            start, stop = float(edges[first]), float(edges[end])
            if stop - start >= step.shortest:
                found.append(Event(name, start, stop, float(scores[first:end, number].mean())))
    return tuple(sorted(found, key=lambda event: (event.start, event.end)))


def runs(on: Array) -> Iterator[tuple[int, int]]:
    """Where bool [n] is true: the first of each run, and what follows its last."""
    edges = np.flatnonzero(np.diff(on.astype(np.int8), prepend=0, append=0)).tolist()
    return zip(edges[::2], edges[1::2], strict=True)
