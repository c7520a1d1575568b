"""The Open Inference Protocol v2 with its binary tensor extension. Pure: messages <-> values.

A body is JSON, followed by the raw bytes of those tensors that are not written inside it, in their order; a header gives
the length of the JSON. Anything else than a well-formed message raises ProtocolError. JSON fields and parameters that are
not known are passed over, as the protocol asks, but for those that would change the answer: they are refused by name.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec

from cloud_bridge.protocol.body import (
    Received,
    flag,
    number,
    read_json,
    read_raw_input,
    read_tensors,
    refuse,
    split_body,
    whole,
    words,
    write_body,
)
from cloud_bridge.protocol.compression import compress, expand
from cloud_bridge.protocol.failures import decode_error, encode_error
from cloud_bridge.protocol.message import (
    ACCEPT_ENCODING,
    CONTENT_ENCODING,
    HEADER_LENGTH,
    LIMITS,
    QUICK,
    Limits,
    Message,
    budget_header,
    remaining,
    uploading,
    waiting,
)
from cloud_bridge.protocol.metadata import (
    BINARY_EXTENSION,
    CHUNKS_EXTENSION,
    PROBE_EXTENSION,
    ModelMetadata,
    ServerMetadata,
    TensorMetadata,
    decode_metadata,
    describe,
    encode_metadata,
)
from edge_runtime.errors import InputError, ProtocolError
from edge_runtime.remote import Call, Reply
from edge_runtime.signature import Signature
from edge_runtime.values import Tensors

__all__ = [
    "BINARY_EXTENSION",
    "CHUNKS_EXTENSION",
    "PROBE_EXTENSION",
    "InferRequest",
    "InferResponse",
    "ModelMetadata",
    "RequestedOutput",
    "ServerMetadata",
    "TensorMetadata",
    "budget_of",
    "check_outputs",
    "decode_error",
    "decode_metadata",
    "decode_reply",
    "decode_request",
    "describe",
    "encode_error",
    "encode_metadata",
    "encode_request",
    "encode_response",
    "is_quick",
    "refuse_sequences",
    "told",
    "wanted",
]  # fmt: skip


_LONGEST = 10**15
"""Microseconds of a `timeout` that make a difference: JSON's integers may be longer than any float."""

_TOLD = ("edge_engine", "edge_device", "edge_variant")
"""The parameters of a response that say what ran it."""

_TIMES = ("edge_seconds", "edge_waited")
"""Those that say the seconds from having the request to having the answer, and how many of them it waited for its turn."""


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
    priority: int = 0
    """1 goes first, then 2 and so on; 0, of one that says nothing, last."""


class InferResponse(msgspec.Struct, frozen=True):
    """An answer, and what ran it."""

    model: str
    outputs: Tensors
    version: str = ""
    engine: str = ""
    device: str = ""
    variant: str = ""
    seconds: float | None = None
    waited: float | None = None


class _Output(msgspec.Struct):
    name: str
    parameters: dict[str, Any] | None = None


class _Request(msgspec.Struct):
    inputs: list[Received]
    id: str | None = None
    parameters: dict[str, Any] | None = None
    outputs: list[_Output] | None = None


class _Response(msgspec.Struct):
    outputs: list[Received]
    model_name: str = ""
    model_version: str | None = None
    id: str | None = None
    parameters: dict[str, Any] | None = None


def encode_request(call: Call, *, binary: bool = True, request_id: str = "", budget: float | None = None) -> Message:
    """The message that asks for a call.

    `binary` sends the tensors as raw bytes and asks for raw bytes back; JSON otherwise, which takes neither float16 nor
    NaN (InputError). `budget` is the seconds left from now.
    """
    document: dict[str, Any] = {"id": request_id} if request_id else {}
    if binary:
        document["parameters"] = {"binary_data_output": True}
    tensors = [(name, array, binary) for name, array in call.inputs.items()]
    return write_body(document, "inputs", tensors, {**budget_header(budget), **call.trace})


def is_quick(message: Message) -> bool:
    """Whether it takes no time worth a thread to read it: raw numbers do not, however many."""
    said = message.headers.get(HEADER_LENGTH, str(len(message.body)))
    if CONTENT_ENCODING in message.headers or not said.isdecimal() or (length := int(said[:18])) > QUICK:
        return False
    return len(message.body) <= QUICK or b"BYTES" not in bytes(message.body[:length])


