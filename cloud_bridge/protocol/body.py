"""The body of a message: JSON, then the raw bytes of those tensors that are not written inside it."""

from __future__ import annotations

import re
from typing import Any, TypeVar

import msgspec

from cloud_bridge.protocol.message import BINARY, CONTENT_TYPE, HEADER_LENGTH, JSON, Buffer, Limits, Message
from cloud_bridge.protocol.tensors import DATATYPES, count, from_bytes, from_json, to_bytes, to_json, written_as
from edge_runtime.errors import ProtocolError
from edge_runtime.reading import decoder
from edge_runtime.signature import Signature, TensorSpec
from edge_runtime.values import Array

_ALIGN = 16
"""The JSON is padded with spaces to a multiple of this, so that the first tensor can be used where it lies."""

_LENGTH = re.compile(r"[0-9]{1,18}")


class _Tensor(msgspec.Struct, omit_defaults=True):
    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] | None = None
    data: msgspec.Raw | list[Any] | None = None


class Received(msgspec.Struct):
    """A tensor as a message describes it."""

    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] | None = None
    data: msgspec.Raw = msgspec.Raw()


_Document = TypeVar("_Document")


def write_body(
    document: dict[str, Any], role: str, tensors: list[tuple[str, Array, bool]], headers: dict[str, str]
) -> Message:
    """A message of a document and its tensors (name, array, whether as raw bytes), which are left where they lie.
    InputError for what JSON cannot hold."""
    entries: list[_Tensor] = []
    chunks: list[Buffer] = []
    for name, array, binary in tensors:
        entry = _Tensor(name, list(array.shape), written_as(name, array))
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
    return Message((text, *chunks), {CONTENT_TYPE: BINARY, HEADER_LENGTH: str(len(text)), **headers})


def split_body(message: Message, body: memoryview, limits: Limits) -> tuple[memoryview, memoryview | None]:
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


def read_json(text: memoryview, kind: type[_Document]) -> _Document:
    """The JSON as a value of this type."""
    try:
        return decoder(kind).decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ProtocolError(f"the JSON is not that of an inference {kind.__name__[1:].lower()}: {error}") from error
    except RecursionError as error:
        raise ProtocolError("the JSON is nested too deeply") from error


def read_tensors(received: list[Received], raw: memoryview | None, limits: Limits) -> dict[str, Array]:
    """The arrays that a message describes, their raw bytes taken from `raw` in their order."""
    if len(received) > limits.tensors:
        raise ProtocolError(f"{len(received)} tensors; at most {limits.tensors} are accepted")
    arrays: dict[str, Array] = {}
    rest = raw if raw is not None else memoryview(b"")
    for entry in received:
        name = entry.name
        if name in arrays:
            raise ProtocolError(f"tensor {name!r} is given twice")
        elements = count(name, entry.shape, entry.datatype, limits)
        parameters = entry.parameters or {}
        refuse(parameters, "shared_memory_region", "tensors travel inside the message only")
        size = whole(parameters, "binary_data_size")
        if size is None:
            arrays[name] = from_json(name, entry.shape, entry.datatype, elements, entry.data)
            continue
        if bytes(entry.data):
            raise ProtocolError(f"tensor {name!r} has both data and binary_data_size")
        if size > len(rest):
            raise ProtocolError(f"tensor {name!r}: binary_data_size is {size}, and {len(rest)} bytes are left of the body")
        arrays[name] = from_bytes(name, entry.shape, entry.datatype, elements, rest[:size])
        rest = rest[size:]
    if len(rest):
        raise ProtocolError(f"{len(rest)} bytes are left over after the last tensor")
    return arrays


def read_raw_input(raw: memoryview, signature: Signature | None, limits: Limits) -> dict[str, Array]:
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


def refuse(parameters: dict[str, Any], name: str, instead: str) -> None:
    """ProtocolError for a parameter that would change the answer and is not obeyed here."""
    if parameters.get(name):
        raise ProtocolError(f"parameter {name} is not supported; {instead}")


def flag(parameters: dict[str, Any], name: str, default: bool) -> bool:
    """A parameter that is true or false."""
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise ProtocolError(f"parameter {name} is neither true nor false")
    return value


def whole(parameters: dict[str, Any], name: str) -> int | None:
    """A parameter that is a whole number, zero or more."""
    value = parameters.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
        raise ProtocolError(f"parameter {name} is no whole number >= 0")
    return value


def number(parameters: dict[str, Any], name: str) -> float | None:
    """A parameter that is a number."""
    value = parameters.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise ProtocolError(f"parameter {name} is no number")
    return value


def words(parameters: dict[str, Any], name: str) -> str:
    """A parameter that is text; empty when it is not there."""
    value = parameters.get(name, "")
    if not isinstance(value, str):
        raise ProtocolError(f"parameter {name} is no text")
    return value
