"""From a map of how likely each pixel is text to boxes around the lines, in the order in which one reads them. Pure.

The map is that of differentiable binarization (Liao et al., "Real-time Scene Text Detection with Differentiable
Binarization", AAAI 2020): what it marks is each line shrunk, so that lines that touch come apart; a box is grown back.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import cos, radians, sin

import msgspec
import numpy as np

from edge_runtime.errors import InputError
from edge_runtime.processing.answers import Region
from edge_runtime.processing.extra import vision
from edge_runtime.values import Array

TEXT = 0.3
"""A pixel is text from this probability on."""
SURE = 0.5
"""A box is kept from this mean probability on."""
GROWTH = 1.6
"""How much a box grows: the larger, the more margin is left around the letters."""
SMALLEST = 3.0
"""Pixels of the map: a mark whose shorter side is below is noise."""
MOST = 1000
"""Boxes of one map, at most: of a map with more, the largest."""


class Box(msgspec.Struct, frozen=True):
    """A rectangle around one line of text, turned as the line is. Pixels, with y downwards."""

    x: float
    """The centre."""
    y: float
    width: float
    """Along the line: the side whose direction is within 45 degrees of the picture's rows."""
    height: float
    angle: float
    """Degrees from the rows to the line, clockwise: -45 < angle <= 45."""
    score: float = 1.0
    """The mean probability of text inside, before it was grown."""

    @property
    def corners(self) -> Array:
        """float32 [4, 2]: x, y of the corners, clockwise from where the line begins, at the top."""
        turn = radians(self.angle)
        along = np.array([cos(turn), sin(turn)]) * (self.width / 2)
        down = np.array([-sin(turn), cos(turn)]) * (self.height / 2)
        centre = np.array([self.x, self.y])
        return np.array(
            [centre - along - down, centre + along - down, centre + along + down, centre - along + down], np.float32
        )


def find_boxes(
    probability: Array, *, text: float = TEXT, sure: float = SURE, growth: float = GROWTH, smallest: float = SMALLEST
) -> tuple[Box, ...]:
    """The boxes of a map, float32 [height, width] of probabilities, in reading order; none on an empty page."""
    if probability.ndim != 2 or probability.dtype != np.float32 or probability.size == 0:
        raise InputError(f"a map is float32 [height, width]; this is {probability.dtype} {list(probability.shape)}")
    cv2 = vision()
    marks, _ = cv2.findContours((probability > text).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    found = []
    for mark in sorted(marks, key=cv2.contourArea, reverse=True)[:MOST]:
        box = upright(*cv2.minAreaRect(mark))
        if min(box.width, box.height) < smallest:
            continue
        score = _mean_inside(probability, box)
        if score >= sure:
            found.append(grow(msgspec.structs.replace(box, score=score), growth))
    return reading_order(found)


def regions(probability: Array, shape: tuple[int, ...]) -> tuple[Region, ...]:
    """The boxes of a map, on the picture [height, width, ...] that it is a map of."""
    scale = np.array([shape[1] / probability.shape[1], shape[0] / probability.shape[0]])
    return tuple(_region(box.corners * scale, box.score) for box in find_boxes(probability))


def _region(corners: Array, score: float) -> Region:
    one, two, three, four = ((x, y) for x, y in corners.tolist())
    return Region((one, two, three, four), score)


def cut(picture: Array, region: Region) -> Array:
    """What is in a region, as a level picture. One that stands upright (over 1.5 times as high as wide) is laid on its
    side, as readers are trained: a line that runs downwards comes out level."""
    cv2 = vision()
    corners = np.array(region.corners, np.float32)
    width, height = (
        max(1, round(float(max(np.linalg.norm(corners[a] - corners[b]), np.linalg.norm(corners[c] - corners[d])))))
        for a, b, c, d in ((0, 1, 3, 2), (0, 3, 1, 2))
    )
    level = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    transform = cv2.getPerspectiveTransform(corners, level)
    crop = cv2.warpPerspective(picture, transform, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.ascontiguousarray(np.rot90(crop)) if height > 1.5 * width else np.asarray(crop)


def upright(centre: Iterable[float], size: Iterable[float], degrees: float) -> Box:
    """A box from a rectangle at any angle (OpenCV's centre, size, clockwise degrees): the same corners, the sides named
    as `Box` names them."""
    (x, y), (width, height) = centre, size
    turns = -round(degrees / 90 - 1e-9)  # just 45 degrees stay
    if turns % 2:
        width, height = height, width
    return Box(x, y, width, height, degrees + 90 * turns)


def grow(box: Box, ratio: float) -> Box:
    """The box with every side moved out by area * ratio / perimeter, the paper's offset (its equation 10).

    There a polygon is offset with round corners and a rectangle laid around the result; for a rectangle that comes to this.
    """
    offset = box.width * box.height * ratio / (2 * (box.width + box.height))
    return msgspec.structs.replace(box, width=box.width + 2 * offset, height=box.height + 2 * offset)


def reading_order(boxes: Iterable[Box]) -> tuple[Box, ...]:
    """Top to bottom; those side by side left to right.

    Two boxes are side by side when each one's centre lies between the other's upper and lower edge.
    """
    rows: list[list[Box]] = []
    for box in sorted(boxes, key=lambda box: (box.y, box.x)):
        if rows and abs(box.y - rows[-1][0].y) < min(box.height, rows[-1][0].height) / 2:
            rows[-1].append(box)
        else:
            rows.append([box])
    return tuple(box for row in rows for box in sorted(row, key=lambda box: box.x))


def _mean_inside(probability: Array, box: Box) -> float:
    """The mean of the map inside a box; of the part of it that is on the map."""
    cv2 = vision()
    corners = box.corners
    height, width = probability.shape
    left, top = np.clip(np.floor(corners.min(axis=0)).astype(int), 0, [width - 1, height - 1])
    right, bottom = np.clip(np.ceil(corners.max(axis=0)).astype(int), 0, [width - 1, height - 1])
    inside = np.zeros((bottom - top + 1, right - left + 1), np.uint8)
    cv2.fillConvexPoly(inside, np.rint(corners - [left, top]).astype(np.int32), 1)
    return float(cv2.mean(probability[top : bottom + 1, left : right + 1], inside)[0])
