"""What goes into a model and what comes out: names, dtypes, shapes, recurrent state, and the check of a call's inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import isfinite, prod
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from edge_runtime.errors import InputError, ManifestError

if TYPE_CHECKING:  # numpy is imported where arrays are met: who reads manifests and runs nothing has none
    import numpy as np

    from edge_runtime.values import Array, Tensors

DTYPES = (
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64",
)  # fmt: skip
"""The element types a signature can name, by numpy's names."""

MAX_ELEMENTS = 1 << 28
"""Elements in one tensor, at most: an input past it is refused before an engine sees it."""


class TensorSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One tensor's contract. A dimension is a size, or a name for a size that may differ from call to call."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    finite: bool = False
    """Refuse NaN and infinity in it."""

    def __post_init__(self) -> None:
        if not self.name:
            raise ManifestError("a tensor has an empty name")
        if self.dtype not in DTYPES:
            raise ManifestError(f"tensor {self.name!r}: unknown dtype {self.dtype!r}; known are {', '.join(DTYPES)}")
        if len(self.shape) > 8:
            raise ManifestError(f"tensor {self.name!r}: {len(self.shape)} dimensions; at most 8 are supported")
        for size in self.shape:
            if size == "" or (isinstance(size, int) and not 0 < size <= MAX_ELEMENTS):
                raise ManifestError(f"tensor {self.name!r}: {size!r} is no dimension; give a size >= 1 or a name")
        if prod(size for size in self.shape if isinstance(size, int)) > MAX_ELEMENTS:
            raise ManifestError(f"tensor {self.name!r} has over {MAX_ELEMENTS} elements; at most so many are accepted")

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} [{', '.join(map(str, self.shape))}]"

    @property
    def fixed(self) -> tuple[int, ...] | None:
        """The shape, when no dimension is dynamic."""
        return None if any(isinstance(size, str) for size in self.shape) else tuple(int(size) for size in self.shape)

    def sized(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """The shape with its named dimensions filled in from `sizes`."""
        try:
            return tuple(sizes[size] if isinstance(size, str) else size for size in self.shape)
        except KeyError as error:
            raise InputError(f"tensor {self.name!r}: no size is known for its dimension {error}") from error


class Scale(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How an artifact holds a tensor that the signature has in float32: real = scale * (stored - zero_point)."""

    dtype: str
    """ "int8" or "uint8"."""
    scale: float
    zero_point: int

    def __post_init__(self) -> None:
        limits = {"int8": (-128, 127), "uint8": (0, 255)}.get(self.dtype)
        if limits is None:
            raise ManifestError(f"a scale is of int8 or uint8, not of {self.dtype!r}")
        if not (isfinite(self.scale) and self.scale > 0 and limits[0] <= self.zero_point <= limits[1]):
            raise ManifestError(
                f"scale {self.scale} with zero point {self.zero_point}: give a finite scale above 0 and a zero point that "
                f"{self.dtype} holds"
            )


class StatePair(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A recurrent model's state: the output that becomes the input of the next call. It starts as zeros."""

    input: str
    output: str


class Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All tensors of a model, state included."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    state: tuple[StatePair, ...] = ()
    hidden_state: bool = False
    """The artifact keeps its state inside: it runs in streams only, and nobody can read the state or move it."""

    def __post_init__(self) -> None:
        inputs = {spec.name: spec for spec in self.inputs}
        outputs = {spec.name: spec for spec in self.outputs}
        if not inputs or not outputs:
            raise ManifestError("a signature needs at least one input and one output")
        if len(inputs) < len(self.inputs) or len(outputs) < len(self.outputs):
            raise ManifestError("two tensors of a signature have the same name")
        for pair in self.state:
            if pair.input not in inputs or pair.output not in outputs:
                raise ManifestError(f"state {pair.output!r} -> {pair.input!r} names a tensor that is not there")
            if inputs[pair.input].dtype != outputs[pair.output].dtype:
                raise ManifestError(f"state {pair.output!r} -> {pair.input!r}: the dtypes differ")
        if len({pair.input for pair in self.state}) < len(self.state):
            raise ManifestError("two state pairs fill the same input")
        if self.state and self.hidden_state:
            raise ManifestError("a model's state is either tensors or hidden, not both")

    @property
    def recurrent(self) -> bool:
        """Whether a call depends on those before it, in a stream."""
        return bool(self.state) or self.hidden_state

    @property
    def batch(self) -> str | None:
        """The named dimension that comes first in every tensor, if there is one: its rows may run together, as far as a
        signature can tell. None of a model with a state."""
        firsts = {spec.shape[0] if spec.shape else None for spec in (*self.inputs, *self.outputs)}
        symbol = firsts.pop()
        return symbol if not firsts and isinstance(symbol, str) and not self.recurrent else None

    @property
    def stateless_inputs(self) -> tuple[TensorSpec, ...]:
        """The inputs that a caller of a stream gives: all but the state."""
        carried = {pair.input for pair in self.state}
        return tuple(spec for spec in self.inputs if spec.name not in carried)

    def zeros(self, sizes: Mapping[str, int]) -> dict[str, Array]:
        """The state that a stream starts with."""
        import numpy as np

        specs = {spec.name: spec for spec in self.inputs}
        return {p.input: np.zeros(specs[p.input].sized(sizes), specs[p.input].dtype) for p in self.state}


Check: TypeAlias = "Callable[[Tensors], None]"


def input_check(specs: Iterable[TensorSpec]) -> Check:
    """A function that raises InputError unless its tensors are just those of `specs`.

    Made once a model and called on every inference, so the common case (right names, right dtype, fixed shape) is a few
    comparisons a tensor; what is wrong in detail is worked out only after something was found wrong.
    """
    import numpy as np

    rows = [(spec, spec.name, np.dtype(spec.dtype), spec.fixed, spec.finite) for spec in specs]
    count = len(rows)

    def check(inputs: Tensors) -> None:
        sizes: dict[str, int] | None = None
        for spec, name, dtype, fixed, finite in rows:
            try:
                array = inputs[name]
                right = array.dtype == dtype and array.shape == fixed and isinstance(array, np.ndarray)
            except (KeyError, AttributeError, TypeError, IndexError):
                raise _explain(inputs, [row[0] for row in rows]) from None
            if not right:
                sizes = {} if sizes is None else sizes
                _check_shape(spec, array, dtype, sizes)
            if finite and not np.isfinite(array).all():
                raise InputError(f"input {name!r} has NaN or infinite elements, which this model refuses")
        if len(inputs) != count:
            raise _explain(inputs, [row[0] for row in rows])

    return check


def sizes_of(specs: Iterable[TensorSpec], inputs: Tensors) -> dict[str, int]:
    """The sizes of the named dimensions in these (checked) inputs."""
    sizes: dict[str, int] = {}
    for spec in specs:
        sizes.update((size, inputs[spec.name].shape[i]) for i, size in enumerate(spec.shape) if isinstance(size, str))
    return sizes


def _check_shape(spec: TensorSpec, array: Any, dtype: np.dtype[Any], sizes: dict[str, int]) -> None:
    import numpy as np

    if not isinstance(array, np.ndarray):
        raise InputError(f"input {spec.name!r} is a {type(array).__name__}; give a numpy array")
    if array.dtype != dtype:
        raise InputError(f"input {spec.name!r} has dtype {array.dtype}; the model takes {dtype} (use .astype)")
    wanted = "[" + ", ".join(map(str, spec.shape)) + "]"
    if array.ndim != len(spec.shape):
        raise InputError(f"input {spec.name!r} has shape {list(array.shape)}; the model takes {wanted}")
    if array.size == 0:
        raise InputError(f"input {spec.name!r} has shape {list(array.shape)}: it is empty")
    if prod(array.shape) > MAX_ELEMENTS:
        raise InputError(f"input {spec.name!r} has {array.size} elements; at most {MAX_ELEMENTS} are accepted")
    for size, given in zip(spec.shape, array.shape, strict=True):
        known = sizes.setdefault(size, given) if isinstance(size, str) else size
        if known != given:
            raise InputError(
                f"input {spec.name!r} has shape {list(array.shape)}; the model takes {wanted} ({size}={known})"
            )


def _explain(inputs: Any, specs: list[TensorSpec]) -> InputError:
    """The error for inputs whose names or types are not the signature's."""
    import numpy as np

    if not isinstance(inputs, Mapping):
        return InputError(f"inputs is a {type(inputs).__name__}; give a mapping of tensor name to numpy array")
    names = [spec.name for spec in specs]
    for name in names:
        if name in inputs and not isinstance(inputs[name], np.ndarray):
            return InputError(f"input {name!r} is a {type(inputs[name]).__name__}; give a numpy array")
    missing = [name for name in names if name not in inputs]
    unknown = [str(name) for name in inputs if name not in names]
    told = [f"missing: {', '.join(missing)}"] * bool(missing) + [f"unknown: {', '.join(unknown)}"] * bool(unknown)
    return InputError(f"the inputs do not match the model ({'; '.join(told)}); it takes {', '.join(names)}")
