"""TensorFlow Serving's form of a prediction."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from cloud_bridge.protocol import tensorflow
from cloud_bridge.protocol.message import Limits, Message
from cloud_bridge.protocol.oip import InferResponse
from edge_runtime.errors import EdgeError, InputError, ProtocolError
from edge_runtime.signature import Signature, TensorSpec
from edge_runtime.values import Array

ONE = Signature((TensorSpec("x", "float32", ("N", 2)),), (TensorSpec("y", "float32", ("N", 2)),))
TWO = Signature(
    (TensorSpec("ids", "int64", ("N", "T")), TensorSpec("mask", "bool", ("N",))), (TensorSpec("y", "float32", ("N", 2)),)
)


def decode(document: Any, signature: Signature = ONE, limits: Limits = Limits()) -> tensorflow.PredictRequest:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return tensorflow.decode_request(Message(body), limits, signature)


def answer(request: tensorflow.PredictRequest, **outputs: Array) -> Any:
    return json.loads(bytes(tensorflow.encode_response(InferResponse("m", outputs), request).body))


@pytest.mark.parametrize(
    "document",
    [
        {"instances": [[1, 2], [3, 4]]},
        {"instances": [{"x": [1, 2]}, {"x": [3, 4]}]},
        {"inputs": [[1, 2], [3, 4]]},
        {"inputs": {"x": [[1, 2], [3, 4]]}, "signature_name": "serving_default"},
    ],
    ids=["rows", "named-rows", "columns", "named-columns"],
)
def test_four_ways_to_ask_the_same(document: dict[str, Any]) -> None:
    """Rows and columns, with the input's name and without, where there is but one."""
    request = decode(document)
    assert request.inputs["x"].tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert request.inputs["x"].dtype == np.float32
    assert request.rows == ("instances" in document)


def test_several_inputs() -> None:
    """Each with its own type, by rows and by columns."""
    rows = decode({"instances": [{"ids": [1, 2], "mask": True}, {"ids": [3, 4], "mask": False}]}, TWO)
    columns = decode({"inputs": {"mask": [True, False], "ids": [[1, 2], [3, 4]]}}, TWO)
    for request in (rows, columns):
        assert request.inputs["ids"].tolist() == [[1, 2], [3, 4]]
        assert request.inputs["mask"].tolist() == [True, False]
        assert request.inputs["ids"].dtype == np.int64


def test_answers_come_as_they_were_asked() -> None:
    """Rows or columns; by name where there are several outputs."""
    y, z = np.array([[1, 2], [3, 4]], np.float32), np.array([5, 6])
    rows, columns = decode({"instances": [[1, 2]]}), decode({"inputs": [[1, 2]]})
    assert answer(rows, y=y) == {"predictions": [[1, 2], [3, 4]]}
    assert answer(rows, y=y, z=z) == {"predictions": [{"y": [1, 2], "z": 5}, {"y": [3, 4], "z": 6}]}
    assert answer(columns, y=y) == {"outputs": [[1, 2], [3, 4]]}
    assert answer(columns, y=y, z=z) == {"outputs": {"y": [[1, 2], [3, 4]], "z": [5, 6]}}


@pytest.mark.parametrize("outputs", [{"y": np.float32(1)}, {"y": np.ones(2), "z": np.ones(3)}], ids=["scalar", "uneven"])
def test_outputs_without_rows(outputs: dict[str, Array]) -> None:
    """Cannot be told by rows, and say so."""
    with pytest.raises(InputError, match="columns"):
        answer(decode({"instances": [[1, 2]]}), **{name: np.asarray(array) for name, array in outputs.items()})


def test_what_json_cannot_carry() -> None:
    """NaN in an answer."""
    with pytest.raises(InputError, match="NaN"):
        answer(decode({"inputs": [[1, 2]]}), y=np.array([np.nan]))


WRONG = {
    "nothing": ({}, "either"),
    "both": ({"inputs": [], "instances": []}, "either"),
    "no-rows": ({"instances": []}, "empty"),
    "ragged": ({"inputs": [[1, 2], [3]]}, "array"),
    "too-deep": ({"inputs": [[[1, 2]]]}, "dimensions"),
    "too-flat": ({"inputs": [1, 2]}, "dimensions"),
    "a-word": ({"inputs": [["a", "b"]]}, "FP32"),
    "another-input": ({"inputs": {"x": [[1, 2]], "z": [1]}}, "unknown inputs: z"),
    "uneven-rows": ({"instances": [{"x": [1, 2]}, {"z": [1, 2]}]}, "same inputs"),
    "signature": ({"inputs": [[1, 2]], "signature_name": "other"}, "other"),
    "huge": ({"inputs": [[1e300, 2]]}, "too large"),
    "junk": (b"junk", "JSON"),
    "empty": (b"", "JSON"),
    "deep": (b'{"inputs": ' + b"[" * 100_000, "JSON"),
}


@pytest.mark.parametrize(("document", "words"), WRONG.values(), ids=WRONG)
def test_wrong_requests(document: Any, words: str) -> None:
    """Each says what was wrong."""
    with pytest.raises(ProtocolError, match=words):
        decode(document)


def test_several_inputs_need_their_names() -> None:
    """And say which."""
    with pytest.raises(ProtocolError, match="ids, mask"):
        decode({"inputs": [[1]]}, TWO)


def test_limits() -> None:
    """Elements are counted before lists are made of them, and so are bytes."""
    with pytest.raises(ProtocolError, match="too many"):
        decode({"inputs": [[1, 2]] * 10}, limits=Limits(elements=10))
    with pytest.raises(ProtocolError, match="at most"):
        decode({"inputs": [[1, 2]] * 10}, limits=Limits(json=10))


@given(
    arrays.arrays(np.float32, arrays.array_shapes(min_dims=2, max_dims=2, max_side=5), elements=st.floats(-9, 9, width=32))
)
def test_what_is_asked_is_what_was_meant(x: Array) -> None:
    """By rows and by columns."""
    signature = Signature((TensorSpec("x", "float32", ("N", "M")),), (TensorSpec("y", "float32", ("N", "M")),))
    for document in ({"instances": x.tolist()}, {"inputs": x.tolist()}, {"inputs": {"x": x.tolist()}}):
        assert np.array_equal(decode(document, signature).inputs["x"], x)


documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["x", "ids", "mask", "b64"]), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(st.fixed_dictionaries({}, optional={"instances": documents, "inputs": documents, "signature_name": documents}))
def test_fuzz(document: dict[str, Any]) -> None:
    """Whatever comes is read, or one error of the tree."""
    for signature in (ONE, TWO):
        try:
            decode(document, signature)
        except EdgeError:
            continue
