"""The Open Inference Protocol's calls as gRPC carries them (package `inference`, as KServe and Triton have it): a message's
body is the bytes of a ModelInferRequest or of a ModelInferResponse. Anything else raises ProtocolError."""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

from cloud_bridge.protocol import protobuf
from cloud_bridge.protocol.body import flag, refuse, whole
from cloud_bridge.protocol.grpc_contents import read_contents
from cloud_bridge.protocol.message import LIMITS, QUICK, RETRY_AFTER, WAIT, Buffer, Limits, Message, remaining
from cloud_bridge.protocol.oip import (
    InferRequest,
    InferResponse,
    RequestedOutput,
    budget_of,
    refuse_sequences,
    told,
    wanted,
)
from cloud_bridge.protocol.protobuf import LEN
from cloud_bridge.protocol.tensors import count, from_bytes, to_bytes, written_as
from edge_runtime.errors import ProtocolError
from edge_runtime.signature import Signature
from edge_runtime.values import Array

SERVICE = "inference.GRPCInferenceService"

Parameter: TypeAlias = bool | int | float | str

_FIELDS = 1024
"""Fields of a message, or of its map of parameters."""


class Named(msgspec.Struct, frozen=True):
    """What a request names; empty what it does not."""

    name: str = ""
    version: str = ""
    id: str = ""


class StreamedRequest(InferRequest, frozen=True):
    """What a request asks, and whether its answer is to say that it is the last one."""

    final: bool = False


class _Tensor(msgspec.Struct):
    name: str
    kind: str
    shape: list[int]
    contents: list[memoryview]


def decode_named(body: bytes) -> Named:
    """Which model, and for a call which id: the same fields in every request that names a model."""
    found = {1: "", 2: "", 3: ""}
    for number, kind, _, data in protobuf.fields(memoryview(body), _FIELDS):
        if number in found and kind == LEN:
            found[number] = protobuf.text(data)
    return Named(*found.values())


def is_quick(message: Message) -> bool:
    """Whether it is read in no time: raw numbers are, however many."""
    rest = len(message.body)
    if rest <= QUICK:
        return True
    for number, _, _, data in protobuf.fields(memoryview(message.body), _FIELDS):
        if number == 7:
            rest -= len(data)
        elif number == 5 and len(data) <= QUICK and b"BYTES" in bytes(data):
            return False
    return rest <= QUICK


def decode_request(message: Message, limits: Limits = LIMITS, signature: Signature | None = None) -> StreamedRequest:
    """What a ModelInferRequest asks. The signature is not needed."""
    body = memoryview(message.body)
    if len(body) > limits.body:
        raise ProtocolError(f"a message of {len(body)} bytes; at most {limits.body} are accepted")
    request_id = ""
    parameters: dict[str, Any] = {}
    tensors: list[_Tensor] = []
    outputs: list[RequestedOutput] = []
    raw: list[memoryview] = []
    for number, kind, _, data in protobuf.fields(body, _FIELDS):
        if kind != LEN:
            continue
        if number == 3:
            request_id = protobuf.text(data)
        elif number == 4:
            parameters.update([_parameter(data)])
        elif number == 5:
            tensors.append(_tensor(data, limits))
        elif number == 6:
            outputs.append(_output(data))
        elif number == 7:
            raw.append(data)
    refuse_sequences(parameters)
    if len({output.name for output in outputs}) < len(outputs):
        raise ProtocolError("an output is asked for twice")
    return StreamedRequest(
        _arrays(tensors, raw, limits),
        request_id,
        tuple(outputs),
        binary=True,
        budget=budget_of(parameters, remaining(message)),
        priority=whole(parameters, "priority") or 0,
        final=flag(parameters, "triton_enable_empty_final_response", False),
    )


def encode_response(response: InferResponse, request: InferRequest) -> Message:
    """The answer as a ModelInferResponse, its tensors raw. InputError when it asks for what cannot be written."""
    parameters = dict(told(response))
    if isinstance(request, StreamedRequest) and request.final:
        parameters["triton_final_response"] = True
    outputs: list[bytes] = []
    contents: list[Buffer] = []
    for output in wanted(response, request):
        array = response.outputs[output.name]
        kind, shape = written_as(output.name, array), protobuf.packed(array.shape)
        outputs.append(protobuf.write((1, output.name), (2, kind), (3, shape)))
        contents.append(to_bytes(array))
    return Message(
        protobuf.write(
            (1, response.model),
            (2, response.version),
            (3, request.id),
            (4, [_written(name, value) for name, value in parameters.items()]),
            (5, outputs),
            (6, contents),
        )
    )


def encode_streamed(answer: Message) -> bytes:
    """A ModelStreamInferResponse of an answer; what its headers tell of the next call is in its parameters."""
    return protobuf.write((2, b"".join((answer.body, _beside(answer)))))


