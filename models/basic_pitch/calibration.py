"""Sound to calibrate basic_pitch with, and other sound to judge by: chords made for it, and a conversation.

Of the conversation, the first seconds serve the calibration and the rest the judging. Chords are needed because those
seconds are nearly silent: without them the ranges come out so narrow that probabilities are up to 0.4 off.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edge_runtime.optimize import Gate, agreement
from edge_runtime.processing.files import read_wav
from edge_runtime.values import Array, Tensors
from models.pipelines import parity
from models.pipelines.sources import SPEECH

CHORDS, OTHER_CHORDS = 16, 8


def samples(packages: Path) -> Sequence[Tensors]:
    """Sixteen chords, and the windows of the first seconds."""
    windows, _ = _conversation(packages)
    return [{"audio": window} for window in (*windows, *(chord(seed) for seed in range(CHORDS)))]


def gate(packages: Path, tolerance: float) -> Gate:
    """In the windows after those, and in eight other chords, no probability is further from fp32's than the tolerance."""
    _, windows = _conversation(packages)
    chords = (chord(1000 + seed) for seed in range(OTHER_CHORDS))
    data = f"{len(windows)} windows of a conversation and {OTHER_CHORDS} made chords, with none of which it was calibrated"
    return agreement([{"audio": window} for window in (*windows, *chords)], tolerance, data)


def golden(packages: Path) -> Sequence[Tensors]:
    """Two more chords."""
    return [{"audio": chord(seed)} for seed in (2000, 2001)]


def chord(seed: int) -> Array:
    """One to six notes of six harmonics that begin one after another and fade, in a little noise: float32 [1, 43844, 1]."""
    dice = np.random.default_rng(seed)
    time = np.arange(parity.WINDOW) / parity.RATE
    sound = dice.normal(0, 1e-3, time.size)
    for _ in range(dice.integers(1, 7)):
        pitch = 27.5 * 2 ** (dice.integers(12, 76) / 12)
        since = time - dice.uniform(0, 1.2)
        envelope = np.where(since > 0, np.exp(-since * dice.uniform(1, 6)), 0)
        for harmonic in range(1, 7):
            sound += envelope * dice.uniform(0.02, 0.3) / harmonic * np.sin(2 * np.pi * pitch * harmonic * time)
    return np.asarray(sound / max(1.0, np.abs(sound).max()), np.float32)[None, :, None]


def _conversation(packages: Path) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    sound = parity.resample(read_wav(packages / SPEECH, parity.SOURCE_RATE))
    return parity.split(parity.windows(sound))
