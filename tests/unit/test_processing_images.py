"""Pictures on their way into a model: known values, and sizes that hold for any picture."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.errors import InputError, ManifestError
from edge_runtime.processing import images, steps
from edge_runtime.processing.process import tensors
from edge_runtime.values import Array
from models import recipe

STRIP = steps.Strip(48, 320, 160, 3200)
SHRINK = steps.Shrink(960, 32)


@given(st.integers(0, 255))
def test_a_grey_picture_stays_as_grey_as_it_is(level: int) -> None:
    """Three equal channels are one of the same level; red, green and blue count by their brightness."""
    assert images.gray(steps.Gray(), np.full((2, 3, 3), level, np.uint8)).tolist() == [[[level]] * 3] * 2
    colours = np.eye(3, dtype=np.uint8)[None] * 255
    assert images.gray(steps.Gray(), colours).ravel().tolist() == [76, 150, 29]


def test_a_picture_of_the_right_size_is_left_as_it_is() -> None:
    """Nothing is resampled, and OpenCV not asked for."""
    picture = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    assert images.resize(steps.Resize(4, 4), picture) is picture


@given(st.integers(1, 60), st.integers(1, 60), st.sampled_from([1, 3]))
def test_resizing_keeps_what_is_even(height: int, width: int, channels: int) -> None:
    """A plain picture stays plain, in the size that was asked for, channels and all."""
    made = images.resize(steps.Resize(20, 30), np.full((height, width, channels), 77, np.uint8))
    assert (made.shape, made.dtype) == ((20, 30, channels), np.dtype(np.uint8))
    assert (made == 77).all()


def test_a_smaller_picture_is_the_mean_of_its_pixels() -> None:
    """Half the size: every pixel the mean of four."""
    picture = np.array([[0, 100, 8, 8], [100, 200, 8, 8]], np.uint8)[..., None]
    assert images.resize(steps.Resize(1, 2), picture).ravel().tolist() == [100, 8]


@given(st.integers(1, 3000), st.integers(1, 3000))
def test_a_page_goes_in_with_sides_in_strides(height: int, width: int) -> None:
    """Sides are multiples of the stride, within half a stride of the picture's or of the limit's."""
    made = images.shrink(SHRINK, np.zeros((height, width, 3), np.uint8))
    scale = min(1.0, 960 / max(height, width))
    for found, side in zip(made.shape, (height, width), strict=False):
        assert found % 32 == 0
        assert abs(found - max(32, side * scale)) <= 16
        assert found <= 960


@given(st.integers(1, 200), st.integers(1, 4000))
def test_a_line_goes_in_at_its_height_and_one_of_few_widths(height: int, width: int) -> None:
    """48 high; a width of few; the picture at its aspect, the rest mid-grey."""
    made = images.strip(STRIP, np.full((height, width, 3), 255, np.uint8))
    high, wide, channels = made.shape
    assert (channels, high, made.dtype) == (3, 48, np.dtype(np.float32))
    assert 320 <= wide <= 3200
    assert wide % 160 == 0
    picture = int((made[0, :, 0] == 255).sum())
    assert picture == min(3200, -(-width * 48 // height))
    assert (made[:, picture:] == 127.5).all()


@pytest.mark.parametrize("name", ["ppocr_det", "ppocr_rec"])
def test_a_page_goes_in_blue_first_from_minus_one_to_one(name: str) -> None:
    """As the recipes say it: red is the last channel of the tensor; 0 is -1 and 255 is 1, and a line's padding 0."""
    processing = recipe.load(name).processing
    assert processing is not None
    page = np.zeros((48, 96, 3), np.uint8)
    page[..., 0] = 255
    (call,) = tensors(processing, page)
    assert call["image"].dtype == np.float32
    assert call["image"].flags.c_contiguous
    assert call["image"][0, :, 5, 5].tolist() == [-1.0, -1.0, 1.0]
    assert name == "ppocr_det" or not call["image"][..., 96:].any()


def test_numbers_are_normalised_for_all_or_for_each_channel() -> None:
    """(x - mean) / scale, in float32."""
    picture = np.array([[[0, 10, 20]]], np.uint8)
    assert images.normalise(steps.Normalise((10.0,), (5.0,)), picture).tolist() == [[[-2.0, 0.0, 2.0]]]
    each = images.normalise(steps.Normalise((0.0, 1.0, 2.0), (1.0, 3.0, 9.0)), picture)
    assert (each.tolist(), each.dtype) == ([[[0.0, 3.0, 2.0]]], np.dtype(np.float32))


def test_too_few_figures_for_the_channels_are_refused() -> None:
    """Two means for three channels fit nothing."""
    with pytest.raises(InputError, match="3 channels do not fit the 2"):
        images.normalise(steps.Normalise((0.0, 1.0)), np.zeros((1, 1, 3), np.uint8))


def test_a_made_picture_is_drawn_within_what_can_be_drawn() -> None:
    """0 is black and 1 white; what is outside or no number is drawn as the nearest that can be."""
    output = np.array([[[[0.0, 0.5, 1.0, -3.0, 7.0, np.nan]]]], np.float32)
    assert images.pixels(output).tolist() == [[0, 128, 255, 0, 255, 0]]


@pytest.mark.parametrize("output", [np.zeros((2, 1, 4, 4), np.float32), np.zeros((1, 4, 4), np.float32)])
def test_what_is_no_picture_of_a_model_is_refused(output: Array) -> None:
    """Two pictures, or an axis too few."""
    with pytest.raises(ManifestError, match=r"\[1, 1, height, width\]"):
        images.pixels(output)
