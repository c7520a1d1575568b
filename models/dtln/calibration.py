"""Speech with noise made for it, to judge dtln by: how much nearer to the clean speech it gets.

A package brings the speech: a conversation, none of which the nets were trained with as far as their authors tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from edge_runtime.backends import backend
from edge_runtime.backends.base import Session, Stream
from edge_runtime.optimize import Measure, digest
from edge_runtime.processing.files import read_wav
from edge_runtime.values import Array, Tensors
from models import recipe
from models.dtln import compose
from models.pipelines.sources import SPEECH

RATE = 16_000
DELAY = 384
"""Samples that the cleaned sound comes later."""
START, END = 7 * RATE, 15 * RATE
"""The part of the conversation that is used: there is speech in most of it."""
SNR = 5.0
"""Decibels of speech over noise that the nets are given."""
LEVEL = 0.02
"""Of the noise that it is calibrated with, of full scale."""
NOISES = ("white", "pink", "hum")


def measure(packages: Path) -> Measure:
    """How much of the noise's power is taken away: 1 is all, 0 is none. What is lost of the speech counts as noise."""
    pairs = mixed(packages)
    return Measure(
        "share of the noise taken away",
        f"8 s of a conversation with {', '.join(NOISES)} noise, {SNR:g} dB below the speech",
        lambda session: float(np.mean([_share(session, clean, noisy) for clean, noisy in pairs])),
        digest(array for pair in pairs for array in pair),
    )


def mixed(packages: Path) -> Sequence[tuple[Array, Array]]:
    """Speech, and the same with noise, for each kind."""
    clean = read_wav(packages / SPEECH, RATE)[START:END]
    level = np.sqrt(np.mean(np.square(clean))) * 10 ** (-SNR / 20)
    return [(clean, clean + np.float32(level) * noise(kind, len(clean))) for kind in NOISES]


def noise(kind: str, length: int) -> Array:
    """Noise of this kind, of unit power: white, pink (as much power in each octave), or a hum with its overtones."""
    dice = np.random.default_rng(NOISES.index(kind))
    if kind == "hum":
        time = np.arange(length) / RATE
        sound = sum(np.sin(2 * np.pi * 120 * k * time + dice.uniform(0, 6)) / k for k in range(1, 20))
        sound = sound + 0.1 * dice.normal(size=length)
    else:
        spectrum = np.fft.rfft(dice.normal(size=length))
        if kind == "pink":
            spectrum /= np.sqrt(np.maximum(1, np.arange(len(spectrum))))
        sound = np.fft.irfft(spectrum, length)
    return np.asarray(sound / np.sqrt(np.mean(np.square(sound))), np.float32)


def clean_of(stream: Stream, noisy: Array) -> Array:
    """What a stream of the model makes of a sound."""
    return np.concatenate([stream.run(inputs)["clean"][0] for inputs in recipe.prepared("dtln", noisy)])


def _share(session: Session, clean: Array, noisy: Array) -> float:
    made = clean_of(session.stream(), noisy)[DELAY:]
    clean, noisy = clean[: len(made)], noisy[: len(made)]
    return 1 - float(np.sum(np.square(made - clean)) / np.sum(np.square(noisy - clean)))


def samples(packages: Path) -> Sequence[Tensors]:
    """Steps of the seconds before that part, with other noise, each with the state that comes to it."""
    clean = read_wav(packages / SPEECH, RATE)[:START]
    return _steps(packages, clean + np.float32(LEVEL) * noise("pink", len(clean)))[10:]


def golden(packages: Path) -> Sequence[Tensors]:
    """Eight steps of the noisy speech that it is judged by, each with the state that comes to it."""
    return _steps(packages, mixed(packages)[0][1][:RATE])[:8]


def _steps(packages: Path, noisy: Array) -> list[Tensors]:
    """Every 15th step."""
    known = recipe.load("dtln")
    with TemporaryDirectory() as room:
        compose.make(packages, Path(room, "dtln.onnx"))
        session = backend("onnx").load(Path(room, "dtln.onnx"), signature=known.signature)
    stream = session.stream()
    found: list[Tensors] = []
    for number, inputs in enumerate(recipe.prepared("dtln", noisy)):
        if number % 15 == 14:
            found.append({**inputs, **stream.state})
        stream.run(inputs)
    return found
