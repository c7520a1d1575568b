"""How made pictures are judged and shown: copies, the judge that is missing, sheets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_runtime.errors import BundleError
from models import judge
from models.digits_gan import calibration
from models.pictures import sheet


def test_copies_of_a_digit_are_found() -> None:
    """Of pictures that are alike all but the first are copies; those of another class are not compared."""
    dice = np.random.default_rng(0)
    one, other = dice.random((2, 1, 28, 28)).astype(np.float32)
    pictures = np.stack([one, other, one + np.float32(0.01), one, other])
    assert calibration.copies(pictures, np.array([0, 0, 0, 1, 0])).tolist() == [False, False, True, False, True]


def test_noise_is_the_seeds() -> None:
    """The same seed gives the same noise, another seed other noise, and the ten digits come in turn."""
    first, again, other = (calibration.inputs(11, seed) for seed in (1, 1, 2))
    assert all((a["noise"] == b["noise"]).all() for a, b in zip(first, again, strict=True))
    assert (first[0]["noise"] != other[0]["noise"]).all()
    assert [int(one["label"].argmax()) for one in first] == [*range(10), 0]


def test_a_judge_that_is_not_built_says_so(tmp_path: Path) -> None:
    """Without digits_cnn's bundle the error says that it is to be built before."""
    with pytest.raises(BundleError, match="digits_cnn, which is to be built before"):
        judge.read(np.zeros((1, 1, 28, 28), np.float32), tmp_path)


def test_a_sheet_has_its_pictures_in_rows() -> None:
    """Pictures lie where their row and column say, and what is outside 0..1 is cut off."""
    pictures = np.zeros((2, 3, 4, 5), np.float32)
    pictures[1, 2] = 7.0
    pictures[0, 1] = 0.5
    drawn = sheet(pictures)
    assert drawn.shape == (8, 15)
    assert (drawn[4:, 10:] == 255).all()
    assert (drawn[:4, 5:10] == 128).all()
    assert drawn[4:, :10].max() == 0
