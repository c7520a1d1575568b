"""Lines to calibrate ppocr_cls with, upright and turned, and others to judge by, all of them made up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from edge_runtime.backends.base import Session
from edge_runtime.bundles.bundle import Bundle
from edge_runtime.optimize import Gate, retention
from edge_runtime.values import Array, Tensors
from models.lettering import line

LINES, OTHER_LINES = 48, 150
HEIGHT, WIDTH = 48, 192


def samples(packages: Path) -> Sequence[Tensors]:
    """48 lines, each both ways."""
    return [inputs for inputs, _ in _both_ways(range(LINES))]


def gate(bundle: Bundle, packages: Path, tolerance: float) -> Gate:
    """Of 150 other lines, each both ways, the share that is told right drops by the tolerance at most."""
    return retention(_accuracy(), "accuracy", tolerance, f"{OTHER_LINES} made lines, each both ways, {NONE}")


NONE = "with none of which it was calibrated"


def _accuracy() -> Callable[[Session], float]:
    known = list(_both_ways(range(1000, 1000 + OTHER_LINES)))

    def measure(session: Session) -> float:
        return float(np.mean([session.run(inputs)["turned"].argmax() == turned for inputs, turned in known]))

    return measure


def _both_ways(seeds: range) -> Iterator[tuple[Tensors, int]]:
    for seed in seeds:
        _, image = line(seed)
        yield {"image": prepare(image)}, 0
        yield {"image": prepare(np.ascontiguousarray(np.rot90(image, 2)))}, 1


def prepare(image: Array) -> Array:
    """The line as the model takes it: float32 [1, 3, 48, 192]."""
    width = min(WIDTH, -(-image.shape[1] * HEIGHT // image.shape[0]))
    scaled = np.asarray(cv2.resize(image, (width, HEIGHT)), np.float32)[:, :, ::-1] / 127.5 - 1
    return np.ascontiguousarray(np.pad(scaled, ((0, 0), (0, WIDTH - width), (0, 0))).transpose(2, 0, 1)[None])
