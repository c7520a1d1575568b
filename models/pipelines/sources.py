"""The real inputs and the truth about them: pictures, sound, who speaks when, and what the page says."""

from __future__ import annotations

import wave
from math import isfinite
from pathlib import Path

import cv2
import msgspec
import numpy as np

from edge_runtime.errors import InputError
from edge_runtime.values import Array

PAGE = "skimage/data/page.png"
"""A photograph of a printed page, inside the packages' folder. Package scikit-image."""
SPEECH = "pyannote/audio/sample/sample.wav"
"""30 s of a conversation, 16 kHz. Package pyannote.audio."""
SPEAKERS = "pyannote/audio/sample/sample.rttm"
"""Who speaks when in SPEECH."""

_PNG = b"\x89PNG\r\n\x1a\n"
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


def read_image(path: Path) -> Array:
    """The picture as uint8 [height, width, 3], red first. Raises InputError."""
    pixels = cv2.imdecode(np.frombuffer(_without_profile(_bytes(path)) or b"\0", np.uint8), cv2.IMREAD_COLOR_RGB)
    if pixels is None:
        raise InputError(f"{path} is not a picture that can be read (PNG, JPEG, TIFF, WebP)")
    return np.asarray(pixels)


def read_wav(path: Path, rate: int) -> Array:
    """The sound as float32 [samples] in -1..1. Raises InputError unless it is mono 16-bit PCM at `rate` Hz, and whole."""
    try:
        with wave.open(str(path), "rb") as file:
            found = file.getparams()
            data = file.readframes(found.nframes)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except (wave.Error, EOFError, RuntimeError) as error:  # RuntimeError: a chunk that ends outside the file
        raise InputError(f"{path} is not a WAV file with PCM samples: {error or 'it ends too early'}") from error
    if (found.nchannels, found.sampwidth, found.framerate) != (1, 2, rate):
        raise InputError(
            f"{path} has {found.nchannels} channels of {8 * found.sampwidth} bits at {found.framerate} Hz; "
            f"1 channel of 16 bits at {rate} Hz is needed"
        )
    if len(data) != 2 * found.nframes:
        raise InputError(f"{path} is cut short: {len(data) // 2} samples of the {found.nframes} that its header promises")
    return np.frombuffer(data, "<i2").astype(np.float32) / np.float32(32768)


def read_rttm(path: Path) -> tuple[Segment, ...]:
    """The segments of an RTTM file, as `parse_rttm`."""
    try:
        return parse_rttm(_bytes(path).decode("utf-8"))
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text: {error}") from error


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


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error


def _without_profile(data: bytes) -> bytes:
    """A PNG without its colour profile: nothing here uses one, and libpng prints a warning about the one in PAGE."""
    if not data.startswith(_PNG):
        return data
    start = len(_PNG)
    while start + 8 <= len(data):
        end = start + 12 + int.from_bytes(data[start : start + 4], "big")
        if data[start + 4 : start + 8] == b"iCCP":
            return data[:start] + data[end:]
        start = end
    return data
