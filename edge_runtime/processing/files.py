"""What users have, in files: pictures, sounds, texts, series. Whatever is wrong with one is an InputError that names it."""

from __future__ import annotations

import io
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edge_runtime.errors import InputError
from edge_runtime.processing.extra import vision
from edge_runtime.processing.kinds import MAX_BYTES, MAX_SAMPLES, TAKES, Raw
from edge_runtime.processing.steps import Kind, Processing
from edge_runtime.values import Array

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
_PNG = b"\x89PNG\r\n\x1a\n"


def read(path: Path, processing: Processing) -> Raw:
    """What is in a file, as this processing takes it. Raises InputError, also for a file of another kind by its suffix."""
    reader, suffixes = _READERS[processing.takes]
    if suffixes and path.suffix.lower() not in suffixes:
        wanted = f"{TAKES[processing.takes]}, from a {', '.join(suffixes)} file"
        raise InputError(f"{path} does not fit: the model takes {wanted}")
    raw: Raw = reader(path, processing)
    return raw


def read_image(path: Path) -> Array:
    """The picture as uint8 [height, width, 3], red first. Raises InputError."""
    cv2 = vision()
    data = _without_profile(read_bytes(path)) or b"\0"
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    except (cv2.error, MemoryError) as error:
        raise InputError(f"{path} is a picture that is too large to be read: {str(error).strip()[:200]}") from error
    if pixels is None:
        raise InputError(f"{path} is not a picture that can be read (PNG, JPEG, TIFF, WebP)")
    return np.asarray(pixels)


def write_image(path: Path, pixels: Array) -> None:
    """uint8 [height, width] or [height, width, 3], red first, in the format of the path's suffix. Raises InputError."""
    cv2 = vision()
    try:
        done, data = cv2.imencode(path.suffix, pixels[..., ::-1] if pixels.ndim == 3 else pixels)
    except cv2.error as error:
        raise InputError(f"{path}: {path.suffix or 'no suffix'} is no kind of picture that can be written") from error
    write_bytes(path, data.tobytes() if done else b"")


def read_wav(path: Path, rate: int | None) -> Array:
    """The sound as float32 [samples] in -1..1. Raises InputError unless it is mono 16-bit PCM at `rate` Hz, and whole."""
    try:
        with wave.open(str(path), "rb") as file:
            found = file.getparams()
            data = file.readframes(min(found.nframes, MAX_SAMPLES + 1))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except (wave.Error, EOFError, RuntimeError) as error:  # RuntimeError: a chunk that ends outside the file
        raise InputError(f"{path} is not a WAV file with PCM samples: {error or 'it ends too early'}") from error
    if (found.nchannels, found.sampwidth, found.framerate) != (1, 2, rate or found.framerate):
        raise InputError(
            f"{path} has {found.nchannels} channels of {8 * found.sampwidth} bits at {found.framerate} Hz; "
            f"1 channel of 16 bits at {rate or 'any'} Hz is needed"
        )
    if len(data) != 2 * found.nframes:
        kept = f"{len(data) // 2} samples of the {found.nframes} that its header promises"
        raise InputError(f"{path} is too long: {kept}" if len(data) > 2 * MAX_SAMPLES else f"{path} is cut short: {kept}")
    return np.frombuffer(data, "<i2").astype(np.float32) / np.float32(32768)


def write_wav(path: Path, samples: Array, rate: int) -> None:
    """float32 [samples] in -1..1 as mono 16-bit PCM; what is louder is clipped. Raises InputError."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((np.clip(np.nan_to_num(samples), -1, 1) * 32767).round().astype("<i2").tobytes())
    write_bytes(path, buffer.getvalue())


def read_text(path: Path) -> str:
    """The text, without the line end at its end. Raises InputError."""
    try:
        return read_bytes(path).decode("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text: {error}") from error


def read_series(path: Path) -> Array:
    """float32 [steps, channels] of lines of numbers with commas between; a first line of names is left out."""
    lines = read_text(path).splitlines()
    try:
        if lines and not _numbers(lines[0]):
            lines = lines[1:]
        return np.array([[float(cell) for cell in line.split(",")] for line in lines if line.strip()], np.float32)
    except ValueError as error:
        raise InputError(f"{path} is no table of numbers with commas between: {error}") from error


def read_bytes(path: Path) -> bytes:
    """All of a file, if it is not too large. Raises InputError."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: what can be no path
        raise InputError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if len(data) > MAX_BYTES:
        raise InputError(f"{path} has over {MAX_BYTES} bytes; at most so many are read")
    return data


def write_bytes(path: Path, data: bytes) -> None:
    """Raises InputError when that cannot be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as error:
        raise InputError(f"{path} could not be written: {error.strerror or error}") from error


def _numbers(line: str) -> bool:
    try:
        [float(cell) for cell in line.split(",")]
    except ValueError:
        return False
    return True


def _without_profile(data: bytes) -> bytes:
    """A PNG without its colour profile: nothing here uses one, and libpng prints a warning about those it dislikes."""
    if not data.startswith(_PNG):
        return data
    start = len(_PNG)
    while start + 8 <= len(data):
        end = start + 12 + int.from_bytes(data[start : start + 4], "big")
        if data[start + 4 : start + 8] == b"iCCP":
            return data[:start] + data[end:]
        start = end
    return data


def _no_file(path: Path, processing: Processing) -> Any:
    raise InputError(f"{path} does not fit: the model takes {TAKES['noise']}, not a file")


_READERS: dict[Kind, tuple[Callable[[Path, Processing], Any], tuple[str, ...]]] = {
    "image": (lambda path, _: read_image(path), PICTURES),
    "audio": (lambda path, processing: read_wav(path, processing.rate), (".wav",)),
    "text": (lambda path, _: read_text(path), (".txt",)),
    "bytes": (lambda path, _: read_bytes(path), ()),
    "series": (lambda path, _: read_series(path), (".csv",)),
    "noise": (_no_file, ()),
}
