"""What becomes int8: the choice of nodes, and the shape that the quantizers of all formats have."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Protocol

import msgspec

from edge_runtime.errors import BundleError, InputError
from edge_runtime.values import Tensors

Progress = Callable[[int, int], None]
"""Told how many steps are done, and how many there are in all."""


class Quantization(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What becomes int8."""

    operators: tuple[str, ...] = ("Conv", "Gemm", "MatMul")
    """Operators with weights, by their ONNX names. All others stay as they are: to quantize additions and activations too
    was measured to make a model no more compact, no faster, and often twice as slow."""
    exclude: tuple[str, ...] = ()
    """Nodes to leave in fp32, by name; `*` stands for anything. Where formats name their nodes differently, each pattern
    needs to match in one of them."""


class Nodes(msgspec.Struct, frozen=True):
    """The nodes with weights of a model in one format, by name."""

    int8: tuple[str, ...]
    fp32: tuple[str, ...] = ()
    """Those left as they were, as `Quantization.exclude` asks."""


class Quantizer(Protocol):
    """Writes the int8 form of an artifact, and says which nodes it changed."""

    def __call__(
        self,
        source: Path,
        target: Path,
        calibration: Sequence[Tensors],
        quantization: Quantization = ...,
        progress: Progress = ...,
    ) -> Nodes:
        """`calibration` holds inputs under the artifact's own names, typical of what it will see, and none of those that it
        will be judged by. `target` appears when it is whole.

        Raises EngineMissingError (a package that it takes is not installed), InputError (nothing there to quantize, or to
        calibrate with), ArtifactError, and BundleError when `target` cannot be written.
        """
        ...


def choose(names: Sequence[str], quantization: Quantization) -> Nodes:
    """Part these nodes, which have weights, into those to change and those to leave. InputError if none is to change."""
    if not names:
        raise InputError(f"the model has none of the operators to quantize: {', '.join(quantization.operators)}")
    left = tuple(name for name in names if any(fnmatchcase(name, pattern) for pattern in quantization.exclude))
    if len(left) == len(names):
        raise InputError(
            f"all nodes with weights are excluded: {', '.join(quantization.exclude)} leave nothing to quantize"
        )
    return Nodes(tuple(name for name in names if name not in left), left)


def check_exclusions(quantization: Quantization, found: Sequence[Nodes]) -> None:
    """Raise InputError for a pattern that excludes no node of any format: it is most likely misspelt."""
    excluded = [name for nodes in found for name in nodes.fp32]
    for pattern in quantization.exclude:
        if not any(fnmatchcase(name, pattern) for name in excluded):
            known = ", ".join(name for nodes in found for name in nodes.int8[:5])
            raise InputError(f"no node to exclude is named {pattern!r}; nodes are named like {known}")


@contextmanager
def written(target: Path) -> Iterator[Path]:
    """A path to write to, in a folder of its own beside `target`. What lies there in the end, if all went well, is moved to
    `target`; the folder goes in any case."""
    try:
        with tempfile.TemporaryDirectory(prefix=".quantize-", dir=target.parent) as folder:
            fresh = Path(folder, target.name)
            yield fresh
            fresh.replace(target)
    except OSError as error:
        raise BundleError(f"cannot write {target}: {error}") from error
