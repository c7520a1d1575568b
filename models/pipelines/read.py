"""Read a page: find the lines with one model, read each with another.

The steps before and after the two nets are those that they were trained with (PaddleOCR's): blue first, values -1..1,
sides in multiples of 32; a line 48 pixels high, its width as it comes; connectionist temporal classification at the end.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import msgspec
import numpy as np

from edge_runtime.errors import InputError
from edge_runtime.values import Array, Result
from models.pipelines.boxes import find_boxes
from models.pipelines.model import Model

LONGEST = 960
"""Pixels: a page is searched with its longer side no longer than this. Smaller ones are not enlarged: the time grows with
the area, and in enlarged small print the marks of thin symbols come apart."""
STRIDE = 32
HEIGHT = 48
"""Pixels of a line, as the reader takes it."""
NARROWEST, STEP, WIDEST = 320, 160, 3200
"""Pixels: a line is padded to the next of 320, 480, 640, ...: few shapes, so that an engine prepares few. One that would be
longer than the widest is squeezed."""
LEGIBLE = 0.5
"""The confidence from which on a line counts as text: below, it is a rule or a stain."""


class Line(msgspec.Struct, frozen=True, eq=False):
    """A line of text that was found on a page."""

    corners: Array
    """float32 [4, 2]: x, y on the page, clockwise from the line's beginning at the top."""
    score: float
    """How sure the detector is: 0..1."""
    crop: Array
    """uint8 [height, width, 3], red first: the line cut out and turned level."""


class Reading(msgspec.Struct, frozen=True, eq=False):
    """A line that was read."""

    text: str
    confidence: float
    """The mean probability of the symbols: 0..1; 0 when there are none."""
    result: Result
    """Where and how the reader ran."""


class Page(msgspec.Struct, frozen=True, eq=False):
    """A page that was read."""

    lines: tuple[Line, ...]
    """In reading order."""
    readings: tuple[Reading, ...]
    """One for each line."""
    search: Result
    """Where and how the detector ran."""

    @property
    def text(self) -> str:
        """The legible lines, with line ends between them."""
        return "\n".join(reading.text for reading in self.readings if reading.confidence >= LEGIBLE)


def read_page(image: Array, detector: Model, reader: Model, labels: Sequence[str], *, budget: float | None = None) -> Page:
    """Find the lines and read them, one after the other.

    `image` is uint8 [height, width, 3], red first, or [height, width]. `detector` and `reader` are the bundles ppocr_det
    and ppocr_rec, `labels` the latter's. `budget` is in seconds, for the reading of each line. An empty page has no lines.
    """
    lines, search = find_lines(image, detector)
    readings = tuple(read_line(line.crop, reader, labels, budget=budget) for line in lines)
    return Page(lines, readings, search)


def find_lines(image: Array, detector: Model, *, budget: float | None = None) -> tuple[tuple[Line, ...], Result]:
    """The lines on a page, in reading order, and where and how the detector ran. Otherwise as `read_page`."""
    image = _checked(image)
    result = detector.infer({"image": prepare_page(image)}, budget=budget)
    probability = result.outputs["probability"][0, 0]
    scale = np.array([image.shape[1] / probability.shape[1], image.shape[0] / probability.shape[0]], np.float32)
    lines = []
    for box in find_boxes(probability):
        corners = box.corners * scale
        lines.append(Line(corners, box.score, cut(image, corners)))
    return tuple(lines), result


def read_line(crop: Array, reader: Model, labels: Sequence[str], *, budget: float | None = None) -> Reading:
    """Read one line: `crop` is uint8 [height, width, 3], red first, or [height, width]. `budget` is in seconds."""
    result = reader.infer({"image": prepare_line(_checked(crop))}, budget=budget)
    text, confidence = decode(result.outputs["symbols"][0], labels)
    return Reading(text, confidence, result)


def prepare_page(image: Array) -> Array:
    """The page as the detector takes it: float32 [1, 3, H, W]."""
    height, width = image.shape[:2]
    scale = min(1.0, LONGEST / max(height, width))
    sides = [max(STRIDE, round(side * scale / STRIDE) * STRIDE) for side in (width, height)]
    return _tensor(cv2.resize(image, sides, interpolation=cv2.INTER_LINEAR))


def prepare_line(crop: Array) -> Array:
    """The line as the reader takes it: float32 [1, 3, 48, W], its right padded with mid-grey."""
    height, width = crop.shape[:2]
    scaled = min(WIDEST, -(-width * HEIGHT // height))
    line = _tensor(cv2.resize(crop, (scaled, HEIGHT), interpolation=cv2.INTER_LINEAR))
    padded = max(NARROWEST, -(-scaled // STEP) * STEP)
    return np.pad(line, ((0, 0), (0, 0), (0, 0), (0, padded - scaled)))


def cut(image: Array, corners: Array) -> Array:
    """The quadrangle of a page as a level picture. One that stands upright (over 1.5 times as high as wide) is laid on its
    side, as the reader was trained: a line that runs downwards comes out level."""
    width, height = (
        max(1, round(float(max(np.linalg.norm(corners[a] - corners[b]), np.linalg.norm(corners[c] - corners[d])))))
        for a, b, c, d in ((0, 1, 3, 2), (0, 3, 1, 2))
    )
    level = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    transform = cv2.getPerspectiveTransform(corners, level)
    crop = cv2.warpPerspective(image, transform, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.ascontiguousarray(np.rot90(crop)) if height > 1.5 * width else np.asarray(crop)


def decode(symbols: Array, labels: Sequence[str]) -> tuple[str, float]:
    """The text of float32 [steps, classes] of probabilities, and the mean probability of its symbols.

    Greedy: the likeliest class of each step; a class that is repeated counts once; class 0 is the blank between symbols.
    """
    if symbols.ndim != 2 or symbols.shape[1] != len(labels):
        raise InputError(
            f"{len(labels)} labels do not fit symbols {list(symbols.shape)}: give one for each class, blank first"
        )
    best = symbols.argmax(axis=1)
    starts = (best != 0) & (np.diff(best, prepend=0) != 0)
    if not starts.any():
        return "", 0.0
    return "".join(labels[index] for index in best[starts]), float(symbols.max(axis=1)[starts].mean())


def _checked(image: Array) -> Array:
    """The image with three channels, or an InputError."""
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or image.size == 0 or (image.ndim == 3 and image.shape[2] != 3):
        raise InputError(
            "an image is uint8 [height, width, 3], red first, or uint8 [height, width]; "
            f"this is {image.dtype} {list(image.shape)}"
        )
    return np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image


def _tensor(image: Array) -> Array:
    """uint8 [H, W, 3] red first -> float32 [1, 3, H, W] blue first, -1..1."""
    return np.ascontiguousarray((image[None, :, :, ::-1].astype(np.float32) / 127.5 - 1).transpose(0, 3, 1, 2))
