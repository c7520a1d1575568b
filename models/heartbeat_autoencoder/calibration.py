"""Heartbeats to calibrate heartbeat_autoencoder with, and to judge it by."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edge_runtime.backends.base import Session
from edge_runtime.optimize import Measure
from edge_runtime.values import Array, Tensors
from models.data import heartbeats

SAMPLES, GOLDEN = 150, 4


def samples(packages: Path) -> Sequence[Tensors]:
    """150 windows that it was trained with, evenly over the time."""
    windows = heartbeats.load(packages).train
    return _inputs(windows[:: len(windows) // SAMPLES][:SAMPLES])


def measure(packages: Path) -> Measure:
    """How often an abnormal held-out window is restored worse than a normal one."""
    data = heartbeats.load(packages)

    def area(session: Session) -> float:
        return area_under_curve(_errors(session, data.abnormal), _errors(session, data.normal))

    return Measure("AUC", heartbeats.HELD_OUT_DATA, area, data.digest)


def golden(packages: Path) -> Sequence[Tensors]:
    """Four normal and four abnormal held-out windows."""
    data = heartbeats.load(packages)
    return _inputs(
        [*data.normal[:: len(data.normal) // GOLDEN][:GOLDEN], *data.abnormal[:: len(data.abnormal) // GOLDEN][:GOLDEN]]
    )


def area_under_curve(higher: Array, lower: Array) -> float:
    """The area under the receiver's curve, by ranks: the share of pairs in which the one that should be higher is. Equals
    count half."""
    both = np.concatenate([higher, lower])
    _, place, count = np.unique(both, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(count) - (count - 1) / 2)[place]
    most = len(higher) * len(lower)
    return float((ranks[: len(higher)].sum() - len(higher) * (len(higher) + 1) / 2) / most)


def _errors(session: Session, windows: Array) -> Array:
    return np.array([np.mean((session.run({"window": one[None]})["restored"] - one) ** 2) for one in windows])


def _inputs(windows: Sequence[Array] | Array) -> list[Tensors]:
    return [{"window": window[None]} for window in windows]
