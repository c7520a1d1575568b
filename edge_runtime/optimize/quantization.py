"""What is changed: the choice of nodes, and the shape that the tools of all formats have."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Protocol

import msgspec

from edge_runtime.backends.base import Session
from edge_runtime.errors import BundleError, InputError
from edge_runtime.signature import Signature
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
    prune: float = 0.0
    """Before that: the share of each node's weights, the smallest, that are set to zero. 0 leaves all as they are."""

    def __post_init__(self) -> None:
        if not 0 <= self.prune < 1:
            raise InputError(f"a share of {self.prune} of the weights cannot be pruned: give a number from 0 to below 1")


class Nodes(msgspec.Struct, frozen=True):
    """The nodes with weights of a model in one format, by name."""

    int8: tuple[str, ...]
    fp32: tuple[str, ...] = ()
    """Those left as they were, as `Quantization.exclude` asks."""


class Control(msgspec.Struct, frozen=True):
    """What a tool that looks at the accuracy itself needs for it."""

    score: Callable[[Session], float]
    """The accuracy; higher is better."""
    least: float
    """What is enough of it."""
    max_drop: float
    """How far that is below fp32's."""
    signature: Signature
    names: Mapping[str, str]
    """The signature's tensor name -> the artifact's own, where they differ."""


class Counted:
    """Calibration data for a tool that reads it any number of times, and prints where it should not. `seen` is told how far
    it came, once, after the first `silent` times; what that prints is printed."""

    def __init__(self, samples: Sequence[Tensors], seen: Callable[[int], None], silent: int = 0) -> None:
        self._samples = samples
        self._seen = seen
        self._left = silent
        self._far = 0
        self._streams = sys.stdout, sys.stderr

    def __len__(self) -> int:
        return len(self._samples)

    def __iter__(self) -> Iterator[Tensors]:
        telling = self._left <= 0
        self._left -= 1
        for count, sample in enumerate(self._samples, 1):
            yield sample
            if telling and count > self._far:
                self._far = count
                with redirect_stdout(self._streams[0]), redirect_stderr(self._streams[1]):
                    self._seen(count)


class Quantizer(Protocol):
    """Writes another form of an artifact, and says which nodes it changed."""

    def __call__(
        self,
        source: Path,
        target: Path,
        calibration: Sequence[Tensors],
        quantization: Quantization = ...,
        progress: Progress = ...,
        control: Control | None = ...,
    ) -> Nodes:
        """`calibration` holds inputs under the artifact's own names, typical of what it will see, and none of those that it
        will be judged by. `target` appears when it is whole, and what belongs to it before it.

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
            known = ", ".join(dict.fromkeys(name for nodes in found for name in nodes.int8[:5]))
            raise InputError(f"no node to exclude is named {pattern!r}; nodes are named like {known}")


@contextmanager
def written(target: Path) -> Iterator[Path]:
    """A path to write to, in a folder of its own beside `target`. What lies there in the end, if all went well, is moved to
    `target`, and before it the file that lies beside it as its `.bin`; the folder goes in any case."""
    try:
        with tempfile.TemporaryDirectory(prefix=".quantize-", dir=target.parent) as folder:
            fresh = Path(folder, target.name)
            yield fresh
            if (beside := fresh.with_suffix(".bin")).exists():
                beside.replace(target.with_suffix(".bin"))
            fresh.replace(target)
    except OSError as error:
        raise BundleError(f"cannot write {target}: {error}") from error
