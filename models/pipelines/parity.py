"""One net, one sound, every engine: how far the outputs of each variant on each engine lie from the fp32 original's.

The net is basic_pitch; what it makes of a conversation is of no use, but the numbers must be the same everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge_runtime.errors import InputError
from edge_runtime.processing import sounds
from edge_runtime.processing.steps import Windows
from edge_runtime.values import Array, Tensors
from models.pipelines.model import Model

SOURCE_RATE = 16_000
"""Samples a second of the sound that is at hand."""
RATE = 22_050
"""Samples a second that the net takes."""
WINDOW = 43_844
"""Samples of one inference: just under 2 s."""
CALIBRATION = 8.0
"""Seconds from the start of the sound that quantization may look at. Only windows after them are judged."""

TOLERANCE = {"fp32": 5e-5, "int8": 0.1}
"""By precision: the largest absolute difference of an output (a probability) that still counts as the same answer.

fp32: the engines sum in different orders; measured 1.4e-6, and 1.9e-5 on a processor without AVX-512. int8: the six
convolutions of the net's heads quantized, the filters before its logarithm left alone. As deployed .036 was measured for
ONNX and .030 for TFLite, with one or two decisions in ten thousand changed. ONNX depends on what it is calibrated with:
over eight sets of synthetic notes it was .035 to .086, with the first 8 s alone, mostly silence, .42.
"""

_UP, _DOWN = 441, 320  # RATE / SOURCE_RATE


def resample(audio: Array) -> Array:
    """Sound float32 [samples] from SOURCE_RATE to RATE: float32 [ceil(samples * 441 / 320)].

    Exact for band-limited sound: the spectrum is kept and the new band above it left empty. A Fourier transform sees its
    window as a circle, so a silence is put between the end and the beginning and cut off again.
    """
    if audio.ndim != 1 or audio.dtype != np.float32 or not np.isfinite(audio).all():
        raise InputError(f"sound is finite float32 [samples]; this is {audio.dtype} {list(audio.shape)}")
    blocks = -(-len(audio) // _DOWN)
    padded = (blocks + 8) * _DOWN
    spectrum = np.fft.rfft(audio.astype(np.float64), padded)
    spectrum[-1] /= 2  # the old Nyquist bin stands for both of its halves, which are apart in the wider band
    size = (blocks + 8) * _UP
    wider = np.fft.irfft(np.pad(spectrum, (0, size // 2 + 1 - len(spectrum))), size) * (size / padded)
    return wider[: -(-len(audio) * _UP // _DOWN)].astype(np.float32)


def windows(audio: Array) -> tuple[Array, ...]:
    """The whole windows of a sound at RATE, one after the other: float32 [1, WINDOW, 1] each. A rest is left out."""
    return tuple(window[None, :, None] for window in sounds.windows(Windows(WINDOW), audio))


def split(all_windows: Sequence[Array]) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    """The windows in two: those that quantization may calibrate with, and those that are judged."""
    last = int(CALIBRATION * RATE // WINDOW)
    first = -int(-CALIBRATION * RATE // WINDOW)
    return tuple(all_windows[:last]), tuple(all_windows[first:])


def run(model: Model, inputs: Sequence[Array]) -> tuple[Tensors, ...]:
    """The outputs (note, onset, contour) for each window."""
    return tuple(model.infer({"audio": window}).outputs for window in inputs)
