"""What a server and a model say of themselves."""

from __future__ import annotations

from typing import TypeVar

import msgspec
import numpy as np

from cloud_bridge.protocol.message import CONTENT_TYPE, JSON, Message
from cloud_bridge.protocol.tensors import datatype
from edge_runtime.errors import ProtocolError
from edge_runtime.reading import decoder
from edge_runtime.signature import Signature, TensorSpec

BINARY_EXTENSION = "binary_tensor_data"
PROBE_EXTENSION = "edge_probe"
"""`POST v2/health/probe` takes a body of any content, reads it to the end, and answers without outputs."""

CHUNKS_EXTENSION = "edge_chunks"
"""A body may come in chunks (RFC 9112), and end early when its answer is not wanted any more: the connection stays."""

HTTP_EXTENSIONS = frozenset({BINARY_EXTENSION, PROBE_EXTENSION, CHUNKS_EXTENSION})
"""Those that say how a message may come over HTTP."""


class ServerMetadata(msgspec.Struct, frozen=True):
    """Who answers, and which extensions of the protocol it speaks."""

    name: str
    version: str = ""
    extensions: tuple[str, ...] = ()


class TensorMetadata(msgspec.Struct, frozen=True):
    """One tensor: a dimension of -1 differs from call to call."""

    name: str
    datatype: str
    shape: tuple[int, ...]


class ModelMetadata(msgspec.Struct, frozen=True, omit_defaults=True):
    """A model's tensors and the versions that can be asked for."""

    name: str
    versions: tuple[str, ...] = ()
    platform: str = ""
    inputs: tuple[TensorMetadata, ...] = ()
    outputs: tuple[TensorMetadata, ...] = ()


Document = TypeVar("Document", ServerMetadata, ModelMetadata)


def describe(name: str, versions: tuple[str, ...], platform: str, signature: Signature) -> ModelMetadata:
    """A signature in the protocol's words."""
    inputs = tuple(_tensor(spec) for spec in signature.inputs)
    return ModelMetadata(name, versions, platform, inputs, tuple(_tensor(spec) for spec in signature.outputs))


def encode_metadata(document: ServerMetadata | ModelMetadata) -> Message:
    """The document as a message."""
    return Message(msgspec.json.encode(document), {CONTENT_TYPE: JSON})


def decode_metadata(message: Message, kind: type[Document]) -> Document:
    """The document in a message. Fields that are not known are passed over. Raises ProtocolError."""
    try:
        return decoder(kind).decode(message.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(
            f"the metadata is not that of a {kind.__name__.removesuffix('Metadata').lower()}: {error}"
        ) from error


def _tensor(spec: TensorSpec) -> TensorMetadata:
    shape = tuple(size if isinstance(size, int) else -1 for size in spec.shape)
    return TensorMetadata(spec.name, datatype(np.dtype(spec.dtype)), shape)
