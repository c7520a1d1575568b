"""Find speech in sound as it comes in: a recurrent model on frames of 32 ms, its state carried from frame to frame."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from edge_runtime.processing.kinds import checked
from edge_runtime.processing.sounds import runs, windows
from edge_runtime.processing.steps import Windows
from edge_runtime.values import Array
from models.pipelines.model import Steps
from models.pipelines.sources import Segment

RATE = 16_000
"""Samples a second."""
FRAME = 512
"""Samples of a frame."""
THRESHOLD = 0.5


class Heard(msgspec.Struct, frozen=True, eq=False):
    """What a model made of a sound."""

    probabilities: Array
    """float32 [frames]: that a frame is speech."""
    steps: Array
    """float64 [frames]: seconds that each frame took."""
    engine: str
    """What ran the model; empty when there was no whole frame."""
    device: str

    def speech(self, threshold: float = THRESHOLD) -> Array:
        """bool [frames]: which frames are speech."""
        return np.asarray(self.probabilities >= threshold)

    def segments(self, threshold: float = THRESHOLD) -> tuple[Segment, ...]:
        """The stretches of speech: runs of speech frames."""
        return tuple(Segment(start * FRAME / RATE, end * FRAME / RATE) for start, end in runs(self.speech(threshold)))


def listen(audio: Array, steps: Steps) -> Heard:
    """Run a new stream of the silero_vad bundle over a sound, frame by frame.

    `audio` is float32 [samples] at RATE, in -1..1; samples after the last whole frame are left out. `steps` takes the
    samples of a frame, and gives speech f32[1, 1]. Raises InputError for sound that is not that.
    """
    probabilities, seconds, engine, device = [], [], "", ""
    whole = checked("audio", audio) if audio.size else np.zeros(0, np.float32)
    for frame in windows(Windows(FRAME), whole):
        result = steps.infer(frame)
        probabilities.append(float(result.outputs["speech"].item()))
        seconds.append(result.elapsed)
        engine, device = result.engine, result.device
    return Heard(np.array(probabilities, np.float32), np.array(seconds, np.float64), engine, device)


def reference(segments: Sequence[Segment], count: int) -> Array:
    """bool [count]: which frames are speech by the reference. A frame counts as what is going on at its end, which is when
    a listener must answer: it is speech when a segment has begun before its end and goes on until then."""
    ends = np.arange(1, count + 1) * FRAME  # in samples: seconds would compare by their rounding errors
    speech = np.zeros(count, np.bool_)
    for segment in segments:
        speech |= (round(segment.start * RATE) < ends) & (ends <= round(segment.end * RATE))
    return speech
