"""TFLite Micro's audio front end: the loudness of bands, which nets for microcontrollers hear instead of samples."""

from __future__ import annotations

import numpy as np

from edge_runtime.processing import extra
from edge_runtime.processing.steps import MicroFeatures
from edge_runtime.values import Array

HOP = MicroFeatures.hop
OVERLAP = 320
"""Samples that a row shares with those before it: it looks at 30 ms."""
FULL = 1 << 15
"""What 1.0 is in 16 bits."""


class Ears:
    """What hears one sound, piece by piece: loudness is told against what was heard before, silence at first. For one
    thread at a time. Raises EngineMissingError."""

    def __init__(self) -> None:
        self._frontend = extra.features().MicroFrontend()
        self.hear(np.zeros(OVERLAP, np.float32))

    def hear(self, sound: Array) -> Array:
        """float32 [rows, 40], one row for each 10 ms of float32 [samples], which are whole ones."""
        samples = np.clip(np.rint(np.clip(sound, -1, 1) * FULL), -FULL, FULL - 1).astype(np.int16).reshape(-1, HOP)
        rows = (self._frontend.process_samples(hop.tobytes()).features for hop in samples)  # it reads one hop at a time
        return np.array([row for row in rows if row], np.float32)


def windows(step: MicroFeatures, sound: Array, ears: Ears | None = None) -> Array:
    """float32 [calls, steps, 40]; a rest that fills no call is left out. `ears`: those that heard what came before."""
    calls = len(sound) // step.length
    rows = (ears or Ears()).hear(sound[: calls * step.length])
    return rows.reshape(calls, step.steps, -1)
