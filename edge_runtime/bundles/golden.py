"""Inputs and the outputs that are right for them, in a bundle: what every variant is held against.

An .npz file with an array for each tensor of the signature, under its name, the samples stacked along a new first axis. A
recurrent model's samples have its state among inputs and outputs.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Callable, Sequence
from math import isfinite, prod, sqrt
from pathlib import Path

import numpy as np

from edge_runtime.bundles.bundle import Bundle
from edge_runtime.errors import BundleError, RunError
from edge_runtime.signature import MAX_ELEMENTS, Signature, TensorSpec
from edge_runtime.values import Array, Tensors


def load(bundle: Bundle) -> tuple[list[Tensors], list[Tensors]]:
    """The inputs and the outputs, sample by sample. Raises BundleError when there are none, or they are not the model's."""
    file = bundle.manifest.golden
    if file is None:
        raise BundleError(f"{bundle.manifest.name} {bundle.manifest.version} has no golden inputs")
    return read(bundle.folder / file.path, bundle.manifest.signature)


def read(path: Path, signature: Signature) -> tuple[list[Tensors], list[Tensors]]:
    """As `load`, from a file."""
    arrays = _read(path)
    try:
        _check(signature, arrays)
    except BundleError as error:
        raise BundleError(f"{path}: {error}") from error
    count = len(next(iter(arrays.values())))
    inputs, outputs = (
        [{spec.name: arrays[spec.name][number] for spec in specs} for number in range(count)]
        for specs in (signature.inputs, signature.outputs)
    )
    return list(inputs), list(outputs)


def write(path: Path, signature: Signature, inputs: Sequence[Tensors], outputs: Sequence[Tensors]) -> None:
    """Write them; the same arrays give the same bytes. Raises BundleError for what the signature does not say, samples of
    different shapes, or none."""
    if not inputs or len(inputs) != len(outputs):
        raise BundleError(f"{len(inputs)} golden inputs and {len(outputs)} outputs: give as many of one as of the other")
    arrays = {**_stacked(signature.inputs, inputs), **_stacked(signature.outputs, outputs)}
    _check(signature, arrays)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, np.ascontiguousarray(array), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy")  # dated 1980, whenever it is written
            entry.create_system = 3  # and by whatever system
            archive.writestr(entry, member.getvalue(), zipfile.ZIP_DEFLATED, 9)
    try:
        path.write_bytes(buffer.getvalue())
    except OSError as error:
        raise BundleError(f"{path} could not be written: {error.strerror}") from error


def distance(run: Callable[[Tensors], Tensors], inputs: Sequence[Tensors], outputs: Sequence[Tensors]) -> float:
    """How far what `run` makes of the inputs is from these outputs: the root mean square of the difference over all
    samples, relative to that of the right values; the worst of the tensors."""
    found = [run(sample) for sample in inputs]
    return max(relative_error([right[name] for right in outputs], [given[name] for given in found]) for name in outputs[0])


def check(
    run: Callable[[Tensors], Tensors], inputs: Sequence[Tensors], outputs: Sequence[Tensors], limit: float | None
) -> float:
    """The distance. RunError where it is over the limit, or the outputs are no numbers."""
    found = distance(run, inputs, outputs)
    if not isfinite(found) or (limit is not None and found > limit):
        over = "no numbers" if not isfinite(found) else f"{found:.2g} from the golden ones, over its tolerance of {limit:g}"
        raise RunError(f"its outputs are {over}")
    return found


def relative_error(reference: Sequence[Array], found: Sequence[Array]) -> float:
    """rms(found - reference) / rms(reference) over all values of a tensor: the noise of quantization as one number, which a
    single value that flips does not rule. Infinite if a value is NaN or lacks a partner."""
    if any(a.shape != b.shape for a, b in zip(reference, found, strict=True)):
        return float("inf")
    signal = sum(float(np.square(a.astype(np.float64)).sum()) for a in reference)
    noise = sum(float(np.square(a.astype(np.float64) - b).sum()) for a, b in zip(reference, found, strict=True))
    if noise == 0:
        return 0.0
    return sqrt(noise / signal) if signal > 0 and isfinite(noise) else float("inf")


def _stacked(specs: Sequence[TensorSpec], samples: Sequence[Tensors]) -> dict[str, Array]:
    names = {spec.name for spec in specs}
    for number, sample in enumerate(samples, 1):
        if set(sample) != names:
            raise BundleError(f"golden sample {number} has {', '.join(sorted(sample))}, not {', '.join(sorted(names))}")
    try:
        return {spec.name: np.stack([sample[spec.name] for sample in samples]) for spec in specs}
    except ValueError as error:
        raise BundleError(f"golden samples of different shapes: {error}") from error


def _read(path: Path) -> dict[str, Array]:
    try:
        with path.open("rb") as opened:
            loaded = np.load(opened, allow_pickle=False)
            if isinstance(loaded, np.lib.npyio.NpzFile):
                return dict(loaded)
    except (OSError, ValueError, EOFError, MemoryError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise BundleError(f"{path} cannot be read as an .npz file: {error}") from error
    raise BundleError(f"{path} is no .npz file")


def _check(signature: Signature, arrays: dict[str, Array]) -> None:
    """Raise BundleError unless these are stacked samples of just the signature's tensors."""
    specs = (*signature.inputs, *signature.outputs)
    names = [spec.name for spec in specs]
    if len(set(names)) < len(names):
        raise BundleError("an input and an output have the same name: golden samples cannot hold both")
    if set(arrays) != set(names):
        raise BundleError(f"golden samples of {', '.join(sorted(arrays))}; the model has {', '.join(sorted(names))}")
    counts = {array.shape[:1] for array in arrays.values()}
    if len(counts) != 1 or counts & {(), (0,)}:
        raise BundleError("golden arrays hold different numbers of samples, or none")
    sizes: dict[str, int] = {}
    for spec in specs:
        _check_array(spec, arrays[spec.name], sizes)


def _check_array(spec: TensorSpec, array: Array, sizes: dict[str, int]) -> None:
    shape = array.shape[1:]
    fits = array.dtype == spec.dtype and len(shape) == len(spec.shape) and prod(shape) <= MAX_ELEMENTS and all(shape)
    for size, given in zip(spec.shape, shape, strict=False):
        fits = fits and given == (sizes.setdefault(size, given) if isinstance(size, str) else size)
    if not fits:
        raise BundleError(f"golden samples of {spec.name!r} are {array.dtype} {list(shape)}; the model has {spec}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise BundleError(f"golden samples of {spec.name!r} have NaN or infinite elements")
