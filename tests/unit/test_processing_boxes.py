"""From probability maps to boxes: drawn maps with known answers, and geometry that must hold for any box."""

from __future__ import annotations

import random

import cv2
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.errors import InputError
from edge_runtime.processing.answers import Region
from edge_runtime.processing.boxes import MOST, Box, cut, find_boxes, grow, reading_order, regions, upright
from edge_runtime.values import Array

sides = st.floats(4, 400)
places = st.floats(-500, 500)
boxes = st.builds(Box, x=places, y=places, width=sides, height=sides, angle=st.floats(-45, 45))


def drawn(*shown: Box, size: tuple[int, int] = (160, 320), value: float = 0.9) -> Array:
    """A map on which these boxes are marked."""
    chart = np.zeros(size, np.float32)
    for box in shown:
        cv2.fillConvexPoly(chart, np.rint(box.corners).astype(np.int32), value)
    return chart


@given(boxes, st.floats(0.1, 3))
def test_growth_moves_every_side_by_the_papers_offset(box: Box, ratio: float) -> None:
    """Each side moves out by area * ratio / perimeter; centre and angle stay."""
    grown = grow(box, ratio)
    offset = box.width * box.height * ratio / (2 * box.width + 2 * box.height)
    assert grown.width - box.width == pytest.approx(2 * offset)
    assert grown.height - box.height == pytest.approx(2 * offset)
    assert (grown.x, grown.y, grown.angle) == (box.x, box.y, box.angle)


@given(boxes)
def test_growth_is_that_of_a_polygon_offset_with_round_corners(box: Box) -> None:
    """The grown rectangle is the smallest one around the box with a disc of the offset laid on each corner."""
    offset = box.width * box.height * 1.6 / (2 * box.width + 2 * box.height)
    turns = np.linspace(0, 2 * np.pi, 720, endpoint=False)
    discs = box.corners[:, None] + offset * np.stack([np.cos(turns), np.sin(turns)], axis=1)
    along = (box.corners[1] - box.corners[0]) / box.width
    reach = (discs @ along).max() - (discs @ along).min()
    assert grow(box, 1.6).width == pytest.approx(reach, rel=1e-3)


@given(boxes)
def test_corners_go_clockwise_from_the_lines_beginning(box: Box) -> None:
    """The first side runs to the right, the second down, and they are the box's width and height."""
    corners = box.corners.astype(np.float64)
    across, down = corners[1] - corners[0], corners[2] - corners[1]
    assert across[0] >= abs(across[1]) - 1e-2
    assert down[1] >= abs(down[0]) - 1e-2
    assert np.hypot(*across) == pytest.approx(box.width, abs=1e-2)
    assert np.hypot(*down) == pytest.approx(box.height, abs=1e-2)
    assert corners.mean(axis=0) == pytest.approx([box.x, box.y], abs=1e-2)


@given(places, places, sides, sides, st.floats(-360, 360))
def test_a_rectangle_at_any_angle_becomes_an_upright_box_with_the_same_corners(
    x: float, y: float, width: float, height: float, degrees: float
) -> None:
    """However the rectangle was turned and its sides named, the box covers the same ground, within 45 degrees of level."""
    box = upright((x, y), (width, height), degrees)
    assert -45 <= box.angle <= 45 + 1e-6
    expected = cv2.boxPoints(((x, y), (width, height), degrees))
    gaps = np.linalg.norm(box.corners[:, None] - expected[None], axis=2)
    assert gaps.min(axis=1).max() < 1e-2 * max(width, height)
    assert gaps.min(axis=0).max() < 1e-2 * max(width, height)


@given(
    st.floats(80, 240), st.floats(60, 100), st.floats(60, 140), st.floats(10, 24), st.floats(-20, 20)
)  # fmt: skip
def test_a_drawn_line_is_found_where_it_was_drawn(x: float, y: float, width: float, height: float, angle: float) -> None:
    """Without growth, centre, sides and angle come back to within the pixels they were drawn with."""
    drawn_box = Box(x, y, width, height, angle)
    (found,) = find_boxes(drawn(drawn_box), growth=0.0)
    assert (found.x, found.y) == pytest.approx((x, y), abs=1.5)
    assert (found.width, found.height) == pytest.approx((width, height), abs=3)
    assert found.angle == pytest.approx(angle, abs=3)
    assert 0.7 < found.score <= 0.9 + 1e-6


@pytest.mark.parametrize("chart", [np.zeros((64, 64), np.float32), np.full((64, 64), 0.29, np.float32)])
def test_an_empty_page_has_no_boxes(chart: Array) -> None:
    """Nothing above the threshold: nothing found, no error."""
    assert find_boxes(chart) == ()


