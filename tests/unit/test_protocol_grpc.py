"""The protocol's gRPC messages, held against those that NVIDIA's client makes and reads with Google's own library."""

from __future__ import annotations

import contextlib
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cloud_bridge.protocol import grpc, grpc_metadata, protobuf
from cloud_bridge.protocol.message import BUDGET, Limits, Message
from cloud_bridge.protocol.metadata import ModelMetadata, ServerMetadata, TensorMetadata
from cloud_bridge.protocol.oip import InferRequest, InferResponse
from cloud_bridge.protocol.repository import IndexEntry
from cloud_bridge.protocol.tensors import DATATYPES, to_bytes
from edge_runtime.errors import InputError, ProtocolError
from edge_runtime.signature import DTYPES
from edge_runtime.values import Array

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from tritonclient.grpc import service_pb2 as pb

SMALL = Limits(body=100_000, json=50_000, elements=10_000)
CONTENTS = {
    "BOOL": "bool_contents", "INT8": "int_contents", "INT16": "int_contents", "INT32": "int_contents",
    "INT64": "int64_contents", "UINT8": "uint_contents", "UINT16": "uint_contents", "UINT32": "uint_contents",
    "UINT64": "uint64_contents", "FP32": "fp32_contents", "FP64": "fp64_contents", "BYTES": "bytes_contents",
}  # fmt: skip

shapes = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
numbers = st.sampled_from([*DTYPES, "int16", "uint16", "uint32", "uint64"])
arrays = numbers.flatmap(lambda dtype: hnp.arrays(dtype, shapes))
texts = shapes.flatmap(lambda shape: hnp.arrays(object, shape, elements=st.binary(max_size=8)))
names = st.text(min_size=1, max_size=8)
tensors = st.dictionaries(names, arrays | texts, max_size=4)


def kind_of(array: Array) -> str:
    return next(kind for kind, dtype in DATATYPES.items() if dtype == array.dtype)


def asked(inputs: dict[str, Array], typed: bool = False, **more: Any) -> Any:
    """A ModelInferRequest of Google's."""
    request = pb.ModelInferRequest(model_name="m", **more)
    for name, array in inputs.items():
        tensor = request.inputs.add(name=name, datatype=kind_of(array), shape=array.shape)
        if typed:
            getattr(tensor.contents, CONTENTS[tensor.datatype]).extend(array.ravel().tolist())
        else:
            request.raw_input_contents.append(bytes(to_bytes(array)))
    return request


def read(request: Any, **headers: str) -> grpc.StreamedRequest:
    body = request if isinstance(request, bytes) else request.SerializeToString()
    return grpc.decode_request(Message(body, headers), SMALL)


def same(a: Array, b: Array) -> bool:
    content = a.tolist() == b.tolist() if a.dtype == object else a.tobytes() == b.tobytes()
    return bool(a.dtype == b.dtype and a.shape == b.shape and content)


@given(tensors, st.booleans())
def test_tensors_as_they_were_sent(inputs: dict[str, Array], typed: bool) -> None:
    """Raw or as typed contents, every dtype and shape is read as Google's library wrote it."""
    if typed:
        inputs = {name: array for name, array in inputs.items() if array.dtype != np.float16}
    found = read(asked(inputs, typed)).inputs
    assert list(found) == list(inputs)
    assert all(same(found[name], array) for name, array in inputs.items())


@given(tensors, names, names)
def test_answers_as_they_were_written(outputs: dict[str, Array], version: str, request_id: str) -> None:
    """Google's library reads of an answer what was put in it, tensors raw."""
    response = InferResponse("m", outputs, version, "onnx 1", "CPU", "v0", 0.25)
    told = pb.ModelInferResponse.FromString(bytes(grpc.encode_response(response, InferRequest({}, request_id)).body))
    assert (told.model_name, told.model_version, told.id) == ("m", version, request_id)
    assert told.parameters["edge_engine"].string_param == "onnx 1"
    assert told.parameters["edge_seconds"].double_param == 0.25
    for tensor, raw, (name, array) in zip(told.outputs, told.raw_output_contents, outputs.items(), strict=True):
        assert (tensor.name, tensor.datatype, tuple(tensor.shape)) == (name, kind_of(array), array.shape)
        assert raw == bytes(to_bytes(array))


