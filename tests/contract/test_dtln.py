"""DTLN as one streaming model, against its two nets run one after the other as their authors do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge_runtime.backends import Backend, backend
from edge_runtime.values import Array
from models import recipe as recipes
from models.dtln import calibration, compose

SECONDS = 2


@pytest.fixture(scope="module")
def composed(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The one model."""
    path = tmp_path_factory.mktemp("dtln") / "dtln.onnx"
    compose.make(packages, path)
    return path


@pytest.fixture(scope="module")
def noisy(packages: Path) -> Array:
    """Speech with noise."""
    return calibration.mixed(packages)[1][1][: SECONDS * calibration.RATE]


def by_hand(packages: Path, sound: Array) -> Iterator[Array]:
    """The two nets, with numpy's transform between them, and the overlap added up outside."""
    masking, cleaning = (backend("onnx").load(packages / path) for path in (compose.MASK, compose.CLEAN))
    mask_state = clean_state = np.zeros(compose.LSTM, np.float32)
    window = overlap = np.zeros(compose.WINDOW, np.float32)
    for start in range(0, len(sound) - compose.SHIFT + 1, compose.SHIFT):
        window = np.concatenate([window[compose.SHIFT :], sound[start : start + compose.SHIFT]])
        spectrum = np.fft.rfft(window)
        found = masking.run({"input_2": np.abs(spectrum).astype(np.float32)[None, None], "input_3": mask_state})
        mask_state = found["tf_op_layer_stack_2"]
        masked = np.fft.irfft(spectrum * found["activation_2"][0, 0]).astype(np.float32)
        found = cleaning.run({"input_4": masked[None, None], "input_5": clean_state})
        clean_state = found["tf_op_layer_stack_5"]
        overlap = np.concatenate([overlap[compose.SHIFT :], np.zeros(compose.SHIFT, np.float32)]) + found["conv1d_3"][0, 0]
        yield overlap[: compose.SHIFT]


def test_the_one_model_is_the_two(onnx_backend: Backend, packages: Path, composed: Path, noisy: Array) -> None:
    """Streamed on each engine, the cleaned sound is within 1e-5 of what the two nets give by hand."""
    stream = onnx_backend.load(composed, signature=recipes.load("dtln").signature).stream()
    expected = np.concatenate(list(by_hand(packages, noisy)))
    found = np.concatenate([stream.run(step)["clean"][0] for step in recipes.prepared("dtln", noisy)])
    assert np.abs(expected).max() > 0.05
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_composing_twice(packages: Path, composed: Path, tmp_path: Path) -> None:
    """The same two files give the same bytes."""
    compose.make(packages, tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == composed.read_bytes()


def test_the_transform_is_one() -> None:
    """A window that is taken to its spectrum and back is the window; the spectrum is numpy's."""
    window = np.random.default_rng(0).normal(size=(1, compose.WINDOW)).astype(np.float32)
    known = compose.constants()
    real, imaginary = window @ known["to_real"], window @ known["to_imaginary"]
    np.testing.assert_allclose(real + 1j * imaginary, np.fft.rfft(window), atol=1e-4)
    back = real @ known["from_real"] + imaginary @ known["from_imaginary"]
    np.testing.assert_allclose(back, window, atol=1e-5)


def test_the_noise_is_taken_away(packages: Path, composed: Path) -> None:
    """Most of the noise's power is gone: the speech comes out at least 6 dB clearer than it went in."""
    session = backend("onnx").load(composed, signature=recipes.load("dtln").signature)
    assert calibration.measure(packages)(session) > 0.75