def test_specks_and_doubtful_marks_are_left_out() -> None:
    """A mark of two pixels is noise; a mark of .4 is text by the pixel but not sure enough as a box."""
    speck, doubtful, line = Box(20, 20, 2, 2, 0), Box(100, 60, 80, 12, 0), Box(100, 120, 80, 12, 0)
    chart = np.maximum(drawn(speck, line), drawn(doubtful, value=0.4))
    found = find_boxes(chart)
    assert [round(box.y) for box in found] == [120]


def test_of_a_map_full_of_marks_the_largest_are_kept() -> None:
    """A hostile or broken map costs a bounded amount of work, and the lines among the specks are not what is dropped."""
    chart = np.zeros((420, 400), np.float32)
    for top in range(0, 396, 8):
        for left in range(0, 396, 8):
            chart[top : top + 5, left : left + 5] = 1.0
    chart[404:416, 20:380] = 1.0
    found = find_boxes(chart)
    assert MOST < (400 // 8) ** 2
    assert len(found) == MOST
    assert found[-1].width > 300


@given(st.integers(1, 5), st.integers(1, 4), st.floats(-2.5, 2.5), st.integers())
def test_a_grid_is_read_row_by_row(rows: int, columns: int, slope: float, seed: int) -> None:
    """Boxes on rows that slope a little come back left to right, top to bottom, whatever order they came in."""
    grid = [Box(60.0 * column, 30.0 * row + slope * column, 50, 18, 0) for row in range(rows) for column in range(columns)]
    shuffled = random.Random(seed).sample(grid, len(grid))
    assert list(reading_order(shuffled)) == grid


@given(st.lists(boxes, max_size=8))
def test_reading_order_loses_and_invents_nothing(some: list[Box]) -> None:
    """Whatever boxes go in come out, each once."""
    assert sorted(map(msgspec.structs.astuple, reading_order(some))) == sorted(map(msgspec.structs.astuple, some))


@pytest.mark.parametrize(
    "chart",
    [
        np.zeros((1, 1, 8, 8), np.float32),
        np.zeros((8, 8), np.float64),
        np.zeros((8, 8), np.uint8),
        np.zeros((0, 8), np.float32),
    ],
)
def test_what_is_no_map_is_refused(chart: Array) -> None:
    """Wrong rank, dtype or an empty array is an InputError that says what a map is."""
    with pytest.raises(InputError, match=r"a map is float32 \[height, width\]"):
        find_boxes(chart)


def region(corners: list[list[float]]) -> Region:
    """A region of these corners."""
    one, two, three, four = ((x, y) for x, y in corners)
    return Region((one, two, three, four), 1.0)


def test_boxes_of_a_map_are_told_in_the_pictures_pixels() -> None:
    """A map of half the width and a third of the height of its picture: corners come back twice and three times as far."""
    shown = Box(100, 60, 80, 12, 0)
    (found,), (box,) = regions(drawn(shown), (480, 640, 3)), find_boxes(drawn(shown))
    assert np.array(found.corners) == pytest.approx(box.corners * [2, 3])
    assert found.score == box.score


@pytest.mark.parametrize("degrees", [-30, -7, 0, 12, 40])
def test_a_turned_line_is_cut_out_level(degrees: float) -> None:
    """The crop of a turned black bar with a white left end is the bar, level, white end on the left."""
    bar = np.full((20, 100, 3), 40, np.uint8)
    bar[:, :20] = 255
    turn = cv2.getRotationMatrix2D((50, 10), -degrees, 1.0) + np.array([[0, 0, 100], [0, 0, 110]])
    page = cv2.warpAffine(bar, turn, (300, 240), borderValue=(128, 128, 128))
    corners = cv2.transform(np.array([[[0, 0], [100, 0], [100, 20], [0, 20]]], np.float32), turn)[0]
    crop = cut(page, region(corners.tolist()))
    assert crop.shape == (20, 100, 3)
    assert crop[4:16, 4:16].mean() > 240
    assert crop[4:16, 26:96].mean() < 50


def test_a_line_that_stands_is_laid_down() -> None:
    """A line that runs downwards comes out level, its beginning (at the top) on the left."""
    page = np.zeros((120, 40, 3), np.uint8)
    page[10:30] = 255
    crop = cut(page, region([[10, 10], [30, 10], [30, 110], [10, 110]]))
    assert crop.shape == (20, 100, 3)
    assert crop[:, :15].mean() > 240
    assert crop[:, 25:].mean() < 15