def test_only_the_outputs_that_are_asked_for() -> None:
    """In the order in which they are; one that is not there is refused by name."""
    outputs = {name: np.ones(1, np.float32) for name in "xyz"}
    request = asked({"a": np.ones(1)})
    for name in "zx":
        request.outputs.add(name=name)
    answer = grpc.encode_response(InferResponse("m", outputs), read(request))
    assert [each.name for each in pb.ModelInferResponse.FromString(bytes(answer.body)).outputs] == ["z", "x"]
    request.outputs.add(name="w")
    with pytest.raises(InputError, match="no output 'w'"):
        grpc.encode_response(InferResponse("m", outputs), read(request))


def test_parameters() -> None:
    """The shorter of `timeout` and the budget counts; priority, and whether a stream's answers say which is the last."""
    request = asked({"x": np.ones(1)}, id="7")
    assert read(request).budget is None
    assert read(request, **{BUDGET: "150"}).budget == 0.15
    request.parameters["timeout"].int64_param = 100_000
    request.parameters["priority"].uint64_param = 2
    request.parameters["triton_enable_empty_final_response"].bool_param = True
    request.parameters["mine"].string_param = "passed over"
    request.parameters["half"].double_param = 0.5
    found = read(request, **{BUDGET: "150"})
    assert (found.id, found.budget, found.priority, found.final) == ("7", 0.1, 2, True)
    answer = grpc.encode_response(InferResponse("m", {}), found)
    assert pb.ModelInferResponse.FromString(bytes(answer.body)).parameters["triton_final_response"].bool_param


