"""What a server and its models say of themselves, as gRPC carries it. Pure: values -> the protocol's messages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cloud_bridge.protocol.metadata import HTTP_EXTENSIONS, ModelMetadata, ServerMetadata, TensorMetadata
from cloud_bridge.protocol.protobuf import LEN, VARINT, fields, packed, text, write
from cloud_bridge.protocol.repository import IndexEntry, check_parameters

YES = write((1, True))
"""Live, or ready: the messages that say so are alike."""

_FIELDS = 1024
_TALLIES = (
    "success", "fail", "queue", "compute_input", "compute_infer", "compute_output", "cache_hit", "cache_miss",
)  # fmt: skip
_BATCH = ("compute_input", "compute_infer", "compute_output")
_TYPES = (
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64", "BYTES",
)  # fmt: skip
"""In the order of the configuration's own names for them, which begin with 1."""


def decode_index(body: bytes) -> bool:
    """Whether a RepositoryIndexRequest asks for what is ready only. Raises ProtocolError."""
    ready = False
    for number, kind, integer, _ in fields(memoryview(body), _FIELDS):
        if (number, kind) == (2, VARINT):
            ready = integer != 0
    return ready


def decode_order(body: bytes) -> str:
    """The model that a RepositoryModelLoadRequest or -UnloadRequest names. ProtocolError if it asks for anything else."""
    model, parameters = "", []
    for number, kind, _, data in fields(memoryview(body), _FIELDS):
        if (number, kind) == (2, LEN):
            model = text(data)
        elif (number, kind) == (3, LEN):
            parameters += [text(key) for place, form, _, key in fields(data, _FIELDS) if (place, form) == (1, LEN)]
    check_parameters(parameters)
    return model


def encode_server(server: ServerMetadata) -> bytes:
    """A ServerMetadataResponse: with those extensions that gRPC has."""
    extensions = [each for each in server.extensions if each not in HTTP_EXTENSIONS]
    return write((1, server.name), (2, server.version), (3, [*extensions, "model_configuration"]))


def encode_model(model: ModelMetadata) -> bytes:
    """A ModelMetadataResponse."""
    inputs, outputs = (list(map(_tensor, tensors)) for tensors in (model.inputs, model.outputs))
    return write((1, model.name), (2, model.versions), (3, model.platform), (4, inputs), (5, outputs))


def encode_config(model: ModelMetadata) -> bytes:
    """A ModelConfigResponse: what of Triton's configuration is known here. Shapes are whole, so that there is no
    max_batch_size."""
    inputs = [write((1, tensor.name), (2, _type(tensor)), (4, packed(tensor.shape))) for tensor in model.inputs]
    outputs = [write((1, tensor.name), (2, _type(tensor)), (3, packed(tensor.shape))) for tensor in model.outputs]
    return write((1, write((1, model.name), (2, model.platform), (5, inputs), (6, outputs))))


def encode_index(entries: Iterable[IndexEntry]) -> bytes:
    """A RepositoryIndexResponse."""
    return write((1, [write((1, each.name), (2, each.version), (3, each.state), (4, each.reason)) for each in entries]))


def encode_statistics(document: dict[str, Any]) -> bytes:
    """A ModelStatisticsResponse of the document of the statistics extension."""
    return write((1, map(_statistics, document["model_stats"])))


def _statistics(model: dict[str, Any]) -> bytes:
    tallies = write(*((place, _tally(model["inference_stats"][name])) for place, name in enumerate(_TALLIES, 1)))
    batches = (
        write((1, batch["batch_size"]), *((place, _tally(batch[name])) for place, name in enumerate(_BATCH, 2)))
        for batch in model["batch_stats"]
    )
    counts = (model["last_inference"], model["inference_count"], model["execution_count"])
    return write((1, model["name"]), (2, model["version"]), *enumerate(counts, 3), (6, tallies), (7, batches))


def _tally(tally: dict[str, int]) -> bytes:
    return write((1, tally["count"]), (2, tally["ns"]))


def _tensor(tensor: TensorMetadata) -> bytes:
    return write((1, tensor.name), (2, tensor.datatype), (3, packed(tensor.shape)))


def _type(tensor: TensorMetadata) -> int:
    return _TYPES.index(tensor.datatype) + 1
