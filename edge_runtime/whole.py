"""Files that are written whole or not at all, and so can be told by a glance to be as they were."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeAlias

from edge_runtime.errors import InputError

Stamp: TypeAlias = tuple[int, int, int]


def stamp(path: str) -> Stamp | None:
    """What another file at this path would differ in; None where there is none. For files that are only ever replaced: who
    asks before each call need not read them each time."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def write_whole(path: Path, data: bytes, what: str) -> None:
    """Replace a file in one atomic step: after a crash or on a full disk the old one is still whole. Raises InputError."""
    temporary = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise InputError(f"{what} could not be written to {path}: {error}; the old file is untouched") from error


def create(path: Path, data: bytes, mode: int) -> None:
    """A new file, on the disk, which others never could read where they may not. Raises OSError, also where it is there."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    sync(path.parent)


def sync(folder: Path) -> None:
    """Bring a folder's entries to the disk: a new or a renamed file is not there before. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
