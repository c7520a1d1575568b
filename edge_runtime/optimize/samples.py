"""Calibration data: where it is read from, whether it fits a model, and which part of it is kept for the judging."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np

from edge_runtime.errors import InputError
from edge_runtime.signature import TensorSpec, input_check
from edge_runtime.values import Array, Tensors

LABEL = "label"
"""The array of a file that is no input but says what is right."""

_T = TypeVar("_T")


class Data(msgspec.Struct, frozen=True):
    """Samples, and what is right for them, if that is known."""

    samples: tuple[dict[str, Array], ...]
    labels: tuple[int, ...] | None = None
    """The class of each sample."""

    def hold_out(self) -> tuple[Data, Data]:
        """In two, as `hold_out` parts them."""
        calibration, judged = hold_out(self.samples)
        if self.labels is None:
            return Data(tuple(calibration)), Data(tuple(judged))
        known, asked = hold_out(self.labels)
        return Data(tuple(calibration), tuple(known)), Data(tuple(judged), tuple(asked))

    @property
    def digest(self) -> str:
        """The sha256 of all values, the labels last."""
        arrays = [sample[name] for sample in self.samples for name in sorted(sample)]
        return digest(arrays if self.labels is None else [*arrays, np.asarray(self.labels, np.int64)])


def load_samples(source: Path, specs: Sequence[TensorSpec]) -> tuple[dict[str, Array], ...]:
    """The samples in an .npz file, or in the .npz files of a folder in the order of their names, checked.

    A file holds one array for each of a model's inputs, under its name: the input itself, or many of them stacked along a
    new first axis. Raises InputError, naming the file or the sample, what does not fit, and what would.
    """
    return load_data(source, specs).samples


def load_data(source: Path, specs: Sequence[TensorSpec]) -> Data:
    """The samples as `load_samples` reads them; and the labels, where each file has an array `label` beside the inputs: the
    class of each of its samples, an integer."""
    files = sorted(source.glob("*.npz")) if source.is_dir() else [source]
    rows = [_labelled(file, _read(file), specs) for file in files]
    samples = tuple(sample for found, _ in rows for sample in found)
    if not samples:
        raise InputError(f"{source} has no samples: give an .npz file, or a folder of them")
    check_samples(specs, samples)
    labelled = [labels for _, labels in rows if labels is not None]
    if 0 < len(labelled) < len(rows):
        bare = next(file for file, (_, labels) in zip(files, rows, strict=True) if labels is None)
        raise InputError(f"{bare} has no array {LABEL!r}, and other files of {source} do: give it to all or to none")
    return Data(samples, tuple(label for labels in labelled for label in labels) if labelled else None)


def digest(arrays: Iterable[Array]) -> str:
    """The sha256 of these arrays' bytes, one after another."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def check_samples(specs: Sequence[TensorSpec], samples: Sequence[Tensors]) -> None:
    """Raise InputError unless every sample fits these inputs and is finite; its message says which does not, and why."""
    check = input_check(msgspec.structs.replace(spec, finite=spec.finite or _is_float(spec)) for spec in specs)
    for number, sample in enumerate(samples, 1):
        try:
            check(sample)
        except InputError as error:
            raise InputError(f"sample {number} of {len(samples)}: {error}") from error


def hold_out(samples: Sequence[_T]) -> tuple[Sequence[_T], Sequence[_T]]:
    """The samples in two: the first three quarters to calibrate with, the last quarter to judge by."""
    if len(samples) < 2:
        raise InputError(
            "one sample cannot both calibrate and judge: give at least two, and better some tens, as varied as real inputs"
        )
    last = max(1, len(samples) // 4)
    return samples[:-last], samples[-last:]


def _read(file: Path) -> dict[str, Array]:
    try:
        with file.open("rb") as opened:
            loaded = np.load(opened, allow_pickle=False)
            if isinstance(loaded, np.lib.npyio.NpzFile):
                return dict(loaded)
    except (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{file} cannot be read as an .npz file: {error}") from error
    raise InputError(f"{file} is not an .npz file: write one with numpy.savez")


def _labelled(
    file: Path, arrays: dict[str, Array], specs: Sequence[TensorSpec]
) -> tuple[list[dict[str, Array]], list[int] | None]:
    """The samples of a file, and their labels."""
    label = None if any(spec.name == LABEL for spec in specs) else arrays.pop(LABEL, None)
    samples = _unstacked(file, arrays, specs)
    if label is None:
        return samples, None
    if label.ndim > 1 or not np.issubdtype(label.dtype, np.integer):
        raise InputError(f"{file}: {LABEL!r} is {label.dtype} {list(label.shape)}; give an integer for each sample")
    if label.size != len(samples):
        raise InputError(f"{file} has {len(samples)} samples and {label.size} labels")
    return samples, np.atleast_1d(label).tolist()


def _unstacked(file: Path, arrays: dict[str, Array], specs: Sequence[TensorSpec]) -> list[dict[str, Array]]:
    ranks = {spec.name: len(spec.shape) for spec in specs}
    stacked = {name for name, array in arrays.items() if array.ndim == ranks.get(name, array.ndim) + 1}
    if not stacked:
        return [arrays]
    counts = {array.shape[0] for array in arrays.values() if array.ndim}
    if stacked != set(arrays) or len(counts) != 1:
        shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in arrays.items())
        raise InputError(f"{file}: some arrays stack samples and others do not, or differ in how many: {shapes}")
    return [{name: array[i] for name, array in arrays.items()} for i in range(counts.pop())]


def _is_float(spec: TensorSpec) -> bool:
    return np.issubdtype(np.dtype(spec.dtype), np.floating)
