"""Reading without the nets: the page put together of what they find and read."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from edge_runtime.errors import InputError
from edge_runtime.processing.process import Processor
from edge_runtime.values import Array, Device, Tensors
from models import recipe
from models.pipelines.model import Direct
from models.pipelines.read import read_line, read_page

LABELS = ("", "a", "b", " ", *("?" for _ in range(18706)))


class Function:
    """A Python function with a session's `run`."""

    def __init__(self, function: Callable[[Tensors], dict[str, Array]]) -> None:
        self.run = function


def model(name: str, function: Callable[[Tensors], dict[str, Array]]) -> Direct:
    """A model made of a Python function, with the processing of a real one."""
    made = recipe.load(name)
    assert made.processing is not None
    processor = Processor(made.processing, made.signature, LABELS if made.labels else ())
    return Direct(Function(function), Device("python", "CPU", engine="python"), processor=processor)


def detector(function: Callable[[Tensors], dict[str, Array]]) -> Direct:
    """A model that finds lines."""
    return model("ppocr_det", function)


def reader(function: Callable[[Tensors], dict[str, Array]]) -> Direct:
    """A model that reads a line."""
    return model("ppocr_rec", function)


def one_hot(path: list[int], probability: float = 1.0) -> Array:
    """float32 [steps, classes] whose likeliest classes are `path`."""
    symbols = np.full((len(path), len(LABELS)), (1 - probability) / (len(LABELS) - 1), np.float32)
    symbols[np.arange(len(path)), path] = probability
    return symbols


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

    result = read_page(page, detector(detect), reader(read), budget=5.0)
    middles = [np.mean([y for _, y in line.region.corners]) for line in result.lines]
    assert middles == pytest.approx([27.5, 67.5], abs=0.5)
    assert [reading.text for reading in result.readings] == ["b", "ab"]
    assert [reading.result.budget for reading in result.readings] == [5.0, 5.0]
    assert result.text == "ab"


def test_an_empty_page_is_an_empty_text() -> None:
    """No lines, no readings, no text, and the reader is never asked."""

    def never(inputs: Tensors) -> dict[str, Array]:
        raise AssertionError("asked")

    blank = detector(lambda inputs: {"probability": np.zeros_like(inputs["image"][:, :1])})
    page = read_page(np.full((50, 70), 255, np.uint8), blank, reader(never))
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
    with pytest.raises(InputError, match="takes a picture: uint8"):
        read_page(image, detector(lambda inputs: {}), reader(lambda inputs: {}))
    with pytest.raises(InputError, match="takes a picture: uint8"):
        read_line(image, reader(lambda inputs: {}))


def test_models_that_are_the_wrong_way_round_are_told() -> None:
    """A reader that finds and a detector that reads: an error that says which bundle to give."""
    blank = detector(lambda inputs: {"probability": np.zeros_like(inputs["image"][:, :1])})
    with pytest.raises(InputError, match="give the bundle ppocr_rec"):
        read_line(np.zeros((50, 70), np.uint8), blank)
    with pytest.raises(InputError, match="give the bundle ppocr_det"):
        read_page(np.zeros((50, 70), np.uint8), reader(lambda inputs: {"symbols": one_hot([1])[None]}), blank)
