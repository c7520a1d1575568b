"""Between the float32 of a signature and the integers of an artifact."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.backends.integer import IntegerSession, dequantize, quantize
from edge_runtime.errors import RunError
from edge_runtime.signature import Scale, Signature, TensorSpec
from edge_runtime.values import Array, Device, Tensors

SCALES = st.builds(
    lambda signed, scale, zero: Scale("int8" if signed else "uint8", scale, zero - 128 if signed else zero),
    st.booleans(),
    st.floats(2**-20, 2**20, width=32),
    st.integers(0, 255),
)


@given(SCALES)
def test_every_integer_comes_back(scale: Scale) -> None:
    """What an integer stands for becomes that integer again."""
    limits = np.iinfo(scale.dtype)
    stored = np.arange(limits.min, limits.max + 1).astype(scale.dtype)
    assert np.array_equal(quantize(dequantize(stored, scale), scale), stored)


@given(SCALES, st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=20))
def test_the_nearest_is_stored(scale: Scale, values: list[float]) -> None:
    """Inside the range a number is off by half a step at most; past it, infinity too, it is the end of the range."""
    array = np.asarray(values, np.float32)
    found = quantize(array, scale)
    limits = np.iinfo(scale.dtype)
    ends = dequantize(np.asarray([limits.min, limits.max], scale.dtype), scale)
    assert found.dtype == scale.dtype
    assert (found[array >= ends[1]] == limits.max).all()
    assert (found[array <= ends[0]] == limits.min).all()
    inside = (array > ends[0]) & (array < ends[1])
    off = np.abs(dequantize(found, scale)[inside].astype(np.float64) - array[inside])
    assert (off <= scale.scale * 0.501).all()


def test_half_goes_to_even() -> None:
    """As numpy and IEEE 754 round; the zero point is added after it."""
    scale = Scale("int8", 2.0, 1)
    assert quantize(np.asarray([-3, -1, 1, 3, 5], np.float32), scale).tolist() == [-1, 1, 1, 3, 3]


class Doubling:
    """A session that doubles uint8 "x" into int8 "y", and keeps what it was given."""

    signature = Signature((TensorSpec("x", "uint8", (2,)),), (TensorSpec("y", "int8", (2,)),))
    device = Device("onnx", "CPU", "", "a test")

    def __init__(self) -> None:
        self.given: list[Array] = []
        self.closed = False

    def run(self, inputs: Tensors) -> dict[str, Array]:
        self.given.append(inputs["x"])
        return {"y": (2 * inputs["x"]).astype(np.int8)}

    def stream(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        self.closed = True


def test_a_session_converts() -> None:
    """Its inputs on the way in, its outputs on the way out; NaN is an error that names the input."""
    inside = Doubling()
    signature = Signature((TensorSpec("x", "float32", (2,)),), (TensorSpec("y", "float32", (2,)),))
    session = IntegerSession(inside, signature, {"x": Scale("uint8", 0.5, 3), "y": Scale("int8", 0.25, -1)})  # type: ignore[arg-type]
    outputs = session.run({"x": np.asarray([1.0, 2.6], np.float32)})
    assert inside.given[0].tolist() == [5, 8]
    assert inside.given[0].dtype == np.uint8
    assert outputs["y"].tolist() == [2.75, 4.25]
    assert outputs["y"].dtype == np.float32
    with pytest.raises(RunError, match=r"'x'.*NaN"):
        session.run({"x": np.asarray([1.0, np.nan], np.float32)})
    session.close()
    assert inside.closed
