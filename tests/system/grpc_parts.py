"""What the tests of the gRPC face share: requests in bytes, and a client that sends them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from grpc import StatusCode

from edge_runtime.values import Array

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from tritonclient.grpc import service_pb2 as pb

__all__ = ["AMPLE", "METHODS", "Client", "answer", "call", "double", "patience", "pb"]

AMPLE = 30.0
METHODS = "/inference.GRPCInferenceService/"


def call(model: str, name: str, array: Array, datatype: str, request_id: str = "") -> bytes:
    """A ModelInferRequest."""
    request = pb.ModelInferRequest(model_name=model, id=request_id, raw_input_contents=[array.tobytes()])
    request.inputs.add(name=name, datatype=datatype, shape=array.shape)
    return bytes(request.SerializeToString())


def double(request_id: str = "") -> bytes:
    return call("double", "x", np.ones((1, 2), np.float32), "FP32", request_id)


def patience(turns: int) -> bytes:
    return call("patience", "turns", np.array(turns), "INT64")


def answer(body: bytes) -> list[float]:
    """What a ModelInferResponse holds."""
    found: list[float] = np.frombuffer(pb.ModelInferResponse.FromString(body).raw_output_contents[0], np.float32).tolist()
    return found


class Client:
    """A channel, and its methods."""

    def __init__(self, address: str, credentials: grpc.ChannelCredentials | None = None, key: str | None = None) -> None:
        options = (("grpc.max_send_message_length", -1),)
        self.channel: Any
        if credentials is None:
            self.channel = grpc.insecure_channel(address, options)
        else:
            self.channel = grpc.secure_channel(address, credentials, options)
        self._metadata = () if key is None else (("authorization", f"Bearer {key}"),)

    def ask(self, method: str, body: bytes = b"", **options: Any) -> bytes:
        options = {"metadata": self._metadata, "timeout": AMPLE, **options}
        found: bytes = self.channel.unary_unary(METHODS + method)(body, **options)
        return found

    def infer(self, body: bytes, **options: Any) -> Any:
        """A call under way."""
        return self.channel.unary_unary(METHODS + "ModelInfer").future(body, **options)

    def stream(self, requests: Iterator[bytes]) -> Any:
        return self.channel.stream_stream(METHODS + "ModelStreamInfer")(requests)

    def refused(self, method: str, body: bytes = b"", **options: Any) -> tuple[StatusCode, str, dict[str, str]]:
        with pytest.raises(grpc.RpcError) as caught:
            self.ask(method, body, **options)
        error: Any = caught.value
        return error.code(), error.details(), dict(error.trailing_metadata())

    def close(self) -> None:
        self.channel.close()
