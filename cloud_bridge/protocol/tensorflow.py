"""TensorFlow Serving's REST form of a prediction, for clients that come from there: rows (`instances`, `predictions`) or
columns (`inputs`, `outputs`), nested lists of JSON whose types are the model's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from cloud_bridge.protocol.body import read_json
from cloud_bridge.protocol.compression import compress, expand
from cloud_bridge.protocol.message import ACCEPT_ENCODING, CONTENT_TYPE, JSON, LIMITS, Limits, Message, remaining
from cloud_bridge.protocol.oip import InferRequest, InferResponse, is_quick
from cloud_bridge.protocol.tensors import datatype, from_nested, plain
from edge_runtime.errors import InputError, ProtocolError
from edge_runtime.signature import Signature
from edge_runtime.values import Array

__all__ = ["PredictRequest", "decode_request", "encode_response", "is_quick"]

SIGNATURE = "serving_default"
"""The only signature that a model has here."""


class PredictRequest(InferRequest, frozen=True):
    """What a request asks, and how it is to be answered."""

    rows: bool = False


class _Request(msgspec.Struct):
    signature_name: str | None = None
    instances: list[msgspec.Raw] | None = None
    inputs: msgspec.Raw = msgspec.Raw()


def decode_request(message: Message, limits: Limits = LIMITS, signature: Signature | None = None) -> PredictRequest:
    """What a message asks of a model with this signature. Raises ProtocolError."""
    if signature is None:
        raise ProtocolError("a prediction's tensors have no types of their own: the model's are needed")
    body = memoryview(expand(message, limits))
    if len(body) > limits.json:
        raise ProtocolError(f"{len(body)} bytes of JSON; at most {limits.json} are read")
    request = read_json(body, _Request)
    if request.signature_name not in (None, SIGNATURE):
        raise ProtocolError(f"there is no signature {request.signature_name[:40]!r}; a model has {SIGNATURE!r} only")
    if (request.instances is None) == (not bytes(request.inputs)):
        raise ProtocolError("a prediction has either `instances`, a list of rows, or `inputs`, the columns")
    rows = request.instances
    given = _columns(request.inputs, signature) if rows is None else _joined(rows, signature)
    inputs = {}
    for spec in signature.inputs:
        if spec.name in given:
            kind = datatype(np.dtype(spec.dtype))
            inputs[spec.name] = from_nested(spec.name, len(spec.shape), kind, given.pop(spec.name), limits)
    if given:
        raise ProtocolError(f"unknown inputs: {', '.join(sorted(name[:40] for name in given))}")
    accept = message.headers.get(ACCEPT_ENCODING, "")
    return PredictRequest(inputs, budget=remaining(message), accept=accept, rows=rows is not None)


def encode_response(response: InferResponse, request: InferRequest) -> Message:
    """The answer in the request's form. InputError when it cannot be written."""
    columns = {name: plain(name, array) for name, array in response.outputs.items()}
    document: dict[str, Any]
    if isinstance(request, PredictRequest) and request.rows:
        document = {"predictions": _rows(columns, response.outputs)}
    else:
        document = {"outputs": next(iter(columns.values())) if len(columns) == 1 else columns}
    return compress(Message(msgspec.json.encode(document), {CONTENT_TYPE: JSON}), request.accept)


def _columns(inputs: msgspec.Raw, signature: Signature) -> dict[str, bytes]:
    """Each input's JSON: by name, or of the only one by itself."""
    text = bytes(inputs)
    if text[:1] == b"{":
        return {name: bytes(value) for name, value in read_json(memoryview(text), dict[str, msgspec.Raw]).items()}
    return {_only(signature): text}


def _joined(instances: list[msgspec.Raw], signature: Signature) -> dict[str, bytes]:
    """The same of rows: each input's values become one list."""
    if not instances:
        raise ProtocolError("`instances` is empty")
    rows = [_columns(instance, signature) for instance in instances]
    if any(row.keys() != rows[0].keys() for row in rows):
        raise ProtocolError("the rows of `instances` do not all have the same inputs")
    return {name: b"[" + b",".join(row[name] for row in rows) + b"]" for name in rows[0]}


def _only(signature: Signature) -> str:
    if len(signature.inputs) != 1:
        names = ", ".join(spec.name for spec in signature.inputs)
        raise ProtocolError(f"the model has {len(signature.inputs)} inputs: give an object with {names}")
    return signature.inputs[0].name


def _rows(columns: Mapping[str, Any], outputs: Mapping[str, Array]) -> list[Any]:
    counts = {array.shape[0] if array.ndim else None for array in outputs.values()}
    if len(counts) != 1 or None in counts:
        raise InputError("the model's outputs have no common rows: ask for columns, with `inputs`")
    if len(columns) == 1:
        rows: list[Any] = next(iter(columns.values()))
        return rows
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
