"""The real inputs and the truth about them: where they are, who speaks when, and what the page says."""

from __future__ import annotations

from math import isfinite
from pathlib import Path

import msgspec

from edge_runtime.errors import InputError
from edge_runtime.processing.files import read_text

PAGE = "skimage/data/page.png"
"""A photograph of a printed page, inside the packages' folder. Package scikit-image."""
SPEECH = "pyannote/audio/sample/sample.wav"
"""30 s of a conversation, 16 kHz. Package pyannote.audio."""
SPEAKERS = "pyannote/audio/sample/sample.rttm"
"""Who speaks when in SPEECH."""

_RTTM_FIELDS = 9


class Segment(msgspec.Struct, frozen=True, order=True):
    """A stretch of time, in seconds."""

    start: float
    end: float


def transcript() -> str:
    """What PAGE says, line by line, typed from looking at the picture.

    The seven lines that are wholly in the picture. Of an eighth, at the lower edge, only the upper halves of some letters
    are left ("s-image.org/do..."); it is not in the transcript, so whatever a reader makes of it counts as errors.
    """
    return (Path(__file__).parent / "page.txt").read_text("utf-8")


def read_rttm(path: Path) -> tuple[Segment, ...]:
    """The segments of an RTTM file, as `parse_rttm`."""
    return parse_rttm(read_text(path))


def parse_rttm(text: str) -> tuple[Segment, ...]:
    """Who speaks when, without the who: the SPEAKER lines of a Rich Transcription Time Marked file (NIST, RT-09), sorted.

    Segments may overlap. Comments (;;) and lines of other types are skipped. Raises InputError, naming the line.
    """
    segments = []
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.split()
        if not fields or fields[0].startswith(";;") or fields[0] != "SPEAKER":
            continue
        if len(fields) < _RTTM_FIELDS:
            raise InputError(f"RTTM line {number} has {len(fields)} fields; a SPEAKER line has {_RTTM_FIELDS} or 10")
        try:
            start, duration = float(fields[3]), float(fields[4])
        except ValueError:
            raise InputError(f"RTTM line {number}: {fields[3]!r} and {fields[4]!r} are not seconds") from None
        if not (isfinite(start + duration) and start >= 0 and duration > 0):
            raise InputError(f"RTTM line {number}: a segment of {duration} s from {start} s cannot be")
        segments.append(Segment(start, start + duration))
    return tuple(sorted(segments))
