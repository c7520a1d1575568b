"""State that an artifact keeps inside: a real model that listens for two words, on the one engine that takes it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edge_runtime import backends
from edge_runtime.backends import integer
from edge_runtime.backends.base import Session, Stream
from edge_runtime.errors import ArtifactError, InputError, RunError
from edge_runtime.values import Array
from models import recipe as recipes

STEPS, BANDS = 30, 40
HUMPS = (
    (8.5, 0.7, 2.6, 8.3, 23.3, 28.9), (12.6, -0.5, 4.0, 21.6, 49.4, 61.1), (21.8, -0.4, 2.2, 38.3, 31.9, 20.0),
    (29.9, -0.1, 8.4, 43.2, 5.2, 23.1), (20.2, -0.1, 1.6, 17.2, 24.4, 28.9),
)  # fmt: skip
"""Bands of loudness that the model takes for its words: where, how they drift, how wide, how loud, from when, how long."""


def load(packages: Path) -> Session:
    """The model, in float32 outside."""
    recipe = recipes.load("wake_word")
    part = recipe.variants[0]
    return integer.load(
        backends.backend("tflite"), packages / part.file, signature=recipe.signature, names=part.names,
        quantized=part.quantized,
    )  # fmt: skip


@pytest.fixture
def session(packages: Path) -> Iterator[Session]:
    """A session of it, a test's own."""
    session = load(packages)
    yield session
    session.close()


def words() -> list[dict[str, Array]]:
    """The inputs of all steps."""
    time, band = np.arange(3 * STEPS)[:, None], np.arange(BANDS)
    sound = np.zeros((3 * STEPS, BANDS))
    for centre, drift, width, level, start, length in HUMPS:
        loud = level * ((time >= start) & (time < start + length))
        sound += loud * np.exp(-(((band - centre - drift * (time - start)) / width) ** 2))
    steps = np.clip(np.rint(sound), 0, 26).astype(np.float32).reshape(STEPS, 1, 3, BANDS)
    return [{"features": step} for step in steps]


def heard(stream: Stream, inputs: list[dict[str, Array]]) -> list[float]:
    """What a stream makes of these steps."""
    return [float(stream.run(step)["heard"].item()) for step in inputs]


def test_a_stream_begins_anew(session: Session) -> None:
    """A new stream, and one that was reset in the middle of something, hear the words as the first did."""
    first = heard(session.stream(), words())
    assert max(first) > 0.9
    stream = session.stream()
    assert heard(stream, words()) == first
    heard(stream, words()[10:25])
    assert heard(stream, words()) != first
    heard(stream, words()[10:25])
    stream.reset()
    assert heard(stream, words()) == first


def test_streams_share_nothing(session: Session) -> None:
    """Two streams in turns: each hears what it would alone."""
    one, other, silence = session.stream(), session.stream(), {"features": np.zeros((1, 3, BANDS), np.float32)}
    alone, found, quiet = heard(session.stream(), words()), [], []
    for step in words():
        found.append(float(one.run(step)["heard"].item()))
        quiet.append(float(other.run(silence)["heard"].item()))
    assert found == alone
    assert max(quiet) < 0.1


def test_there_is_no_run_outside_a_stream(session: Session) -> None:
    """A call by itself would leave a state behind that nobody asked for: InputError, which names the way."""
    with pytest.raises(InputError, match=r"call stream\(\)"):
        session.run(words()[0])


def test_hidden_state_cannot_be_read_or_set(session: Session) -> None:
    """InputError, which says what can be done."""
    stream = session.stream()
    with pytest.raises(InputError, match=r"reset\(\) begins anew"):
        _ = stream.state
    with pytest.raises(InputError, match=r"reset\(\) begins anew"):
        stream.state = {}


def test_streams_end_with_their_session(packages: Path) -> None:
    """Once the session is closed no stream runs, is reset, or is made."""
    session = load(packages)
    stream = session.stream()
    session.close()
    with pytest.raises(RunError, match="closed"):
        stream.run(words()[0])
    with pytest.raises(RunError, match="closed"):
        stream.reset()
    with pytest.raises(RunError, match="closed"):
        session.stream()


@pytest.mark.parametrize("name", [name for name in backends.NAMES if name != "tflite"])
def test_other_engines_refuse_it(packages: Path, name: str) -> None:
    """An engine that could not begin a state anew does not load such a model."""
    signature = msgspec.structs.replace(recipes.load("silero_vad").signature, state=(), hidden_state=True)
    artifact = packages / "silero_vad/data/silero_vad_openvino_16k.onnx"
    names = recipes.load("silero_vad").variants[0].names
    with pytest.raises(ArtifactError, match="keeps its state inside"):
        backends.backend(name).load(artifact, signature=signature, names=names)
