"""Signatures, and the check of a call's inputs against them."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from edge_runtime.errors import InputError, ManifestError
from edge_runtime.signature import DTYPES, MAX_ELEMENTS, Signature, StatePair, TensorSpec, input_check, sizes_of
from edge_runtime.values import Array

NAMES = ("a", "b", "c")
SYMBOLS = ("N", "M")
X = TensorSpec("x", "float32", (1, 4))


@st.composite
def calls(draw: st.DrawFn) -> tuple[list[TensorSpec], dict[str, int], dict[str, Array]]:
    """Specs, sizes for their named dimensions, and arrays that are just right for both."""
    dimension = st.integers(1, 4) | st.sampled_from(SYMBOLS)
    specs = [
        TensorSpec(name, draw(st.sampled_from(DTYPES)), tuple(draw(st.lists(dimension, max_size=4))))
        for name in NAMES[: draw(st.integers(1, len(NAMES)))]
    ]
    sizes = {symbol: draw(st.integers(1, 4)) for symbol in SYMBOLS}
    return specs, sizes, {spec.name: np.ones(spec.sized(sizes), spec.dtype) for spec in specs}


@given(calls())
def test_right_inputs_pass(call: tuple[list[TensorSpec], dict[str, int], dict[str, Array]]) -> None:
    """Inputs with the specs' names, dtypes and shapes pass, in a dict or any other mapping, and their sizes are found."""
    specs, sizes, inputs = call
    check = input_check(specs)
    check(inputs)
    check(MappingProxyType(inputs))
    used = {size for spec in specs for size in spec.shape if isinstance(size, str)}
    assert sizes_of(specs, inputs) == {name: size for name, size in sizes.items() if name in used}


@given(calls(), st.data())
def test_one_wrong_tensor_is_refused(
    call: tuple[list[TensorSpec], dict[str, int], dict[str, Array]], data: st.DataObject
) -> None:
    """Whatever one thing is wrong with one tensor, it is an InputError that names the tensor."""
    specs, _, inputs = call
    spec = data.draw(st.sampled_from(specs))
    array = inputs[spec.name]
    wrong: dict[str, Any] = {
        "another dtype": array.astype(next(dtype for dtype in DTYPES if dtype != spec.dtype)),
        "another rank": array[np.newaxis],
        "empty": np.zeros((0, *array.shape[1:]), spec.dtype),
        "a list": array.tolist(),
        "nothing": None,
    }
    if spec.dtype not in ("bool", "int8", "uint8"):
        wrong["another byte order"] = array.astype(array.dtype.newbyteorder())
    fixed = [axis for axis, size in enumerate(spec.shape) if isinstance(size, int)]
    if fixed:
        shape = list(array.shape)
        shape[data.draw(st.sampled_from(fixed))] += 1
        wrong["another size"] = np.ones(shape, spec.dtype)
    kind = data.draw(st.sampled_from(sorted(wrong)))
    with pytest.raises(InputError, match=repr(spec.name)):
        input_check(specs)({**inputs, spec.name: wrong[kind]})


@given(calls())
def test_wrong_names_are_refused(call: tuple[list[TensorSpec], dict[str, int], dict[str, Array]]) -> None:
    """A tensor that is missing, one too many, and one under another name are each an InputError that names it."""
    specs, _, inputs = call
    check, array = input_check(specs), inputs["a"]
    rest = {name: each for name, each in inputs.items() if name != "a"}
    with pytest.raises(InputError, match=r"missing: a\)"):
        check(rest)
    with pytest.raises(InputError, match="unknown: extra"):
        check({**inputs, "extra": array})
    with pytest.raises(InputError, match="missing: a; unknown: A"):
        check({**rest, "A": array})


@given(
    st.recursive(
        st.none() | st.integers() | st.text() | npst.arrays(npst.scalar_dtypes(), npst.array_shapes(min_side=0)),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*NAMES, 0, None]), inner, max_size=3),
    )
)
def test_anything_else_is_an_input_error(inputs: Any) -> None:
    """Whatever is given for inputs, the check passes or raises InputError, and it passes only what fits."""
    specs = [TensorSpec("a", "float32", ("N",)), TensorSpec("b", "int64", (2, "N"))]
    try:
        input_check(specs)(inputs)
    except InputError:
        return
    assert set(inputs) == {"a", "b"}
    assert inputs["b"].shape == (2, *inputs["a"].shape)


def test_equal_names_mean_equal_sizes() -> None:
    """A dimension named twice has one size, within a tensor and across tensors."""
    check = input_check([TensorSpec("a", "int8", ("N", "N")), TensorSpec("b", "int8", ("N",))])
    check({"a": np.zeros((3, 3), np.int8), "b": np.zeros(3, np.int8)})
    with pytest.raises(InputError, match=r"'a'.*N=3"):
        check({"a": np.zeros((3, 2), np.int8), "b": np.zeros(3, np.int8)})
    with pytest.raises(InputError, match=r"'b'.*N=3"):
        check({"a": np.zeros((3, 3), np.int8), "b": np.zeros(2, np.int8)})


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_a_number(value: float) -> None:
    """NaN and infinity are refused where the spec says so, and only there."""
    inputs = {"x": np.array([[0, 1, 2, value]], np.float32)}
    input_check([X])(inputs)
    with pytest.raises(InputError, match="'x' has NaN or infinite"):
        input_check([TensorSpec("x", "float32", (1, 4), finite=True)])(inputs)


