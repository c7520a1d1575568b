"""Listening without the net: what is made of the probabilities, and the reference."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.errors import InputError
from edge_runtime.processing.process import Processor
from edge_runtime.values import Array, Device, Tensors
from models import recipe
from models.pipelines.listen import FRAME, RATE, Heard, listen, reference
from models.pipelines.model import Direct
from models.pipelines.sources import Segment


class Loudness:
    """Speech is what is loud."""

    def run(self, inputs: Tensors) -> dict[str, Array]:
        return {"speech": np.abs(inputs["audio"][:, -FRAME:]).max(axis=1, keepdims=True)}


def hear(audio: Array) -> Heard:
    """What Loudness makes of a sound."""
    made = recipe.load("silero_vad")
    assert made.processing is not None
    processor = Processor(made.processing, made.signature)
    return listen(audio, Direct(Loudness(), Device("python", "CPU", engine="python 3"), processor=processor))


def test_loud_stretches_are_heard_where_they_are() -> None:
    """Two loud stretches in silence come back as two segments, with the engine that heard them."""
    audio = np.zeros(10 * FRAME, np.float32)
    audio[2 * FRAME : 4 * FRAME] = 0.9
    audio[9 * FRAME :] = 0.9
    heard = hear(audio)
    assert heard.speech().tolist() == [False, False, True, True, False, False, False, False, False, True]
    assert [(s.start, s.end) for s in heard.segments()] == [pytest.approx((0.064, 0.128)), pytest.approx((0.288, 0.32))]
    assert (heard.engine, heard.device, len(heard.steps)) == ("python 3", "CPU", 10)


@pytest.mark.parametrize("samples", [0, FRAME - 1, 4 * FRAME])
def test_silence_and_sounds_too_short_hold_no_speech(samples: int) -> None:
    """No speech and no segments; a sound shorter than a frame has no frames."""
    heard = hear(np.zeros(samples, np.float32))
    assert len(heard.probabilities) == samples // FRAME
    assert not heard.speech().any()
    assert heard.segments() == ()


@given(st.lists(st.booleans(), max_size=40))
def test_segments_are_the_runs_of_speech(flags: list[bool]) -> None:
    """The reference made of the found segments is the speech that they were made of."""
    heard = Heard(np.array(flags, np.float32), np.zeros(len(flags)), "", "")
    assert reference(heard.segments(), len(flags)).tolist() == flags
    assert len(heard.segments()) == sum(b and not a for a, b in zip([False, *flags], flags, strict=False))


@given(st.lists(st.tuples(st.floats(0, 2), st.floats(0.001, 1)), max_size=6), st.integers(0, 80))
def test_a_frame_is_speech_when_someone_speaks_at_its_end(spans: list[tuple[float, float]], count: int) -> None:
    """Overlapping segments or not: the rule, applied frame by frame."""
    segments = [Segment(start, start + length) for start, length in spans]
    speech = reference(segments, count)
    for frame in range(count):
        end = (frame + 1) * FRAME
        assert speech[frame] == any(round(s.start * RATE) < end <= round(s.end * RATE) for s in segments)


@pytest.mark.parametrize(
    "audio",
    [np.zeros((1, FRAME), np.float32), np.zeros(FRAME, np.int16), np.full(FRAME, np.nan, np.float32)],
    ids=["rank", "dtype", "NaN"],
)
def test_what_is_no_sound_is_refused(audio: Array) -> None:
    """Wrong rank or dtype, or NaN, is an InputError before the model runs."""
    with pytest.raises(InputError, match="sound"):
        hear(audio)
