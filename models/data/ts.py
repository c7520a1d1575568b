"""Reads the .ts text of the time series archives: recordings of several channels, each with a class.

    # a comment
    @problemName Example
    @classLabel true still moving
    @data
    0.1,0.2,0.3:1.0,1.1,1.2:still

A line of data is a recording: its channels between colons, each the values of its steps, and its class at the end.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from edge_runtime.errors import InputError
from edge_runtime.values import Array

MAX_BYTES = 1 << 25
"""Of a file, at most: more is refused before it is read."""


class Recording(msgspec.Struct, frozen=True):
    """One line of data."""

    values: Array
    """float32 [steps, channels]."""
    label: int
    """The place of its class among the file's classes."""


def read(path: Path) -> tuple[Recording, ...]:
    """The recordings of a file. Raises InputError."""
    try:
        if (size := path.stat().st_size) > MAX_BYTES:
            raise InputError(f"{path} has {size} bytes; at most {MAX_BYTES} are read")
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    return parse(text, path.name)


def parse(text: str, name: str = "the text") -> tuple[Recording, ...]:
    """The recordings in a .ts text, all with as many channels. Raises InputError, with the line's number."""
    classes: dict[str, int] = {}
    recordings: list[Recording] = []
    in_data = False
    for number, line in enumerate(map(str.strip, text.splitlines()), 1):
        where = f"{name}, line {number}"
        if not line or line.startswith("#"):
            continue
        if in_data:
            recordings.append(_recording(line, classes, where))
            if len(channels := {one.values.shape[1] for one in (recordings[0], recordings[-1])}) > 1:
                raise InputError(f"{where}: {max(channels)} and {min(channels)} channels in one file")
        elif line.lower() == "@data":
            in_data = True
        elif line.lower().startswith("@classlabel"):
            classes = {label: place for place, label in enumerate(line.split()[2:])}
        elif not line.startswith("@"):
            raise InputError(f"{where}: {line[:40]!r} stands before @data and is neither a comment nor a header")
    if not recordings:
        raise InputError(f"{name} ends without a recording: it is empty, cut off, or no .ts text")
    return tuple(recordings)


def _recording(line: str, classes: dict[str, int], where: str) -> Recording:
    *channels, label = line.split(":")
    if not channels:
        raise InputError(f"{where}: no colon before a class: the line is cut off, or no recording")
    if label not in classes:
        raise InputError(f"{where}: {label[:40]!r} is none of the classes of @classLabel ({', '.join(classes) or 'none'})")
    try:
        rows = [[float(value) for value in channel.split(",")] for channel in channels]
    except ValueError as error:
        raise InputError(f"{where}: {str(error)[:80]}") from error
    if len(steps := {len(row) for row in rows}) > 1:
        raise InputError(f"{where}: channels of {min(steps)} and of {max(steps)} steps in one recording")
    with np.errstate(over="ignore"):
        values = np.asarray(rows, np.float64).T.astype(np.float32)
    if not np.isfinite(values).all():
        raise InputError(f"{where}: NaN, infinite or huge values")
    return Recording(values, classes[label])
