"""The scores: the properties that make them scores."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.errors import InputError
from edge_runtime.values import Array
from models.pipelines.score import (
    CharacterErrors,
    Detection,
    compare_frames,
    compare_tensors,
    compare_text,
    edit_distance,
    normalise,
)

words = st.text("ab c", max_size=9)


def recursive(a: str, b: str) -> int:
    """Levenshtein's distance as it is defined."""
    if not a or not b:
        return len(a) + len(b)
    if a[0] == b[0]:
        return recursive(a[1:], b[1:])
    return 1 + min(recursive(a[1:], b), recursive(a, b[1:]), recursive(a[1:], b[1:]))


@pytest.mark.parametrize(
    ("a", "b", "distance"),
    [("", "", 0), ("kitten", "sitting", 3), ("flaw", "lawn", 2), ("", "abc", 3), ("ö\u3000", "o", 2)],
)
def test_known_distances(a: str, b: str, distance: int) -> None:
    """The textbook's pairs."""
    assert edit_distance(a, b) == distance


@given(st.text("abc", max_size=6), st.text("abc", max_size=6))
def test_the_table_gives_what_the_definition_gives(a: str, b: str) -> None:
    """The vectorised table against the plain recursion."""
    assert edit_distance(a, b) == recursive(a, b)


@given(words, words, words)
def test_the_distance_is_a_metric(a: str, b: str, c: str) -> None:
    """Zero only between equals, the same both ways, no shortcut over a third."""
    assert (edit_distance(a, b) == 0) == (a == b)
    assert edit_distance(a, b) == edit_distance(b, a)
    assert edit_distance(a, c) <= edit_distance(a, b) + edit_distance(b, c)


@given(words, words)
def test_white_space_counts_as_one_space_and_nothing_at_the_ends(found: str, truth: str) -> None:
    """Line ends, tabs and doubled spaces change no score."""
    spread = "\n " + found.replace(" ", " \t\n") + "\n\n"
    assert compare_text(spread, truth) == compare_text(found, truth)
    assert normalise(spread) == normalise(found)


def test_nothing_else_is_forgiven() -> None:
    """Case, punctuation and a missing space each count."""
    assert compare_text("a. B c", "a, b c").edits == 2
    assert compare_text("ab", "a b") == CharacterErrors(1, 3)


def test_rates_at_the_ends() -> None:
    """Nothing of nothing is right; something of nothing is all wrong; nothing read is an error rate of one."""
    assert CharacterErrors(0, 0).rate == 0.0
    assert compare_text("abc", "").rate == 1.0
    assert compare_text("", "abc").rate == 1.0
    assert str(CharacterErrors(1, 8)) == "character error rate 12.5% (1 of 8)"


@given(st.lists(st.tuples(st.booleans(), st.booleans())))
def test_detection_counts_every_kind_of_frame(pairs: list[tuple[bool, bool]]) -> None:
    """Hits, false alarms and misses are counted; F1 lies between precision and recall and is 1 only without errors."""
    found, truth = (np.array([pair[side] for pair in pairs], np.bool_) for side in (0, 1))
    score = compare_frames(found, truth)
    assert (score.hits, score.false_alarms, score.misses) == tuple(
        pairs.count(kind) for kind in ((True, True), (True, False), (False, True))
    )
    assert min(score.precision, score.recall) - 1e-12 <= score.f1 <= max(score.precision, score.recall) + 1e-12
    assert (score.f1 == 1.0) == (score.false_alarms + score.misses == 0)


def test_a_detection_in_one_line() -> None:
    """What a table shows."""
    assert str(Detection(688, 4, 13)) == "precision 0.994, recall 0.981, F1 0.988"


@pytest.mark.parametrize(
    "found", [np.zeros(3, np.bool_), np.zeros((2, 1), np.bool_), np.zeros(2, np.float32)], ids=["count", "rank", "dtype"]
)
def test_frames_that_do_not_fit_are_refused(found: Array) -> None:
    """Another count, rank or dtype is an InputError, never broadcast."""
    with pytest.raises(InputError, match=r"two bool\[N\]"):
        compare_frames(found, np.zeros(2, np.bool_))


def test_a_difference_is_over_every_element_of_every_tensor() -> None:
    """Worst, mean and flipped decisions over two calls with two tensors each."""
    reference = [{"a": np.array([0.4, 0.1], np.float32), "b": np.array([[0.9]], np.float32)}] * 2
    found = [reference[0], {"a": np.array([0.6, 0.1], np.float32), "b": np.array([[0.8]], np.float32)}]
    score = compare_tensors(found, reference)
    assert score.worst == pytest.approx(0.2)
    assert score.mean == pytest.approx(0.3 / 6)
    assert score.flipped == pytest.approx(1 / 6)


def test_nan_is_far_from_everything() -> None:
    """An engine that answers NaN can never be within a tolerance."""
    nan = [{"a": np.array([np.nan, 1], np.float32)}]
    assert compare_tensors(nan, [{"a": np.ones(2, np.float32)}]).worst == np.inf
    assert compare_tensors(nan, nan).worst == np.inf


@pytest.mark.parametrize(
    ("found", "reference"),
    [
        ([], []),
        ([{"a": np.zeros(1)}], []),
        ([{"a": np.zeros(1)}], [{"b": np.zeros(1)}]),
        ([{"a": np.zeros(1)}], [{"a": np.zeros(2)}]),
    ],
)
def test_outputs_that_do_not_fit_are_refused(found: list[dict[str, Array]], reference: list[dict[str, Array]]) -> None:
    """Another number of calls, another name, another shape, or nothing at all: no score."""
    with pytest.raises(InputError, match="cannot be compared"):
        compare_tensors(found, reference)
