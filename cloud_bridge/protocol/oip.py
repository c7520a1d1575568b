"""The Open Inference Protocol v2 with its binary tensor extension. Pure: messages <-> values.

A body is JSON, followed by the raw bytes of those tensors that are not written inside it, in their order; a header gives
the length of the JSON. Anything else than a well-formed message raises ProtocolError. JSON fields and parameters that are
not known are passed over, as the protocol asks, but for those that would change the answer: they are refused by name.
"""

from __future__ import annotations

import re
from typing import Any, TypeVar

import msgspec

from cloud_bridge.protocol.compression import compress, expand
from cloud_bridge.protocol.failures import decode_error, encode_error
from cloud_bridge.protocol.message import (
    ACCEPT_ENCODING,
    BINARY,
    CONTENT_TYPE,
    HEADER_LENGTH,
    JSON,
    LIMITS,
    Buffer,
    Limits,
    Message,
    budget_header,
    remaining,
)  # fmt: skip
from cloud_bridge.protocol.metadata import (
    BINARY_EXTENSION,
    ModelMetadata,
    ServerMetadata,
    TensorMetadata,
    decode_metadata,
    describe,
    encode_metadata,
)  # fmt: skip
from cloud_bridge.protocol.tensors import DATATYPES, count, datatype, from_bytes, from_json, to_bytes, to_json
from edge_runtime.errors import InputError, ProtocolError
from edge_runtime.remote import Call, Reply
from edge_runtime.signature import Signature, TensorSpec
from edge_runtime.values import Array, Tensors

__all__ = [
    "BINARY_EXTENSION", "InferRequest", "InferResponse", "ModelMetadata", "RequestedOutput", "ServerMetadata",
    "TensorMetadata", "decode_error", "decode_metadata", "decode_reply", "decode_request", "describe", "encode_error",
    "encode_metadata", "encode_request", "encode_response",
]  # fmt: skip

_ALIGN = 16
"""The JSON is padded with spaces to a multiple of this, so that the first tensor can be used where it lies."""

_LENGTH = re.compile(r"[0-9]{1,18}")


class RequestedOutput(msgspec.Struct, frozen=True):
    """An output that a request names, and whether it is to come as raw bytes."""

    name: str
    binary: bool


class InferRequest(msgspec.Struct, frozen=True):
    """What a request asks."""

    inputs: Tensors
    """Arrays are views of the message's body where its alignment allows, read-only when the body is."""
    id: str = ""
    outputs: tuple[RequestedOutput, ...] = ()
    """Those to answer with; empty asks for all."""
    binary: bool = False
    """Whether outputs come as raw bytes when `outputs` is empty."""
    budget: float | None = None
    """Seconds that were left when the message was sent."""
    accept: str = ""
    """The Accept-Encoding of the answer."""


class InferResponse(msgspec.Struct, frozen=True):
    """An answer, and what ran it."""

    model: str
    outputs: Tensors
    version: str = ""
    id: str = ""
    engine: str = ""
    device: str = ""
    variant: str = ""
    seconds: float | None = None


class _Output(msgspec.Struct):
    name: str
    parameters: dict[str, str | int | float | bool] | None = None


class _Tensor(msgspec.Struct, omit_defaults=True):
    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] | None = None
    data: msgspec.Raw | list[Any] | None = None


class _Received(msgspec.Struct):
    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] | None = None
    data: msgspec.Raw = msgspec.Raw()


class _Request(msgspec.Struct):
    inputs: list[_Received]
    id: str | None = None
    parameters: dict[str, Any] | None = None
    outputs: list[_Output] | None = None


class _Response(msgspec.Struct):
    outputs: list[_Received]
    model_name: str = ""
    model_version: str | None = None
    id: str | None = None
    parameters: dict[str, Any] | None = None


_Json = TypeVar("_Json", _Request, _Response)


def encode_request(call: Call, *, binary: bool = True, request_id: str = "", budget: float | None = None) -> Message:
    """The message that asks for a call.

    `binary` sends the tensors as raw bytes and asks for raw bytes back; JSON otherwise, which takes neither float16 nor
    NaN (InputError). `budget` is the seconds left from now.
    """
    document: dict[str, Any] = {"id": request_id} if request_id else {}
    if binary:
        document["parameters"] = {"binary_data_output": True}
    tensors = [(name, array, binary) for name, array in call.inputs.items()]
    return _join(document, "inputs", tensors, budget_header(budget))


