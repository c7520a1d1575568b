"""What patches_cnn is trained on: patches of photographs, or CIFAR-10 itself when its folder is given."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edge_runtime.values import Array
from models.data import cifar, photographs
from models.data.split import Split


def load(packages: Path, folder: Path | None = None) -> Split:
    """uint8 [n, 32, 32, 3] of ten classes; of CIFAR-10's folder if there is one."""
    return photographs.load(packages) if folder is None else cifar.load(folder)


def images(pixels: Array) -> Array:
    """uint8 [n, 32, 32, 3] as the net takes them: float32 [n, 3, 32, 32] in -1..1."""
    return np.ascontiguousarray((pixels.transpose(0, 3, 1, 2) - np.float32(127.5)) / np.float32(127.5), np.float32)
