"""People who stand, walk, run or play badminton with a watch on the wrist: what is trained with, and what is held out.

The BasicMotions of the UEA archive (a student project with a smart watch), as aeon carries them (BSD-3-Clause): an
accelerometer's and a gyroscope's three axes, ten times a second for ten seconds. The archive's own split: 40 recordings
to train with, 40 held out.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edge_runtime.values import Array
from models.data import ts
from models.data.split import Split

FOLDER = Path("aeon/datasets/data/BasicMotions")
HELD_OUT_DATA = "BasicMotions' 40 test recordings, each streamed for eight seconds from five starts"
WINDOW, WINDOWS = 10, 8
"""Steps of a window, and windows of a stream."""
STARTS = (0, 5, 10, 15, 20)
"""Where the held-out streams begin in a recording."""
MEAN = (2.553, -1.304, -1.027, 0.019, -0.024, -0.056)
SCALE = (7.072, 6.794, 3.546, 2.112, 1.821, 3.517)
"""Mean and standard deviation of each channel in the training recordings, as in the recipe's step `normalise`."""
CLASSES = ("standing", "running", "walking", "badminton")


def load(packages: Path) -> Split:
    """All recordings, normalised: float32 [n, 100, 6]. Raises InputError."""
    train, test = (ts.read(packages / FOLDER / f"BasicMotions_{part}.ts") for part in ("TRAIN", "TEST"))
    inputs = [np.stack([prepare(recording.values) for recording in part]) for part in (train, test)]
    labels = [np.array([recording.label for recording in part], np.int64) for part in (train, test)]
    return Split(inputs[0], labels[0], inputs[1], labels[1], CLASSES)


def prepare(series: Array) -> Array:
    """A recording as the recipe's step `normalise` makes it."""
    return np.asarray((series - np.array(MEAN, np.float32)) / np.array(SCALE, np.float32))


def stream(series: Array, start: int = 0) -> Array:
    """The windows of a recording from a start on: [WINDOWS, WINDOW, 6]."""
    return series[start : start + WINDOW * WINDOWS].reshape(WINDOWS, WINDOW, -1)