def test_too_large_a_tensor() -> None:
    """A tensor past the limit is refused. (This one takes no memory: all its elements are one.)"""
    huge = np.broadcast_to(np.zeros(1, np.int8), (MAX_ELEMENTS + 1,))
    with pytest.raises(InputError, match=f"at most {MAX_ELEMENTS}"):
        input_check([TensorSpec("x", "int8", ("N",))])({"x": huge})


@pytest.mark.parametrize("inputs", [None, 1, "x", [np.zeros((1, 4))], np.zeros((1, 4), np.float32)])
def test_inputs_that_are_no_mapping(inputs: Any) -> None:
    """Inputs that are not a mapping are refused with what they are."""
    with pytest.raises(InputError, match=f"inputs is a {type(inputs).__name__}"):
        input_check([X])(inputs)


class Lookalike:
    """Another library's array, that says the same of itself as a numpy array."""

    dtype, shape = np.dtype(np.float32), (1, 4)


@pytest.mark.parametrize("finite", [False, True])
def test_what_only_looks_like_an_array(finite: bool) -> None:
    """An engine takes numpy arrays: what has the right dtype and shape and is none is refused before it gets there."""
    with pytest.raises(InputError, match="'x' is a Lookalike"):
        input_check([TensorSpec("x", "float32", (1, 4), finite)])({"x": Lookalike()})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("name", "dtype", "shape", "told"),
    [
        ("", "float32", (1,), "empty name"),
        ("x", "bfloat16", (1,), "unknown dtype 'bfloat16'"),
        ("x", "float32", (1,) * 9, "at most 8"),
        ("x", "float32", (0,), "0 is no dimension"),
        ("x", "float32", (-1,), "-1 is no dimension"),
        ("x", "float32", ("",), "'' is no dimension"),
        ("x", "float32", (1 << 20, "N", 1 << 20), "elements"),
    ],
)
def test_specs_that_cannot_be(name: str, dtype: str, shape: tuple[int | str, ...], told: str) -> None:
    """A tensor without a name, a known dtype or possible sizes is a ManifestError."""
    with pytest.raises(ManifestError, match=told):
        TensorSpec(name, dtype, shape)


def test_shape_of_a_spec() -> None:
    """A shape is fixed when no dimension has a name; named dimensions are filled in, and a size that is missing is told."""
    dynamic = TensorSpec("x", "float32", ("N", 3))
    assert (X.fixed, dynamic.fixed) == ((1, 4), None)
    assert dynamic.sized({"N": 2}) == (2, 3)
    with pytest.raises(InputError, match="'x': no size is known for its dimension 'N'"):
        dynamic.sized({"M": 2})


@pytest.mark.parametrize(
    ("inputs", "outputs", "state", "told"),
    [
        ((), (X,), (), "at least one"),
        ((X,), (), (), "at least one"),
        ((X, X), (X,), (), "same name"),
        ((X,), (X,), (StatePair("x", "y"),), "not there"),
        ((X,), (X,), (StatePair("y", "x"),), "not there"),
        ((X,), (TensorSpec("y", "float64", (1, 4)),), (StatePair("x", "y"),), "dtypes differ"),
        ((X,), (X,), (StatePair("x", "x"), StatePair("x", "x")), "same input"),
    ],
)
def test_signatures_that_cannot_be(
    inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...], state: tuple[StatePair, ...], told: str
) -> None:
    """A signature that contradicts itself is a ManifestError."""
    with pytest.raises(ManifestError, match=told):
        Signature(inputs, outputs, state)


def test_hidden_state() -> None:
    """A state is either tensors or hidden; both make a model recurrent."""
    pair = StatePair("x", "x")
    with pytest.raises(ManifestError, match="not both"):
        Signature((X,), (X,), (pair,), hidden_state=True)
    kinds: tuple[tuple[tuple[StatePair, ...], bool], ...] = (((), False), ((pair,), False), ((), True))
    assert [Signature((X,), (X,), state, hidden).recurrent for state, hidden in kinds] == [False, True, True]


def test_state_of_a_signature() -> None:
    """The state is left out of what a stream's caller gives, and begins as zeros of its dtype and shape."""
    memory = TensorSpec("h", "float16", (2, "N"))
    signature = Signature((X, memory), (X, TensorSpec("hn", "float16", (2, "N"))), (StatePair("h", "hn"),))
    assert signature.stateless_inputs == (X,)
    zeros = signature.zeros({"N": 3})
    assert zeros.keys() == {"h"}
    assert (zeros["h"].shape, zeros["h"].dtype.name, zeros["h"].tolist()) == ((2, 3), "float16", [[0] * 3] * 2)