def changed(**fields: Any) -> Any:
    """A request of one float32 `x` of two elements, with some of its fields replaced."""
    request = asked({"x": np.ones(2, np.float32)})
    for name, value in fields.items():
        del request.raw_input_contents[:]
        if name == "raw":
            request.raw_input_contents.extend(value)
        elif name == "contents":
            request.inputs[0].contents.CopyFrom(pb.InferTensorContents(**value))
        elif name == "shape":
            del request.inputs[0].shape[:]
            request.inputs[0].shape.extend(value)
        else:
            setattr(request.inputs[0], name, value)
    return request


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (changed(raw=[b"1234567"]), "7 bytes"),
        (changed(raw=[b"12345678"] * 2), "2 raw_input_contents for 1 inputs"),
        (changed(raw=[]), "0 elements; its shape has 2"),
        (changed(contents={"fp32_contents": [1.0, 2.0]}, raw=[b"12345678"]), "use one of the two"),
        (changed(contents={"fp32_contents": [1.0]}), "1 elements; its shape has 2"),
        (changed(contents={"fp64_contents": [1.0, 2.0]}), "of another type"),
        (changed(datatype="FP16", contents={"fp32_contents": [1.0, 2.0]}), "raw_input_contents only"),
        (changed(datatype="INT8", contents={"int_contents": [1, 128]}), "fit INT8"),
        (changed(datatype="UINT16", contents={"uint_contents": [1, 65536]}), "fit UINT16"),
        (changed(datatype="STRING", contents={"bytes_contents": [b"", b""]}), "no datatype"),
        (changed(shape=[-2], raw=[b"12345678"]), "negative"),
        (changed(shape=[1] * 9, raw=[b"1234"]), "9 dimensions"),
        (changed(shape=[2**62], raw=[b""]), "too many elements"),
        (asked({"x": np.ones(1)}, parameters={"sequence_id": pb.InferParameter(int64_param=5)}), "sequence_id"),
        (asked({"x": np.ones(1)}, parameters={"timeout": pb.InferParameter(int64_param=-5)}), "timeout"),
        (asked({"x": np.ones(1)}, parameters={"mine": pb.InferParameter()}), "no value"),
        (asked({"x": np.ones(60_000, np.uint8)}, typed=True), "raw_input_contents"),
        (asked({str(i): np.ones(1) for i in range(257)}), "257 tensors"),
        (asked({"x": np.ones(20_000, np.uint8)}), "too many elements"),
        (asked({"x": np.ones(100_001, np.uint8)}), "100000"),
        (asked({str(i): np.ones(1) for i in range(600)}), "too many fields"),
        (b"\x0a", "cut off"),
        (b"\x0a\x05abc", "cut off"),
        (b"\x0b", "kind 3"),
        (b"\x1a\x01\xff", "UTF-8"),
        (b"\xff" * 20, "cut off"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(request_: Any, words: str) -> None:
    """Before it takes memory, and by the name of the tensor."""
    with pytest.raises(ProtocolError, match=words):
        read(request_)


@pytest.mark.parametrize("where", ["input", "output", "classification"])
def test_what_would_change_the_answer_is_refused(where: str) -> None:
    """Shared memory and classification."""
    request = asked({"x": np.ones(1)})
    target = request.inputs[0] if where == "input" else request.outputs.add(name="y")
    if where == "classification":
        target.parameters["classification"].int64_param = 2
    else:
        target.parameters["shared_memory_region"].string_param = "region"
    with pytest.raises(ProtocolError, match=r"parameter (classification|shared_memory_region) is not supported"):
        read(request)


def test_two_of_a_name_are_refused() -> None:
    """Inputs and outputs."""
    request = asked({"x": np.ones(1)})
    for _ in range(2):
        request.outputs.add(name="y")
    with pytest.raises(ProtocolError, match="twice"):
        read(request)
    request = asked({"x": np.ones(1)})
    request.MergeFrom(asked({"x": np.ones(1)}))
    with pytest.raises(ProtocolError, match="'x' is given twice"):
        read(request)


@given(st.lists(st.integers(-(2**31), 2**31 - 1), max_size=40))
def test_elements_that_are_not_packed(values: list[int]) -> None:
    """Elements that an old writer put down one by one are read as well."""
    contents = protobuf.write((2, values))
    tensor = protobuf.write((1, "x"), (2, "INT32"), (3, [len(values)]), (5, [contents]))
    assert read(protobuf.write((5, [tensor]))).inputs["x"].tolist() == values


@given(st.lists(st.integers(-(2**63), 2**63 - 1)), st.integers(10, 40))
def test_packed_integers_are_read_in_blocks(values: list[int], block: int) -> None:
    """Wherever one ends."""
    data = memoryview(protobuf.packed(values * 3))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(protobuf, "BLOCK", block)
        found = [int(each) for part in protobuf.varints(data) for each in part.view(np.int64)]
    assert found == values * 3


def test_large_raw_tensors_are_quick() -> None:
    """A request is read on the thread that brought it as long as all that is long in it are raw tensors."""
    large = {"x": np.ones(100_000, np.float32)}
    assert grpc.is_quick(Message(asked(large).SerializeToString()))
    assert not grpc.is_quick(Message(asked(large, typed=True).SerializeToString()))
    assert not grpc.is_quick(Message(asked({"x": np.array([b""] * 20_000, object)}).SerializeToString()))


def test_raw_tensors_are_not_copied() -> None:
    """They stay where they came, if the engine can use them there."""
    body = asked({"x": np.ones(1000, np.uint8)}).SerializeToString()
    assert np.shares_memory(read(body).inputs["x"], np.frombuffer(body, np.uint8))


def test_what_a_request_names() -> None:
    """The same fields in all of them."""
    assert grpc.decode_named(asked({}, model_version="2", id="7").SerializeToString()) == grpc.Named("m", "2", "7")
    assert grpc.decode_named(pb.ModelReadyRequest(name="m").SerializeToString()) == grpc.Named("m")
    assert grpc_metadata.decode_index(pb.RepositoryIndexRequest(ready=True).SerializeToString())
    assert not grpc_metadata.decode_index(b"")


def test_orders() -> None:
    """To load and to unload: a model that the store holds, and nothing with it."""
    order = pb.RepositoryModelUnloadRequest(model_name="m")
    order.parameters["unload_dependents"].bool_param = True
    assert grpc_metadata.decode_order(order.SerializeToString()) == "m"
    order = pb.RepositoryModelLoadRequest(model_name="m")
    order.parameters["config"].string_param = "{}"
    with pytest.raises(ProtocolError, match="config"):
        grpc_metadata.decode_order(order.SerializeToString())


def test_what_a_stream_answers() -> None:
    """An answer, or why there is none and to which request; and what the headers of either tell of the next call."""
    own = pb.ModelInferResponse(id="7")
    own.parameters["a"].int64_param = 1
    headers = {"wait-ms": "1.5", "content-type": "-"}
    answer = pb.ModelStreamInferResponse.FromString(
        grpc.encode_streamed(Message(own.SerializeToString(), headers))
    ).infer_response
    assert (answer.id, answer.parameters["a"].int64_param, answer.parameters["wait-ms"].string_param) == ("7", 1, "1.5")
    assert set(answer.parameters) == {"a", "wait-ms"}
    bare = pb.ModelStreamInferResponse.FromString(grpc.encode_streamed(Message(own.SerializeToString())))
    assert bare.infer_response == own
    told = pb.ModelStreamInferResponse.FromString(
        grpc.encode_streamed_error("no", "7", Message(b"", {"retry-after": "2", "wait-ms": "1900"}))
    )
    assert (told.error_message, told.infer_response.id) == ("no", "7")
    said = {name: value.string_param for name, value in told.infer_response.parameters.items()}
    assert said == {"retry-after": "2", "wait-ms": "1900"}


def test_what_server_and_models_say() -> None:
    """Google's library reads the metadata, the configuration, the index and the statistics."""
    server = pb.ServerMetadataResponse.FromString(
        grpc_metadata.encode_server(ServerMetadata("s", "1", ("binary_tensor_data", "a")))
    )
    assert (server.name, server.version, list(server.extensions)) == ("s", "1", ["a", "model_configuration"])
    x, y = TensorMetadata("x", "FP32", (-1, 2)), TensorMetadata("y", "BYTES", ())
    described = ModelMetadata("m", ("1", "2"), "p", (x,), (y,))
    model = pb.ModelMetadataResponse.FromString(grpc_metadata.encode_model(described))
    assert (model.name, list(model.versions), model.platform) == ("m", ["1", "2"], "p")
    assert (model.inputs[0].name, model.inputs[0].datatype, list(model.inputs[0].shape)) == ("x", "FP32", [-1, 2])
    assert (model.outputs[0].datatype, list(model.outputs[0].shape)) == ("BYTES", [])
    config = pb.ModelConfigResponse.FromString(grpc_metadata.encode_config(described)).config
    assert (config.name, config.platform, config.max_batch_size, list(config.input[0].dims)) == ("m", "p", 0, [-1, 2])
    assert [tensor.data_type for tensor in (*config.input, *config.output)] == [11, 13]
    index = pb.RepositoryIndexResponse.FromString(grpc_metadata.encode_index([IndexEntry("m", "1", "READY", "")]))
    assert [(each.name, each.version, each.state, each.reason) for each in index.models] == [("m", "1", "READY", "")]


@settings(max_examples=500, deadline=None)
@given(st.data())
def test_whatever_comes(data: st.DataObject) -> None:
    """Whatever is done to a message, reading it gives a value or a ProtocolError, and nothing else."""
    inputs: dict[str, Array] = {"x": np.arange(6, dtype=np.int32).reshape(2, 3), "s": np.array([b"ab", b""], object)}
    typed = asked(inputs, typed=True, id="1", parameters={"timeout": pb.InferParameter(int64_param=5)})
    example = data.draw(st.sampled_from([asked(inputs).SerializeToString(), typed.SerializeToString(), b""]))
    body = bytearray(example)
    for _ in range(data.draw(st.integers(1, 4))):
        at, until = sorted(data.draw(st.integers(0, len(body))) for _ in range(2))
        body[at : at + data.draw(st.sampled_from([0, until - at]))] = data.draw(st.binary(max_size=12))
    for reader in (
        grpc.decode_named,
        grpc_metadata.decode_index,
        grpc_metadata.decode_order,
        read,
        lambda body: grpc.is_quick(Message(body)),
    ):
        with contextlib.suppress(ProtocolError):
            reader(bytes(body))
