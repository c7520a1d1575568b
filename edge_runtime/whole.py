"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from edge_runtime.errors import InputError


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
