"""Golden samples: inputs, and the outputs that are right for them. What every variant of a bundle is held against.

An .npz file with an array for each tensor of the signature, under its name, samples stacked along a new first axis.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np

from edge_runtime.bundles.bundle import Bundle
from edge_runtime.errors import BundleError, InputError
from edge_runtime.signature import Signature, TensorSpec
from edge_runtime.values import Array, Tensors

MAX_BYTES = 1 << 28
"""Of all arrays together, at most."""


class Golden(msgspec.Struct, frozen=True, eq=False):
    """Samples in their order: the next step's state is not the last one's output, but what the inputs say."""

    inputs: tuple[dict[str, Array], ...]
    outputs: tuple[dict[str, Array], ...]

    def distance(self, run: Callable[[Tensors], Tensors]) -> float:
        """How far what `run` makes of the inputs is from the outputs, at worst: the largest absolute difference of a
        tensor's elements over all samples, relative to the largest absolute value that is right for that tensor."""
        found = [run(sample) for sample in self.inputs]
        return max(
            relative_difference([right[name] for right in self.outputs], [outputs[name] for outputs in found])
            for name in self.outputs[0]
        )


def load(bundle: Bundle) -> Golden:
    """The golden samples of a bundle. Raises BundleError when it has none, or the file is not what its signature says."""
    manifest = bundle.manifest
    if manifest.golden is None:
        raise BundleError(f"{manifest.name} {manifest.version} has no golden samples: build it anew")
    path = bundle.folder / manifest.golden.path
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = _arrays(file, manifest.signature)
    except (OSError, ValueError, EOFError, KeyError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        raise BundleError(f"{path} cannot be read as golden samples: {error}") from error
    return Golden(_samples(arrays, manifest.signature.inputs), _samples(arrays, manifest.signature.outputs))


def write(path: Path, signature: Signature, inputs: Sequence[Tensors], outputs: Sequence[Tensors]) -> None:
    """Write golden samples; the same samples give the same bytes. Raises InputError for samples that cannot be stacked, and
    BundleError when the file cannot be written."""
    if not inputs or len(inputs) != len(outputs):
        raise InputError(f"{len(inputs)} inputs and {len(outputs)} outputs: give as many of either, and at least one")
    try:
        arrays = {spec.name: np.stack([sample[spec.name] for sample in inputs]) for spec in signature.inputs}
        arrays |= {spec.name: np.stack([sample[spec.name] for sample in outputs]) for spec in signature.outputs}
    except (KeyError, ValueError) as error:
        raise InputError(f"golden samples need all tensors of the signature, of one shape each: {error}") from error
    try:
        with path.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
    except OSError as error:
        raise BundleError(f"{path} could not be written: {error}") from error


def relative_difference(reference: Sequence[Array], found: Sequence[Array]) -> float:
    """max |found - reference| / max |reference| over all values of a tensor; infinite if one is NaN or lacks a partner."""
    if any(a.shape != b.shape for a, b in zip(reference, found, strict=True)):
        return float("inf")
    # np.max, unlike max(), never loses a NaN.
    scale = float(np.max([np.abs(a.astype(np.float64)).max() for a in reference]))
    worst = float(np.max([np.abs(a.astype(np.float64) - b).max() for a, b in zip(reference, found, strict=True)]))
    if worst == 0:
        return 0.0
    return worst / scale if scale > 0 and np.isfinite(worst) else float("inf")


def _arrays(file: np.lib.npyio.NpzFile, signature: Signature) -> dict[str, Array]:
    specs = {spec.name: spec for spec in signature.inputs + signature.outputs}
    if set(file.files) != set(specs):
        raise ValueError(f"it has {', '.join(file.files)}; the signature has {', '.join(specs)}")
    members = file.zip.infolist() if file.zip is not None else []
    if (size := sum(member.file_size for member in members)) > MAX_BYTES:
        raise ValueError(f"{size} bytes unpacked; at most {MAX_BYTES} are read")
    arrays = {name: np.asarray(file[name]) for name in specs}
    for name, array in arrays.items():
        _check(specs[name], array)
    if len({len(array) for array in arrays.values()}) != 1:
        raise ValueError("its tensors have different numbers of samples")
    return arrays


def _check(spec: TensorSpec, array: Array) -> None:
    shape = array.shape[1:]
    fits = len(shape) == len(spec.shape) and all(
        isinstance(size, str) or size == found for size, found in zip(spec.shape, shape, strict=True)
    )
    if array.ndim == 0 or not len(array) or array.dtype != np.dtype(spec.dtype) or not fits:
        raise ValueError(
            f"{spec.name} is {array.dtype} {list(array.shape)}, not samples of {spec.dtype} {list(spec.shape)}"
        )


def _samples(arrays: dict[str, Array], specs: Sequence[TensorSpec]) -> tuple[dict[str, Array], ...]:
    count = len(next(iter(arrays.values())))
    return tuple({spec.name: arrays[spec.name][number] for spec in specs} for number in range(count))
