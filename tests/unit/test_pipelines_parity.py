"""Parity without the net: the resampler, the windows and their split."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.errors import InputError
from edge_runtime.values import Array
from models.pipelines.parity import CALIBRATION, RATE, SOURCE_RATE, WINDOW, resample, split, windows


@given(st.floats(50, 7000), st.floats(0, 6.28), st.integers(8000, 12000))
def test_a_tone_keeps_its_pitch_height_and_phase(frequency: float, phase: float, samples: int) -> None:
    """Away from the ends, a resampled tone is the tone sampled at the other rate."""
    tone = np.sin(2 * np.pi * frequency * np.arange(samples) / SOURCE_RATE + phase).astype(np.float32)
    found = resample(tone)
    expected = np.sin(2 * np.pi * frequency * np.arange(len(found)) / RATE + phase)
    assert len(found) == -(-samples * 441 // 320)
    assert np.abs(found - expected)[2500:-2500].max() < 2e-3


@given(st.integers(0, 2000))
def test_silence_stays_silence_of_the_same_duration(samples: int) -> None:
    """Any length, none too: as many seconds as before, to within a sample."""
    found = resample(np.zeros(samples, np.float32))
    assert not found.any()
    assert found.dtype == np.float32
    assert 0 <= len(found) / RATE - samples / SOURCE_RATE < 1 / RATE


def test_the_end_does_not_leak_into_the_beginning() -> None:
    """A click at the end leaves hardly anything at the start, as a transform without silence between would."""
    audio = np.zeros(3200, np.float32)
    audio[-1] = 1.0
    assert np.abs(resample(audio)[:200]).max() < 1e-3


def test_windows_are_whole_and_in_a_row() -> None:
    """The windows in a row are the sound; the rest is left out."""
    audio = np.arange(3 * WINDOW + 7, dtype=np.float32)
    found = windows(audio)
    assert [window.shape for window in found] == [(1, WINDOW, 1)] * 3
    assert (np.concatenate(found).ravel() == audio[: 3 * WINDOW]).all()
    assert windows(audio[: WINDOW - 1]) == ()


def test_no_window_is_both_calibrated_with_and_judged() -> None:
    """What quantization may see ends by the limit; what is judged begins after it."""
    numbered = [np.full(1, index) for index in range(15)]
    seen, judged = ([int(window[0]) for window in part] for part in split(numbered))
    assert seen == [0, 1, 2, 3]
    assert judged == list(range(5, 15))
    assert (max(seen) + 1) * WINDOW / RATE <= CALIBRATION <= min(judged) * WINDOW / RATE


@pytest.mark.parametrize(
    "audio",
    [np.zeros((1, 8), np.float32), np.zeros(8, np.float64), np.full(8, np.inf, np.float32)],
    ids=["rank", "dtype", "inf"],
)
def test_what_is_no_sound_is_refused(audio: Array) -> None:
    """Wrong rank or dtype, or infinity, is an InputError."""
    with pytest.raises(InputError, match="sound is finite float32"):
        resample(audio)
