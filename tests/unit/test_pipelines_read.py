"""Reading without the nets: what goes into them, what is made of what comes out, and the page put together."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.errors import InputError
from edge_runtime.values import Array, Device, Tensors
from models.pipelines.model import Direct
from models.pipelines.read import (
    HEIGHT,
    LONGEST,
    NARROWEST,
    STEP,
    STRIDE,
    WIDEST,
    cut,
    decode,
    prepare_line,
    prepare_page,
    read_line,
    read_page,
)

LABELS = ("", "a", "b", " ")


class Function:
    """A Python function with a session's `run`."""

    def __init__(self, function: Callable[[Tensors], dict[str, Array]]) -> None:
        self.run = function


def model(function: Callable[[Tensors], dict[str, Array]]) -> Direct:
    """A model made of a Python function."""
    return Direct(Function(function), Device("python", "CPU", engine="python"))


def one_hot(path: list[int], probability: float = 1.0) -> Array:
    """float32 [steps, classes] whose likeliest classes are `path`."""
    symbols = np.full((len(path), len(LABELS)), (1 - probability) / (len(LABELS) - 1), np.float32)
    symbols[np.arange(len(path)), path] = probability
    return symbols


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ([0, 0, 0], ""),
        ([1, 1, 1], "a"),
        ([1, 0, 1], "aa"),
        ([0, 1, 1, 0, 0, 2, 3, 1, 0], "ab a"),
        ([1, 2, 1], "aba"),
        ([2], "b"),
    ],
)
def test_decoding_joins_repeats_and_drops_blanks(path: list[int], text: str) -> None:
    """A class repeated without a blank between is one symbol; the blank itself is none."""
    assert decode(one_hot(path), LABELS)[0] == text


@given(st.text("ab ", max_size=12), st.data())
def test_any_text_survives_being_spelt_out(text: str, data: st.DataObject) -> None:
    """Each symbol held for some steps, with blanks between equals: decoding gives the text back."""
    path: list[int] = []
    for char in text:
        symbol = LABELS.index(char)
        if (path and path[-1] == symbol) or data.draw(st.booleans()):
            path.append(0)
        path += [symbol] * data.draw(st.integers(1, 3))
    found, confidence = decode(one_hot([*path, 0], 0.8), LABELS)
    assert found == text
    assert confidence == pytest.approx(0.8 if text else 0.0)


def test_labels_that_are_too_few_are_refused() -> None:
    """A labels file of another model would shift every symbol: it is an error, not a wrong text."""
    with pytest.raises(InputError, match="3 labels do not fit"):
        decode(one_hot([1]), LABELS[:3])


@given(st.integers(1, 3000), st.integers(1, 3000))
def test_a_page_goes_in_with_sides_in_strides(height: int, width: int) -> None:
    """Sides are multiples of the stride, within half a stride of the picture's or of the limit's."""
    tensor = prepare_page(np.zeros((height, width, 3), np.uint8))
    scale = min(1.0, LONGEST / max(height, width))
    for found, side in zip(tensor.shape[2:], (height, width), strict=True):
        assert found % STRIDE == 0
        assert abs(found - max(STRIDE, side * scale)) <= STRIDE / 2
        assert found <= LONGEST


def test_a_page_goes_in_blue_first_from_minus_one_to_one() -> None:
    """Red is the last channel of the tensor; 0 is -1 and 255 is 1."""
    page = np.zeros((STRIDE, STRIDE, 3), np.uint8)
    page[..., 0] = 255
    tensor = prepare_page(page)
    assert tensor.dtype == np.float32
    assert tensor.flags.c_contiguous
    assert tensor[0, :, 5, 5].tolist() == [-1.0, -1.0, 1.0]