def decode_request(message: Message, limits: Limits = LIMITS, signature: Signature | None = None) -> InferRequest:
    """What a message asks. `signature` is the model's: it gives name and shape to a body that is one raw tensor."""
    body = memoryview(expand(message, limits))
    accept = message.headers.get(ACCEPT_ENCODING, "")
    budget = remaining(message)
    text, raw = _split(message, body, limits)
    if raw is not None and not text:
        return InferRequest(_raw_input(raw, signature, limits), binary=True, budget=budget, accept=accept)
    request = _parse(text, _Request)
    parameters = request.parameters or {}
    _refuse(parameters, "sequence_id", "no sequences are kept here: send the state as tensors")
    inputs = _tensors(request.inputs, raw, limits)
    binary = _flag(parameters, "binary_data_output", False)
    outputs = tuple(_requested(output, binary) for output in request.outputs or ())
    if len({output.name for output in outputs}) < len(outputs):
        raise ProtocolError("an output is asked for twice")
    timeout = _whole(parameters, "timeout")
    if timeout:  # microseconds; the protocol says "no limit" with 0
        budget = timeout / 1e6 if budget is None else min(budget, timeout / 1e6)
    return InferRequest(inputs, request.id or "", outputs, binary, budget, accept)


def encode_response(response: InferResponse, request: InferRequest) -> Message:
    """The answer in the form that the request asks for. InputError when it asks for what cannot be written."""
    parameters: dict[str, Any] = {
        "edge_engine": response.engine, "edge_device": response.device, "edge_variant": response.variant,
        "edge_seconds": response.seconds,
    }  # fmt: skip
    document: dict[str, Any] = {"model_name": response.model}
    if response.version:
        document["model_version"] = response.version
    if request.id:
        document["id"] = request.id
    document["parameters"] = {name: value for name, value in parameters.items() if value not in ("", None)}
    wanted = request.outputs or tuple(RequestedOutput(name, request.binary) for name in response.outputs)
    missing = [output.name for output in wanted if output.name not in response.outputs]
    if missing:
        raise InputError(f"there is no output {missing[0]!r}; the model has {', '.join(response.outputs)}")
    tensors = [(output.name, response.outputs[output.name], output.binary) for output in wanted]
    return compress(_join(document, "outputs", tensors, {}), request.accept)


def decode_reply(message: Message, limits: Limits = LIMITS, request_id: str = "") -> Reply:
    """The answer in a message of status 200. `request_id`, when given, must be the answer's.

    What ran it is told by endpoints of this project only; others leave it empty.
    """
    text, raw = _split(message, memoryview(expand(message, limits)), limits)
    response = _parse(text, _Response)
    if request_id and response.id and response.id != request_id:
        raise ProtocolError(f"an answer to another request: {response.id[:40]!r} came for {request_id!r}")
    told = response.parameters or {}
    engine, device, variant = (_text(told, name) for name in ("edge_engine", "edge_device", "edge_variant"))
    seconds = told.get("edge_seconds")
    if seconds is not None and (isinstance(seconds, bool) or not isinstance(seconds, int | float)):
        raise ProtocolError("parameter edge_seconds is no number")
    return Reply(_tensors(response.outputs, raw, limits), engine, device, variant, seconds)


def _join(document: dict[str, Any], role: str, tensors: list[tuple[str, Array, bool]], headers: dict[str, str]) -> Message:
    entries: list[_Tensor] = []
    chunks: list[Buffer] = []
    for name, array, binary in tensors:
        try:
            kind = datatype(array.dtype)
        except KeyError as error:
            raise InputError(f"tensor {name!r} has dtype {array.dtype}, which the protocol does not carry") from error
        entry = _Tensor(name, list(array.shape), kind)
        if binary:
            chunks.append(to_bytes(array))
            entry.parameters = {"binary_data_size": len(chunks[-1])}
        else:
            entry.data = to_json(name, array)
        entries.append(entry)
    text = msgspec.json.encode({**document, role: entries})
    if not chunks:
        return Message(text, {CONTENT_TYPE: JSON, **headers})
    text += b" " * (-len(text) % _ALIGN)
    return Message(b"".join((text, *chunks)), {CONTENT_TYPE: BINARY, HEADER_LENGTH: str(len(text)), **headers})


