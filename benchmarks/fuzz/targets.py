"""What reads bytes that strangers send: each takes any bytes, and lets nothing out but the error that it is to raise."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import msgspec
import numpy as np

from cloud_bridge.protocol import grpc, grpc_metadata, oip, protobuf, tensorflow
from cloud_bridge.protocol.compression import compress
from cloud_bridge.protocol.failures import decode_error
from cloud_bridge.protocol.message import CONTENT_ENCODING, HEADER_LENGTH, Limits, Message
from cloud_bridge.protocol.repository import check_order, decode_index
from cloud_bridge.protocol.topics import Address, Topics
from edge_runtime.bundles.manifest import Manifest
from edge_runtime.bundles.manifest import decode as decode_manifest
from edge_runtime.errors import InputError, ManifestError, ProtocolError
from edge_runtime.remote import Call
from edge_runtime.signature import Signature, TensorSpec

LIMITS = Limits(body=1 << 20, json=1 << 20, elements=1 << 16)
SIGNATURE = Signature((TensorSpec("x", "float32", ("N", 2)),), (TensorSpec("y", "float32", ("N", 2)),))

Target = Callable[[bytes], object]

_CODINGS = ("", "gzip", "deflate", "zstd")


def _message(data: bytes) -> Message:
    """The first three bytes choose the headers, the rest is the body."""
    head, body = data[:3].ljust(3, b"\0"), data[3:]
    headers = {} if head[0] & 1 else {HEADER_LENGTH: str(head[1] << 8 | head[2])}
    if coding := _CODINGS[head[0] >> 1 & 3]:
        headers[CONTENT_ENCODING] = coding
    return Message(body, headers)


def request(data: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        oip.decode_request(_message(data), LIMITS, SIGNATURE)


def reply(data: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        oip.decode_reply(_message(data), LIMITS)


def predict(data: bytes) -> None:
    with contextlib.suppress(ProtocolError, InputError):
        tensorflow.decode_request(_message(data), LIMITS, SIGNATURE)


def calls(data: bytes) -> None:
    """Over gRPC."""
    message = Message(data)
    for read in (
        lambda: grpc.decode_request(message, LIMITS),
        lambda: grpc.is_quick(message),
        lambda: grpc.decode_named(data),
        lambda: grpc_metadata.decode_index(data),
        lambda: grpc_metadata.decode_order(data),
    ):
        with contextlib.suppress(ProtocolError):
            read()


def documents(data: bytes) -> None:
    for read in (
        decode_index,
        check_order,
        lambda body: oip.decode_metadata(Message(body), oip.ServerMetadata),
        lambda body: oip.decode_metadata(Message(body), oip.ModelMetadata),
        lambda body: decode_error(503, Message(body)),
    ):
        with contextlib.suppress(ProtocolError):
            read(data)


def manifest(data: bytes) -> Manifest | None:
    with contextlib.suppress(ManifestError):
        return decode_manifest(data)
    return None


def topics(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    with contextlib.suppress(InputError):
        Address.parse(text)
    for parse in (Topics("a/b").parse_request, Topics("a/b").parse_cancel):
        with contextlib.suppress(ProtocolError):
            parse(text)


TARGETS: dict[str, Target] = {
    "request": request,
    "reply": reply,
    "predict": predict,
    "calls": calls,
    "documents": documents,
    "manifest": manifest,
    "topics": topics,
}


def seeds(target: str) -> Iterator[bytes]:
    """Good input to begin with."""
    call = Call("m", {"x": np.ones((2, 2), np.float32), "s": np.array([b"ab", b""], object)})
    answer = oip.InferResponse("m", dict(call.inputs), "1", "e", "CPU", "v", 0.1)
    plain = oip.encode_request(call, binary=False)
    if target == "request":
        yield _data(oip.encode_request(call, request_id="1"))
        yield _data(plain)
        yield from (_data(compress(plain, coding)) for coding in _CODINGS[1:])
    elif target == "reply":
        yield from (_data(oip.encode_response(answer, oip.InferRequest({}, binary=binary))) for binary in (True, False))
    elif target == "predict":
        yield _data(Message(b'{"instances": [[1, 2], [3, 4]]}'))
        yield _data(Message(b'{"signature_name": "serving_default", "inputs": {"x": [[1, 2]]}}'))
        yield _data(Message(b'{"instances": [{"x": [1.5, 2]}, {"x": {"b64": "aGk="}}]}'))
    elif target == "calls":
        tensor = protobuf.write((1, "x"), (2, "FP32"), (3, protobuf.packed((1, 2))))
        timeout = protobuf.write((1, "timeout"), (2, protobuf.write((2, 5))))
        head = ((1, "m"), (2, "1.0"), (3, "7"), (4, timeout))
        yield protobuf.write(*head, (5, tensor), (6, protobuf.write((1, "y"))), (7, bytes(8)))
        yield protobuf.write(*head, (5, tensor + protobuf.write((5, protobuf.write((6, bytes(8)))))))
        integers = protobuf.write((1, "x"), (2, "INT8"), (3, protobuf.packed((2,))), (5, protobuf.write((2, b"\1\2"))))
        yield protobuf.write(*head, (5, integers))
    elif target == "documents":
        yield b'{"ready": true, "parameters": {"unload_dependents": true}, "error": "x"}'
        yield bytes(oip.encode_metadata(oip.describe("m", ("1",), "p", SIGNATURE)).body)
    elif target == "manifest":
        about = {"schema": 1, "name": "m", "version": "1.0", "task": "t", "variants": []}
        yield msgspec.json.encode({**about, "signature": SIGNATURE})
    else:
        yield b"mqtts://user:word@host:8883/a/b?thing=x&ca=/y"
        yield b"a/b/infer/m/thing"


def _data(message: Message) -> bytes:
    """The bytes that `_message` makes this of."""
    length = message.headers.get(HEADER_LENGTH)
    flags = (length is None) | _CODINGS.index(message.headers.get(CONTENT_ENCODING, "")) << 1
    return bytes((flags, *divmod(int(length or 0), 256))) + bytes(message.body)
