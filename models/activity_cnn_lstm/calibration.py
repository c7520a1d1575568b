"""Windows to calibrate activity_cnn_lstm with, and streams to judge it by."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edge_runtime.backends.base import Session
from edge_runtime.optimize import Measure
from edge_runtime.values import Array, Tensors
from models.data import motions

UNITS, MOST = 48, 3.0
SPREAD = 2.1
"""Standard deviation of the cells' states after the training recordings' windows."""
SAMPLES = 160


def samples(packages: Path) -> Sequence[Tensors]:
    """160 windows of the training recordings, each with a state as wide as those that the net gets into."""
    data = motions.load(packages)
    windows = np.concatenate([motions.stream(series) for series in data.train_x])
    return _with_state(windows[:: len(windows) // SAMPLES], SPREAD, seed=0)


def measure(packages: Path) -> Measure:
    """The share of streams whose activity is right after the last window: 40 held-out recordings, from five starts each."""
    data = motions.load(packages)
    streams = [
        (motions.stream(series, start), label)
        for series, label in zip(data.test_x, data.test_y, strict=True)
        for start in motions.STARTS
    ]

    def accuracy(session: Session) -> float:
        return float(np.mean([_last(session, windows).argmax() == label for windows, label in streams]))

    return Measure("accuracy", motions.HELD_OUT_DATA, accuracy, data.digest)


def golden(packages: Path) -> Sequence[Tensors]:
    """The eight windows of a held-out recording of running, each with a state that is drawn."""
    data = motions.load(packages)
    running = data.test_x[data.test_y == motions.CLASSES.index("running")][0]
    return _with_state(motions.stream(running), 0.1, seed=1)


def _last(session: Session, windows: Array) -> Array:
    stream = session.stream()
    for window in windows[:-1]:
        stream.run({"window": window[None]})
    return stream.run({"window": windows[-1:]})["scores"]


def _with_state(windows: Array, spread: float, seed: int) -> list[Tensors]:
    dice = np.random.default_rng(seed)
    cells = (spread * dice.standard_normal((len(windows), 1, 1, UNITS))).clip(-MOST, MOST).astype(np.float32)
    said = np.tanh(cells * dice.random(cells.shape, np.float32))
    return [{"window": window[None], "h": h, "c": c} for window, h, c in zip(windows, said, cells, strict=True)]
