"""Calibration data: where it is read from, whether it fits a model, and which part of it is kept for the judging."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from edge_runtime.errors import InputError
from edge_runtime.signature import TensorSpec, input_check
from edge_runtime.values import Array, Tensors


def load_samples(source: Path, specs: Sequence[TensorSpec]) -> tuple[dict[str, Array], ...]:
    """The samples in an .npz file, or in the .npz files of a folder in the order of their names, checked.

    A file holds one array for each of a model's inputs, under its name: the input itself, or many of them stacked along a
    new first axis. Raises InputError, naming the file or the sample, what does not fit, and what would.
    """
    files = sorted(source.glob("*.npz")) if source.is_dir() else [source]
    samples = tuple(sample for file in files for sample in _unstacked(file, _read(file), specs))
    if not samples:
        raise InputError(f"{source} has no samples: give an .npz file, or a folder of them")
    check_samples(specs, samples)
    return samples


def check_samples(specs: Sequence[TensorSpec], samples: Sequence[Tensors]) -> None:
    """Raise InputError unless every sample fits these inputs and is finite; its message says which does not, and why."""
    check = input_check(msgspec.structs.replace(spec, finite=spec.finite or _is_float(spec)) for spec in specs)
    for number, sample in enumerate(samples, 1):
        try:
            check(sample)
        except InputError as error:
            raise InputError(f"sample {number} of {len(samples)}: {error}") from error


def hold_out(samples: Sequence[Tensors]) -> tuple[Sequence[Tensors], Sequence[Tensors]]:
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
