"""Nine speakers of Japanese, each saying two vowels: what is trained with, and what is held out.

The JapaneseVowels of the UCI archive (Kudo, Toyama and Shimbo, 1999; CC BY 4.0), as aeon carries them (BSD-3-Clause):
of each utterance 12 cepstral coefficients at 7 to 29 moments. The archive's own split: 270 to train with, 370 held out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edge_runtime.values import Array
from models.data import ts
from models.data.split import Split

FOLDER = Path("aeon/datasets/data/JapaneseVowels")
HELD_OUT_DATA = "JapaneseVowels' 370 test utterances"
STEPS = 29
"""Of the longest utterance. Shorter ones are followed by zeros, which no moment of sound has in all coefficients."""
MEAN = (0.869, -0.555, 0.246, -0.267, 0.219, -0.211, -0.174, -0.052, -0.205, -0.181, -0.024, 0.086)
SCALE = (0.488, 0.391, 0.301, 0.306, 0.269, 0.168, 0.161, 0.188, 0.188, 0.117, 0.098, 0.128)
"""Mean and standard deviation of each coefficient in the training utterances, as in the recipes' step `normalise`."""
CLASSES = tuple(f"speaker {number}" for number in range(1, 10))


def load(packages: Path) -> Split:
    """All utterances as the nets take them: float32 [n, STEPS, 12]. Raises InputError."""
    train, test = (ts.read(packages / FOLDER / f"JapaneseVowels_{part}.ts") for part in ("TRAIN", "TEST"))
    return Split(_inputs(train), _labels(train), _inputs(test), _labels(test), CLASSES)


def prepare(series: Array) -> Array:
    """One utterance, as the recipes' steps `normalise` and `fit` make it: float32 [STEPS, 12]."""
    fitted = np.zeros((STEPS, len(MEAN)), np.float32)
    scaled = (series - np.array(MEAN, np.float32)) / np.array(SCALE, np.float32)
    fitted[: len(scaled)] = scaled[:STEPS]
    return fitted


def _inputs(recordings: Sequence[ts.Recording]) -> Array:
    return np.stack([prepare(recording.values) for recording in recordings])


def _labels(recordings: Sequence[ts.Recording]) -> Array:
    return np.array([recording.label for recording in recordings], np.int64)
