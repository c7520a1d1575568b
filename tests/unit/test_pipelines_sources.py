"""Sources: who speaks when is what is written, and anything else is one clear error."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.errors import InputError
from models.pipelines.sources import Segment, parse_rttm, read_rttm, transcript

LINE = "SPEAKER sample 1 {} {} <NA> <NA> someone <NA> <NA>"


def test_a_file_that_is_not_there_is_an_input_error(tmp_path: Path) -> None:
    """The path and the reason are in the message."""
    with pytest.raises(InputError, match="missing cannot be read: No such file"):
        read_rttm(tmp_path / "missing")


def test_rttm_is_read_sorted_and_other_lines_skipped() -> None:
    """SPEAKER lines in any order, comments, blank lines and speaker information."""
    text = "\n".join([";; who", "SPKR-INFO sample 1 <NA> <NA>", LINE.format("2.5", "1"), "", LINE.format("0", "0.25")])
    assert parse_rttm(text) == (Segment(0.0, 0.25), Segment(2.5, 3.5))


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (LINE.format("-1", "2"), "cannot be"),
        (LINE.format("1", "0"), "cannot be"),
        (LINE.format("1", "-2"), "cannot be"),
        (LINE.format("nan", "2"), "cannot be"),
        (LINE.format("1", "inf"), "cannot be"),
        (LINE.format("one", "2"), "are not seconds"),
        ("SPEAKER sample 1 0.5 2", "5 fields"),
    ],
)
def test_a_bad_rttm_line_is_named(line: str, told: str) -> None:
    """The error gives the line's number and what is wrong with it."""
    with pytest.raises(InputError, match=f"RTTM line 2.*{told}"):
        parse_rttm(LINE.format("0", "1") + "\n" + line)


@given(st.text())
def test_any_text_is_segments_or_the_one_error(text: str) -> None:
    """The parser lets nothing else out."""
    with suppress(InputError):
        assert all(segment.end > segment.start >= 0 for segment in parse_rttm("SPEAKER " + text))


def test_the_transcript_is_the_seven_whole_lines() -> None:
    """Typed by eye; the line that the picture's edge cuts through is not in it."""
    lines = transcript().splitlines()
    assert len(lines) == 7
    assert lines[0] == "Region-based segmentation"
    assert lines[-1] == ">>> markers = np.zeros_like(coins)"
