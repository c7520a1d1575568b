"""Twenty seconds of a heart, with one beat that comes too early: what is trained with, and what is held out.

An excerpt of the MIT-BIH arrhythmia database (Moody and Mark, 2001; ODC-By 1.0), 360 samples a second in millivolts, as
sktime carries it (BSD-3-Clause). A sample's label is 1 in the one stretch that its cardiologists' notes call abnormal.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
import numpy as np

from edge_runtime.errors import InputError
from edge_runtime.values import Array

FILE = Path("sktime/datasets/data/mitdb/mitdb.csv")
HELD_OUT_DATA = "the last 7 of 21 seconds of the MIT-BIH excerpt, two seconds from every fourth sample"
HEAD = "data,label"
MAX_BYTES = 1 << 24
"""Of a file, at most: more is refused before it is read."""
RATE, WINDOW = 360, 720
"""Samples a second, and of a window: two beats at least."""
TRAINED = 5000
"""Samples that are trained with; what comes later is held out."""
MEAN, SCALE = -0.278, 0.174
"""Of the whole signal, as in the recipe's step `normalise`."""
EVERY = 4
"""Samples from one held-out window to the next."""


class Signal(msgspec.Struct, frozen=True, eq=False):
    """One channel, sample by sample."""

    values: Array
    """float32 [samples]."""
    abnormal: Array
    """bool [samples]."""


class Heartbeats(msgspec.Struct, frozen=True, eq=False):
    """Windows, normalised: float32 [n, WINDOW]."""

    train: Array
    """From every second sample of the first part: all normal."""
    normal: Array
    """Held out, without an abnormal sample."""
    abnormal: Array
    """Held out, with half of the abnormal stretch or more. Windows with less of it count as neither."""

    @property
    def digest(self) -> str:
        """sha256 of what is held out."""
        digest = hashlib.sha256(self.normal.tobytes())
        digest.update(self.abnormal.tobytes())
        return digest.hexdigest()


def load(packages: Path) -> Heartbeats:
    """All windows. Raises InputError."""
    path = packages / FILE
    try:
        if (size := path.stat().st_size) > MAX_BYTES:
            raise InputError(f"{path} has {size} bytes; at most {MAX_BYTES} are read")
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    return split(parse(text, path.name))


def split(signal: Signal) -> Heartbeats:
    """The windows of a signal. Raises InputError for one that is too short, or without an abnormal stretch at its end."""
    if signal.abnormal[:TRAINED].any() or not signal.abnormal[TRAINED:].any():
        raise InputError(f"the samples must be normal up to {TRAINED}, and some abnormal after it, to train and to judge")
    every = np.lib.stride_tricks.sliding_window_view((signal.values - np.float32(MEAN)) / np.float32(SCALE), WINDOW)
    share = np.lib.stride_tricks.sliding_window_view(signal.abnormal, WINDOW).sum(1)[TRAINED::EVERY]
    held_out = every[TRAINED::EVERY]
    train = every[: TRAINED - WINDOW : 2]
    return Heartbeats(train.copy(), held_out[share == 0], held_out[2 * share >= signal.abnormal.sum()])


def parse(text: str, name: str = "the text") -> Signal:
    """A signal from text: "data,label", then a value and 0 or 1 a line. Raises InputError, with the line's number."""
    head, *lines = text.splitlines() or [""]
    if head.strip() != HEAD:
        raise InputError(f"{name} begins with {head[:40]!r}, not with {HEAD!r}")
    values, labels = np.empty(len(lines), np.float32), np.empty(len(lines), np.bool_)
    for place, line in enumerate(lines):
        value, _, label = line.partition(",")
        try:
            number = float(value)
        except ValueError:
            number = np.nan
        if label.strip() not in ("0", "1") or not abs(number) < 1e6:
            raise InputError(f"{name}, line {place + 2}: {line[:40]!r} is not a number and 0 or 1: cut off, or no signal")
        values[place], labels[place] = number, label.strip() == "1"
    if len(values) < WINDOW:
        raise InputError(f"{name} has {len(values)} samples; a window alone has {WINDOW}")
    return Signal(values, labels)
