"""Sounds cut into windows, and what is on in them: known values, and what holds for any sound."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.processing import sounds, steps


@given(st.integers(0, 200), st.integers(1, 40), st.integers(0, 60), st.booleans(), st.sampled_from([(), (3,)]))
def test_windows_cover_a_series_once_with_what_came_before(
    count: int, length: int, context: int, pad: bool, channels: tuple[int, ...]
) -> None:
    """The new parts in a row are the series; each context is the end of what came before; a rest is padded, or left out."""
    series = np.arange(1, count + 1, dtype=np.float32).reshape(count, *[1] * len(channels)) * np.ones(channels, np.float32)
    found = list(sounds.windows(steps.Windows(length, context, pad), series))
    assert len(found) == (-(-count // length) if pad else count // length)
    assert all(piece.shape == (context + length, *channels) for piece in found)
    heard = np.concatenate([series[:0], *(piece[context:] for piece in found)])
    kept = min(len(heard), count)
    assert (heard[:kept] == series[:kept]).all()
    assert not heard[kept:].any()
    before = np.concatenate([np.zeros((context, *channels), np.float32), heard])
    for number, piece in enumerate(found):
        assert (piece[:context] == before[number * length : number * length + context]).all()


def test_a_series_is_cut_or_filled_at_its_end() -> None:
    """With the step's own value."""
    series = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
    assert sounds.fit(steps.Fit(1), series).tolist() == [[1.0, 2.0]]
    assert sounds.fit(steps.Fit(3, -1.0), series).tolist() == [[1.0, 2.0], [3.0, 4.0], [-1.0, -1.0]]
    assert sounds.column(steps.Column(), series[0]).tolist() == [[1.0], [2.0]]


def test_frames_begin_where_their_window_does() -> None:
    """Nothing adds up over windows: a third window begins at twice its length, whatever its frames come to."""
    step = steps.Events("y", 0.3)
    assert sounds.frame_edges(0, 2, 2, step, 0.5) == pytest.approx([0.0, 0.3, 0.5, 0.8, 1.1])
    assert sounds.frame_edges(2, 1, 2, step, 0.5) == pytest.approx([1.0, 1.3, 1.6])
    assert sounds.frame_edges(1, 2, 1, step, None) == pytest.approx([0.3, 0.6, 0.9])


def test_events_are_the_stretches_over_the_threshold() -> None:
    """Two classes in their order of beginning; one that is too short is left out; the score is the mean."""
    scores = np.array([[0.9, 0.0], [0.7, 0.5], [0.1, 0.5], [0.8, 0.5]], np.float32)
    edges = np.arange(5) * 0.1
    found = sounds.events(scores, edges, steps.Events("y", 0.1, 0.5, shortest=0.15), ("do", "re"))
    assert [event.name for event in found] == ["do", "re"]
    assert [time for event in found for time in (event.start, event.end)] == pytest.approx([0.0, 0.2, 0.1, 0.4])
    assert [e.score for e in found] == pytest.approx([0.8, 0.5])


def test_events_without_labels_have_the_steps_name_or_a_number() -> None:
    """One class is what the step calls it."""
    on, edges = np.ones((1, 1), np.float32), np.array([0.0, 1.0])
    assert sounds.events(on, edges, steps.Events("y", 1.0, name="speech"), ())[0].name == "speech"
    assert sounds.events(on, edges, steps.Events("y", 1.0), ())[0].name == "0"


@given(st.lists(st.booleans(), max_size=60))
def test_runs_are_where_it_is_on(flags: list[bool]) -> None:
    """Drawn again from its runs, it is what it was; runs never touch."""
    drawn = np.zeros(len(flags), np.bool_)
    found = list(sounds.runs(np.array(flags, np.bool_)))
    for first, end in found:
        assert first < end
        drawn[first:end] = True
    assert drawn.tolist() == flags
    assert all(one[1] < other[0] for one, other in pairwise(found))