@given(st.integers(1, 200), st.integers(1, 4000))
def test_a_line_goes_in_at_its_height_and_one_of_few_widths(height: int, width: int) -> None:
    """48 high; a width of few; the picture at its aspect, the rest mid-grey."""
    tensor = prepare_line(np.full((height, width, 3), 255, np.uint8))
    _, channels, high, wide = tensor.shape
    assert (channels, high) == (3, HEIGHT)
    assert NARROWEST <= wide <= WIDEST
    assert wide % STEP == 0
    picture = int((tensor[0, 0, 0] == 1).sum())
    assert picture == min(WIDEST, -(-width * HEIGHT // height))
    assert not tensor[..., picture:].any()


@pytest.mark.parametrize("degrees", [-30, -7, 0, 12, 40])
def test_a_turned_line_is_cut_out_level(degrees: float) -> None:
    """The crop of a turned black bar with a white left end is the bar, level, white end on the left."""
    bar = np.full((20, 100, 3), 40, np.uint8)
    bar[:, :20] = 255
    turn = cv2.getRotationMatrix2D((50, 10), -degrees, 1.0) + np.array([[0, 0, 100], [0, 0, 110]])
    page = cv2.warpAffine(bar, turn, (300, 240), borderValue=(128, 128, 128))
    corners = cv2.transform(np.array([[[0, 0], [100, 0], [100, 20], [0, 20]]], np.float32), turn)[0]
    crop = cut(page, corners.astype(np.float32))
    assert crop.shape == (20, 100, 3)
    assert crop[4:16, 4:16].mean() > 240
    assert crop[4:16, 26:96].mean() < 50


def test_a_line_that_stands_is_laid_down() -> None:
    """A line that runs downwards comes out level, its beginning (at the top) on the left."""
    page = np.zeros((120, 40, 3), np.uint8)
    page[10:30] = 255
    crop = cut(page, np.array([[10, 10], [30, 10], [30, 110], [10, 110]], np.float32))
    assert crop.shape == (20, 100, 3)
    assert crop[:, :15].mean() > 240
    assert crop[:, 25:].mean() < 15


def test_a_page_is_put_together_in_reading_order() -> None:
    """Two bars on a page: both found, read from the top, each with the budget; the illegible one is not in the text."""
    page = np.full((96, 192, 3), 255, np.uint8)
    page[60:76, 20:170] = 10
    page[20:36, 20:120] = 10

    def detect(inputs: Tensors) -> dict[str, Array]:
        return {"probability": (inputs["image"][:, :1] < 0).astype(np.float32)}

    def read(inputs: Tensors) -> dict[str, Array]:
        wide = int((inputs["image"][0, 0, 24] < 0).sum()) > 150
        return {"symbols": one_hot([1, 0, 2] if wide else [2], 0.9 if wide else 0.4)[None]}

    result = read_page(page, model(detect), model(read), LABELS, budget=5.0)
    assert [round(float(line.corners[:, 1].mean())) for line in result.lines] == [28, 68]
    assert [reading.text for reading in result.readings] == ["b", "ab"]
    assert [reading.result.budget for reading in result.readings] == [5.0, 5.0]
    assert result.text == "ab"


def test_an_empty_page_is_an_empty_text() -> None:
    """No lines, no readings, no text, and the reader is never asked."""

    def never(inputs: Tensors) -> dict[str, Array]:
        raise AssertionError("asked")

    blank = model(lambda inputs: {"probability": np.zeros_like(inputs["image"][:, :1])})
    page = read_page(np.full((50, 70), 255, np.uint8), blank, model(never), LABELS)
    assert (page.lines, page.readings, page.text) == ((), (), "")


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((8, 8, 3), np.float32),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((8,), np.uint8),
        np.zeros((0, 8, 3), np.uint8),
        np.zeros((1, 8, 8, 3), np.uint8),
    ],
    ids=["dtype", "alpha", "rank 1", "empty", "rank 4"],
)
def test_what_is_no_image_is_refused(image: Array) -> None:
    """Wrong dtype, channels, rank or an empty array is an InputError before any model runs."""
    nothing = model(lambda inputs: {})
    with pytest.raises(InputError, match="an image is uint8"):
        read_page(image, nothing, nothing, LABELS)
    with pytest.raises(InputError, match="an image is uint8"):
        read_line(image, nothing, LABELS)
