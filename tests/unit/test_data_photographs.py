"""Patches of photographs: what is held out shares no pixel with what is trained on."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_runtime.errors import BundleError
from models.data import photographs
from models.data.photographs import GAP, SIDE


@pytest.mark.parametrize("width", [451, 512, 640, 1411])
def test_strips_lie_a_patch_apart(width: int) -> None:
    """Between a column that is trained on and one that is held out there is always the gap."""
    train, test = photographs.strips(width)
    taught = {left + at for left in train for at in range(SIDE)}
    held_out = {left + at for left in test for at in range(SIDE)}
    assert taught
    assert held_out
    assert max(taught | held_out) < width
    assert min(abs(one - other) for one in taught for other in held_out) > GAP


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of packages with ten small pictures, each of one colour, its columns numbered in the red channel."""
    for number, file in enumerate(photographs.FILES):
        picture = np.full((40, 256, 3), number * 20, np.uint8)
        picture[..., 2] = np.arange(256)  # OpenCV's third channel is red
        path = tmp_path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(cv2.imencode(".png", picture)[1].tobytes())
    return tmp_path


def test_patches_are_of_the_right_photograph_and_strip(pictures: Path) -> None:
    """Each class's patches are its photograph's, red first, and no column of the held-out ones is trained on."""
    split = photographs.load(pictures)
    assert split.train_x.shape == (10 * photographs.TRAIN_EACH, SIDE, SIDE, 3)
    assert split.test_x.shape == (10 * photographs.TEST_EACH, SIDE, SIDE, 3)
    assert (split.train_x[..., 2] == split.train_y[:, None, None] * 20).all()
    assert (split.test_x[..., 2] == split.test_y[:, None, None] * 20).all()
    assert not set(np.unique(split.train_x[..., 0])) & set(np.unique(split.test_x[..., 0]))
    assert split.classes[0] == "astronaut"


def test_the_patches_are_the_same_every_time(pictures: Path) -> None:
    """Two readings hold out the same patches."""
    assert photographs.load(pictures).digest == photographs.load(pictures).digest


def test_a_photograph_that_is_missing_or_broken_is_refused(pictures: Path) -> None:
    """A file that is no picture, and none at all, are an error that names it."""
    path = pictures / photographs.FILES[3]
    path.write_bytes(b"no picture")
    with pytest.raises(BundleError, match=r"coffee\.png is not a picture"):
        photographs.load(pictures)
    path.unlink()
    with pytest.raises(BundleError, match=r"coffee\.png cannot be read"):
        photographs.load(pictures)