def decode_request(message: Message, limits: Limits = LIMITS, signature: Signature | None = None) -> InferRequest:
    """What a message asks. `signature` is the model's: it gives name and shape to a body that is one raw tensor."""
    body = memoryview(expand(message, limits))
    accept = message.headers.get(ACCEPT_ENCODING, "")
    budget = remaining(message)
    text, raw = split_body(message, body, limits)
    if raw is not None and not text:
        return InferRequest(read_raw_input(raw, signature, limits), binary=True, budget=budget, accept=accept)
    request = read_json(text, _Request)
    parameters = request.parameters or {}
    refuse_sequences(parameters)
    inputs = read_tensors(request.inputs, raw, limits)
    binary = flag(parameters, "binary_data_output", False)
    outputs = tuple(_requested(output, binary) for output in request.outputs or ())
    if len({output.name for output in outputs}) < len(outputs):
        raise ProtocolError("an output is asked for twice")
    budget = budget_of(parameters, budget)
    priority = whole(parameters, "priority") or 0
    return InferRequest(inputs, request.id or "", outputs, binary, budget, accept, priority)


def encode_response(response: InferResponse, request: InferRequest) -> Message:
    """The answer in the form that the request asks for. InputError when it asks for what cannot be written."""
    document: dict[str, Any] = {"model_name": response.model}
    if response.version:
        document["model_version"] = response.version
    if request.id:
        document["id"] = request.id
    document["parameters"] = told(response)
    tensors = [(output.name, response.outputs[output.name], output.binary) for output in wanted(response, request)]
    return compress(write_body(document, "outputs", tensors, {}), request.accept)


def told(response: InferResponse) -> dict[str, str | float]:
    """The parameters that say what ran it."""
    values = (response.engine, response.device, response.variant, response.seconds, response.waited)
    return {name: value for name, value in zip(_TOLD + _TIMES, values, strict=True) if value is not None and value != ""}


def wanted(response: InferResponse, request: InferRequest) -> tuple[RequestedOutput, ...]:
    """The outputs to answer with. InputError when there is none of a name that is asked for."""
    check_outputs(request, response.outputs)
    return request.outputs or tuple(RequestedOutput(name, request.binary) for name in response.outputs)


def budget_of(parameters: dict[str, Any], budget: float | None) -> float | None:
    """What the protocol's own `timeout` leaves of a budget."""
    timeout = whole(parameters, "timeout")
    if not timeout:  # microseconds; the protocol says "no limit" with 0
        return budget
    seconds = min(timeout, _LONGEST) / 1e6
    return seconds if budget is None else min(budget, seconds)


def refuse_sequences(parameters: dict[str, Any]) -> None:
    """ProtocolError for a request that is part of a sequence."""
    refuse(parameters, "sequence_id", "no sequences are kept here: send the state as tensors")


def check_outputs(request: InferRequest, names: Collection[str]) -> None:
    """InputError when a request names an output that is not among these."""
    for output in request.outputs:
        if output.name not in names:
            raise InputError(f"there is no output {output.name!r}; the model has {', '.join(sorted(names))}")


def decode_reply(message: Message, limits: Limits = LIMITS, request_id: str = "") -> Reply:
    """The answer in a message of status 200. `request_id`, when given, must be the answer's.

    What ran it is told by endpoints of this project only; others leave it empty. The arrays are the caller's to keep and
    change: they are views of the body only where it can be written to.
    """
    text, raw = split_body(message, memoryview(expand(message, limits)), limits)
    response = read_json(text, _Response)
    if request_id and response.id and response.id != request_id:
        raise ProtocolError(f"an answer to another request: {response.id[:40]!r} came for {request_id!r}")
    parameters = response.parameters or {}
    engine, device, variant = (words(parameters, name) for name in _TOLD)
    seconds, waited = (number(parameters, name) for name in _TIMES)
    arrays = read_tensors(response.outputs, raw, limits)
    outputs = {name: array if array.flags.writeable else array.copy() for name, array in arrays.items()}
    return Reply(outputs, engine, device, variant, seconds, uploading(message), waited, waiting(message))


def _requested(output: _Output, default: bool) -> RequestedOutput:
    parameters = output.parameters or {}
    refuse(parameters, "classification", "ask for the scores and sort them")
    refuse(parameters, "shared_memory_region", "tensors travel inside the message only")
    return RequestedOutput(output.name, flag(parameters, "binary_data", default))
