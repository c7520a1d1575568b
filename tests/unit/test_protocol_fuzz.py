"""Whatever is done to a message, reading it gives a value or a ProtocolError, and nothing else."""

from __future__ import annotations

import contextlib
import gzip
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cloud_bridge.protocol import oip
from cloud_bridge.protocol.failures import decode_error
from cloud_bridge.protocol.message import HEADERS, Limits, Message
from edge_runtime.errors import ProtocolError, RemoteError
from edge_runtime.remote import Call
from edge_runtime.signature import DTYPES, Signature, TensorSpec
from edge_runtime.values import Array

SMALL = Limits(body=100_000, json=100_000, elements=10_000)
SIGNATURE = Signature((TensorSpec("x", "float32", ("N", 2)),), (TensorSpec("y", "float32", (1,)),))

shapes = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
arrays = st.sampled_from(DTYPES).flatmap(lambda dtype: hnp.arrays(dtype, shapes))
texts = shapes.flatmap(lambda shape: hnp.arrays(object, shape, elements=st.binary(max_size=8)))
names = st.text(min_size=1, max_size=8)
tensors = st.dictionaries(names, arrays | texts, max_size=4)
finite = st.sampled_from([d for d in DTYPES if d != "float16"]).flatmap(
    lambda dtype: hnp.arrays(
        dtype, shapes, elements={"allow_nan": False, "allow_infinity": False} if "float" in dtype else None
    )
)


def same(a: Array, b: Array) -> bool:
    content = a.tolist() == b.tolist() if a.dtype == object else a.tobytes() == b.tobytes()
    return bool(a.dtype == b.dtype and a.shape == b.shape and content)


def examples() -> list[Message]:
    """Messages that hold every feature, for damaging."""
    inputs = {
        "x": np.arange(6, dtype=np.float32).reshape(2, 3),
        "b": np.array([True, False]),
        "s": np.array([b"ab", b""], object),
        "h": np.ones(2, np.float16),
    }
    plain = {name: array for name, array in inputs.items() if name != "h"}
    binary = oip.encode_request(Call("m", inputs), request_id="1", budget=0.1)
    packed = Message(gzip.compress(bytes(binary.body), mtime=0), {**binary.headers, "content-encoding": "gzip"})
    asked = oip.InferRequest({}, outputs=(oip.RequestedOutput("x", False), oip.RequestedOutput("b", True)))
    response = oip.InferResponse("m", inputs, "1", "e", "CPU", "v", 0.1)
    return [
        binary,
        oip.encode_request(Call("m", plain), binary=False),
        packed,
        oip.encode_response(response, oip.InferRequest({}, id="1", binary=True)),
        oip.encode_response(response, asked),
        Message(bytes(16), {"inference-header-content-length": "0"}),
    ]


EXAMPLES = [Message(each.body, each.headers) for each in examples()]


def assert_read_or_refused(message: Message) -> None:
    """Read a message in every way there is. Only a ProtocolError may come out."""
    readers: list[Any] = [
        lambda: oip.decode_request(message, SMALL, SIGNATURE),
        lambda: oip.decode_reply(message, SMALL, "1"),
        lambda: oip.decode_metadata(message, oip.ServerMetadata),
        lambda: oip.decode_metadata(message, oip.ModelMetadata),
    ]
    for reader in readers:
        with contextlib.suppress(ProtocolError):
            reader()
    assert isinstance(decode_error(500, message), RemoteError)


@given(tensors)
def test_binary_round_trip(values: dict[str, Array]) -> None:
    """Every tensor of every dtype and shape comes out of a binary request, and of a binary response, bit for bit."""
    request = oip.decode_request(oip.encode_request(Call("m", values)))
    assert list(request.inputs) == list(values)
    assert all(same(request.inputs[name], values[name]) for name in values)
    reply = oip.decode_reply(oip.encode_response(oip.InferResponse("m", values), request))
    assert all(same(reply.outputs[name], values[name]) for name in values)


@given(st.dictionaries(names, finite, max_size=4))
def test_json_round_trip(values: dict[str, Array]) -> None:
    """Every finite tensor comes out of JSON bit for bit."""
    request = oip.decode_request(oip.encode_request(Call("m", values), binary=False))
    assert all(same(request.inputs[name], values[name]) for name in values)
    reply = oip.decode_reply(oip.encode_response(oip.InferResponse("m", values), request))
    assert all(same(reply.outputs[name], values[name]) for name in values)


@pytest.mark.parametrize("message", EXAMPLES, ids=range(len(EXAMPLES)))
def test_every_truncation(message: Message) -> None:
    """A message cut at any place is a value or a ProtocolError."""
    for end in range(len(message.body)):
        assert_read_or_refused(Message(message.body[:end], message.headers))


@pytest.mark.parametrize("message", EXAMPLES, ids=range(len(EXAMPLES)))
def test_every_flipped_byte(message: Message) -> None:
    """A message with any byte changed, to each of a few other values, is a value or a ProtocolError."""
    for at in range(len(message.body)):
        for mask in (0x01, 0x10, 0x80, 0xFF):
            body = bytearray(message.body)
            body[at] ^= mask
            assert_read_or_refused(Message(body, message.headers))


@pytest.mark.parametrize("truncated", EXAMPLES[:1] + EXAMPLES[3:4], ids=["request", "response"])
def test_truncations_are_noticed(truncated: Message) -> None:
    """A binary message that lost even its last byte is never taken for a whole one."""
    for end in range(len(truncated.body)):
        message = Message(truncated.body[:end], truncated.headers)
        with pytest.raises(ProtocolError):
            oip.decode_request(message, SMALL)
        with pytest.raises(ProtocolError):
            oip.decode_reply(message, SMALL)


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(EXAMPLES), st.data())
def test_damaged_headers(message: Message, data: st.DataObject) -> None:
    """Headers of any content, and junk after the body, too."""
    odd = st.dictionaries(st.sampled_from(HEADERS), st.text(max_size=12) | st.integers(-5, 400).map(str), max_size=3)
    headers = {**message.headers, **data.draw(odd)}
    assert_read_or_refused(Message(bytes(message.body) + data.draw(st.binary(max_size=4)), headers))


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
_fields = ["name", "shape", "datatype", "parameters", "data"]


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.dictionaries(st.sampled_from(_fields), _json, min_size=3), max_size=2), _json, _json)
def test_documents_of_any_content(entries: list[Any], parameters: Any, outputs: Any) -> None:
    """JSON of the right form with values of any type."""
    for role in ("inputs", "outputs"):
        whole = [{"name": "x", "shape": [2], "datatype": "FP32", "data": [1, 2], **entry} for entry in entries]
        document = {"model_name": "m", "parameters": parameters, "outputs": outputs, role: whole}
        assert_read_or_refused(Message(json.dumps(document).encode()))


@given(st.binary(max_size=200))
def test_any_bytes(body: bytes) -> None:
    """Bytes of any kind."""
    assert_read_or_refused(Message(body))
