"""What the command line hands to a model: tensors from .npy and .npz files, or what its processing takes."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_runtime.bundles.manifest import Manifest
from edge_runtime.errors import InputError
from edge_runtime.values import Array, Tensors

if TYPE_CHECKING:
    from edge_runtime.processing.kinds import Raw

HELP = """\
what to hand over:
  FILE             what the model takes by itself: a picture (.png, .jpg, .bmp, .webp), a sound (.wav, 16-bit mono), a text
                   (.txt), a series (.csv, a line a step), or any file where it takes bytes
  NAME=FILE.npy    a tensor, by its name; repeat for more
  FILE.npz         tensors, by their names
"""


def read(files: Sequence[str], text: str | None, number: int | None, manifest: Manifest) -> Tensors | Raw:
    """What --input, --text or --class name. Raises InputError for what cannot be read, or is not what the model takes."""
    given = [*files, *([] if text is None else ["--text"]), *([] if number is None else ["--class"])]
    if not given:
        raise InputError(f"no --input was given; {manifest.name} takes {takes(manifest)}")
    if all(_is_tensors(file) for file in files) and text is None and number is None:
        return _tensors(files)
    if len(given) > 1:
        raise InputError(f"{' and '.join(given)}: hand over one thing at a time, or tensors as NAME=FILE.npy")
    if text is not None:
        return text
    return _file(Path(files[0]), manifest) if number is None else number


def takes(manifest: Manifest) -> str:
    """What a model takes, in words."""
    tensors = ", ".join(map(str, manifest.signature.inputs))
    if manifest.processing is None:
        return tensors
    from edge_runtime.processing.kinds import TAKES

    rate = f" at {manifest.processing.rate} Hz" if manifest.processing.rate else ""
    return f"{TAKES[manifest.processing.takes]}{rate}; or {tensors}"


def _file(path: Path, manifest: Manifest) -> Raw:
    if manifest.processing is None:
        raise InputError(
            f"--input {path}: {manifest.name} takes tensors: write NAME=FILE.npy, or FILE.npz ({takes(manifest)})"
        )
    from edge_runtime.processing import files

    return files.read(path, manifest.processing)


def _is_tensors(text: str) -> bool:
    return text.endswith((".npy", ".npz"))


def _tensors(given: Sequence[str]) -> dict[str, Array]:
    inputs: dict[str, Array] = {}
    for text in given:
        name, separator, file = text.partition("=")
        try:
            loaded: Any = np.load(file if separator else text, allow_pickle=False)
            inputs.update({name: loaded} if isinstance(loaded, np.ndarray) else dict(loaded))
        except (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
            raise InputError(f"--input {text}: {error}") from error
        if isinstance(loaded, np.ndarray) != bool(separator):
            raise InputError(f"--input {text}: write NAME=FILE.npy for one array, or FILE.npz for named ones")
    return inputs