def _split(message: Message, body: memoryview, limits: Limits) -> tuple[memoryview, memoryview | None]:
    """The JSON of a body, and the raw bytes after it; None when the message announces none."""
    announced = message.headers.get(HEADER_LENGTH)
    length = len(body)
    if announced is not None:
        if not _LENGTH.fullmatch(announced):
            raise ProtocolError(f"{HEADER_LENGTH}: {announced[:40]!r} is no length")
        length = int(announced)
        if length > len(body):
            raise ProtocolError(f"{HEADER_LENGTH} is {length}, past the end of a body of {len(body)} bytes")
    if length > limits.json:
        raise ProtocolError(f"{length} bytes of JSON; at most {limits.json} are read: send tensors as binary data")
    return body[:length], None if announced is None else body[length:]


def _parse(text: memoryview, kind: type[_Json]) -> _Json:
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ProtocolError(f"the JSON is not that of an inference {kind.__name__[1:].lower()}: {error}") from error
    except RecursionError as error:
        raise ProtocolError("the JSON is nested too deeply") from error


def _tensors(received: list[_Received], raw: memoryview | None, limits: Limits) -> dict[str, Array]:
    if len(received) > limits.tensors:
        raise ProtocolError(f"{len(received)} tensors; at most {limits.tensors} are accepted")
    tensors: dict[str, Array] = {}
    rest = raw if raw is not None else memoryview(b"")
    for entry in received:
        name = entry.name
        if name in tensors:
            raise ProtocolError(f"tensor {name!r} is given twice")
        elements = count(name, entry.shape, entry.datatype, limits)
        parameters = entry.parameters or {}
        _refuse(parameters, "shared_memory_region", "tensors travel inside the message only")
        size = _whole(parameters, "binary_data_size")
        if size is None:
            tensors[name] = from_json(name, entry.shape, entry.datatype, elements, entry.data)
            continue
        if bytes(entry.data):
            raise ProtocolError(f"tensor {name!r} has both data and binary_data_size")
        if size > len(rest):
            raise ProtocolError(f"tensor {name!r}: binary_data_size is {size}, and {len(rest)} bytes are left of the body")
        tensors[name] = from_bytes(name, entry.shape, entry.datatype, elements, rest[:size])
        rest = rest[size:]
    if len(rest):
        raise ProtocolError(f"{len(rest)} bytes are left over after the last tensor")
    return tensors


def _raw_input(raw: memoryview, signature: Signature | None, limits: Limits) -> dict[str, Array]:
    """The only input, when the body is nothing but its bytes: one dimension at most follows from their number."""
    if signature is None or len(signature.inputs) != 1:
        raise ProtocolError(f"{HEADER_LENGTH} is 0, a body of one raw tensor: the model must have just one input")
    spec: TensorSpec = signature.inputs[0]
    unknown = [i for i, size in enumerate(spec.shape) if isinstance(size, str)]
    if len(unknown) > 1:
        raise ProtocolError(f"input {spec.name!r} has {len(unknown)} open dimensions: a raw tensor can tell but one")
    kind = next(kind for kind, dtype in DATATYPES.items() if dtype == spec.dtype)
    shape = [1 if isinstance(size, str) else size for size in spec.shape]
    step = count(spec.name, shape, kind, limits) * DATATYPES[kind].itemsize
    if unknown:
        shape[unknown[0]] = len(raw) // step
    elements = count(spec.name, shape, kind, limits)
    return {spec.name: from_bytes(spec.name, shape, kind, elements, raw)}


def _requested(output: _Output, default: bool) -> RequestedOutput:
    parameters = output.parameters or {}
    _refuse(parameters, "classification", "ask for the scores and sort them")
    _refuse(parameters, "shared_memory_region", "tensors travel inside the message only")
    return RequestedOutput(output.name, _flag(parameters, "binary_data", default))


def _refuse(parameters: dict[str, Any], name: str, instead: str) -> None:
    if parameters.get(name):
        raise ProtocolError(f"parameter {name} is not supported; {instead}")


def _flag(parameters: dict[str, Any], name: str, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise ProtocolError(f"parameter {name} is neither true nor false")
    return value


def _whole(parameters: dict[str, Any], name: str) -> int | None:
    value = parameters.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
        raise ProtocolError(f"parameter {name} is no whole number >= 0")
    return value


def _text(parameters: dict[str, Any], name: str) -> str:
    value = parameters.get(name, "")
    if not isinstance(value, str):
        raise ProtocolError(f"parameter {name} is no text")
    return value
