"""Read a page: find the lines with one model, read each with another."""

from __future__ import annotations

import msgspec
import numpy as np

from edge_runtime.errors import InputError
from edge_runtime.processing import answers
from edge_runtime.processing.boxes import cut
from edge_runtime.values import Array, Result
from models.pipelines.model import Model

LEGIBLE = 0.5
"""The confidence from which on a line counts as text: below, it is a rule or a stain."""


class Line(msgspec.Struct, frozen=True, eq=False):
    """A line of text that was found on a page."""

    region: answers.Region
    """Where it is, and how sure the detector is."""
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


def read_page(image: Array, detector: Model, reader: Model, *, budget: float | None = None) -> Page:
    """Find the lines and read them, one after the other.

    `image` is uint8 [height, width, 3], red first, or [height, width]. `detector` and `reader` are the bundles ppocr_det
    and ppocr_rec. `budget` is in seconds, for the reading of each line. An empty page has no lines.
    """
    lines, search = find_lines(image, detector)
    readings = tuple(read_line(line.crop, reader, budget=budget) for line in lines)
    return Page(lines, readings, search)


def find_lines(image: Array, detector: Model, *, budget: float | None = None) -> tuple[tuple[Line, ...], Result]:
    """The lines on a page, in reading order, and where and how the detector ran. Otherwise as `read_page`."""
    result = detector.infer(image, budget=budget)
    if not isinstance(result.answer, answers.Boxes):
        raise InputError("the detector finds no boxes: give the bundle ppocr_det")
    picture = np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image
    return tuple(Line(region, cut(picture, region)) for region in result.answer.boxes), result


def read_line(crop: Array, reader: Model, *, budget: float | None = None) -> Reading:
    """Read one line: `crop` is uint8 [height, width, 3], red first, or [height, width]. `budget` is in seconds."""
    result = reader.infer(crop, budget=budget)
    if not isinstance(result.answer, answers.Text):
        raise InputError("the reader reads no text: give the bundle ppocr_rec")
    return Reading(result.answer.text, result.answer.score, result)