def encode_streamed_error(text: str, request_id: str, answer: Message) -> bytes:
    """A ModelStreamInferResponse that says why there is no answer to this request, beside what the headers tell."""
    return protobuf.write((1, text), (2, protobuf.write((3, request_id)) + _beside(answer)))


def beside(answer: Message) -> dict[str, str]:
    """What an answer's headers tell of the next call. It goes into metadata; in a stream, into each answer's parameters."""
    return {name: answer.headers[name] for name in (RETRY_AFTER, WAIT) if name in answer.headers}


def _beside(answer: Message) -> bytes:
    """To be joined to a ModelInferResponse: a field that comes later adds to those before."""
    return protobuf.write((4, [_written(name, value) for name, value in beside(answer).items()]))


def _parameter(entry: memoryview) -> tuple[str, Parameter]:
    """An entry of a map of InferParameters."""
    name, value = "", memoryview(b"")
    for number, kind, _, data in protobuf.fields(entry, _FIELDS):
        if kind == LEN and number == 1:
            name = protobuf.text(data)
        elif kind == LEN and number == 2:
            value = data
    held: Parameter | None = None
    for number, kind, integer, data in protobuf.fields(value, _FIELDS):
        match number, kind:
            case 1, protobuf.VARINT:
                held = integer != 0
            case 2, protobuf.VARINT:
                held = protobuf.signed(integer)
            case 3, protobuf.LEN:
                held = protobuf.text(data)
            case 4, protobuf.I64:
                held = protobuf.double(data)
            case 5, protobuf.VARINT:
                held = integer
    if held is None:
        raise ProtocolError(f"parameter {name[:40]!r} has no value of a kind that is known here")
    return name, held


def _written(name: str, value: Parameter) -> bytes:
    number = {bool: 1, int: 2, str: 3, float: 4}[type(value)]
    return protobuf.write((1, name), (2, [protobuf.write((number, [value]))]))


def _tensor(entry: memoryview, limits: Limits) -> _Tensor:
    tensor = _Tensor("", "", [], [])
    for number, kind, integer, data in protobuf.fields(entry, _FIELDS):
        match number, kind:
            case 1, protobuf.LEN:
                tensor.name = protobuf.text(data)
            case 2, protobuf.LEN:
                tensor.kind = protobuf.text(data)
            case 3, protobuf.VARINT:
                tensor.shape.append(protobuf.signed(integer))
            case 3, protobuf.LEN:
                if len(data) > protobuf.LONGEST * limits.rank:
                    raise ProtocolError(f"tensor {tensor.name!r}: its shape has too many dimensions")
                tensor.shape += protobuf.integers(data)
            case 4, protobuf.LEN:
                refuse(dict([_parameter(data)]), "shared_memory_region", "tensors travel inside the message only")
            case 5, protobuf.LEN:
                tensor.contents.append(data)
    return tensor


def _output(entry: memoryview) -> RequestedOutput:
    name = ""
    for number, kind, _, data in protobuf.fields(entry, _FIELDS):
        if kind == LEN and number == 1:
            name = protobuf.text(data)
        elif kind == LEN and number == 2:
            parameters = dict([_parameter(data)])
            refuse(parameters, "classification", "ask for the scores and sort them")
            refuse(parameters, "shared_memory_region", "tensors travel inside the message only")
    return RequestedOutput(name, binary=True)


def _arrays(tensors: list[_Tensor], raw: list[memoryview], limits: Limits) -> dict[str, Array]:
    if len(tensors) > limits.tensors:
        raise ProtocolError(f"{len(tensors)} tensors; at most {limits.tensors} are accepted")
    typed = [tensor.name for tensor in tensors if any(tensor.contents)]
    if raw and typed:
        raise ProtocolError(f"tensor {typed[0]!r} has contents beside raw_input_contents: use one of the two")
    if raw and len(raw) != len(tensors):
        raise ProtocolError(f"{len(raw)} raw_input_contents for {len(tensors)} inputs: give one for each, or none")
    if sum(len(part) for tensor in tensors for part in tensor.contents) > limits.json:
        raise ProtocolError(f"over {limits.json} bytes of contents: send tensors in raw_input_contents")
    arrays: dict[str, Array] = {}
    for place, tensor in enumerate(tensors):
        if tensor.name in arrays:
            raise ProtocolError(f"tensor {tensor.name!r} is given twice")
        elements = count(tensor.name, tensor.shape, tensor.kind, limits)
        if raw:
            arrays[tensor.name] = from_bytes(tensor.name, tensor.shape, tensor.kind, elements, raw[place])
        else:
            arrays[tensor.name] = read_contents(tensor.name, tensor.kind, tensor.shape, elements, tensor.contents)
    return arrays
