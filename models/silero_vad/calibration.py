"""A conversation to calibrate silero_vad with, and to judge it by: who speaks when is known of it.

Its first half serves the calibration, its second the judging.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edge_runtime.backends import backend
from edge_runtime.backends.base import Session
from edge_runtime.optimize import Measure, digest
from edge_runtime.processing.files import read_wav
from edge_runtime.values import Array, Tensors
from models import recipe
from models.pipelines import listen, score
from models.pipelines.sources import SPEAKERS, SPEECH, read_rttm

HALF = 15 * listen.RATE // listen.FRAME
"""Frames of the first half."""
EVERY = 4
"""One frame of so many is a sample: those beside it are nearly the same."""
GOLDEN = 8


def measure(packages: Path) -> Measure:
    """Frames that are said to be speech, against those that are: from fresh state on, after the first half."""
    steps = _frames(packages)[HALF:]
    truth = listen.reference(read_rttm(packages / SPEAKERS), HALF + len(steps))[HALF:]

    def f1(session: Session) -> float:
        stream = session.stream()
        found = np.array([stream.run(step)["speech"].item() >= listen.THRESHOLD for step in steps])
        return score.compare_frames(found, truth).f1

    data = f"{len(steps)} frames of a conversation, the half that it is not calibrated with"
    return Measure("F1", data, f1, digest([*(step["audio"] for step in steps), truth]))


def samples(packages: Path) -> Sequence[Tensors]:
    """Frames of the first half, each with the state that comes to it."""
    return _stated(packages, _frames(packages)[:HALF])[EVERY - 1 :: EVERY]


def golden(packages: Path) -> Sequence[Tensors]:
    """Eight frames of the second half, each with the state that comes to it, spread over ten seconds."""
    steps = _stated(packages, _frames(packages)[HALF:][: 10 * listen.RATE // listen.FRAME])
    return steps[len(steps) // GOLDEN - 1 :: len(steps) // GOLDEN][:GOLDEN]


def _frames(packages: Path) -> Sequence[Tensors]:
    sound: Array = read_wav(packages / SPEECH, listen.RATE)
    return recipe.prepared("silero_vad", sound)


def _stated(packages: Path, steps: Sequence[Tensors]) -> list[Tensors]:
    """Each step with the state that the fp32 net is in then."""
    known = recipe.load("silero_vad")
    part = known.variants[0]
    session = backend("onnx").load(packages / part.file, signature=known.signature, names=part.names)
    stream = session.stream()
    found: list[Tensors] = []
    for step in steps:
        found.append({**step, **stream.state})
        stream.run(step)
    session.close()
    return found
