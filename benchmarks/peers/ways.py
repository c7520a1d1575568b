"""The ways to ask a server: one question through the clients that its users have, and loads by a client that takes little
of the processor. A request of a load was written before; each way sends one sentence."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Protocol, TypeAlias
from urllib.parse import urlsplit

import numpy as np
import tritonclient.grpc
import tritonclient.http

from benchmarks.endpoint.bare import Asked, Loaded, Order
from benchmarks.endpoint.load import closed, ordered
from benchmarks.endpoint.minilm import MODEL, sentences
from cloud_bridge.client import connect
from cloud_bridge.protocol import oip
from cloud_bridge.protocol.message import Message
from edge_runtime.remote import Call
from edge_runtime.values import Array, Tensors

AMPLE = 60.0
OUTPUT = "pieces"

Ask: TypeAlias = Callable[[Tensors], Array]
"""One question, its answer."""


class Way(Protocol):
    """A way to ask a server."""

    @property
    def name(self) -> str:
        """In words."""

    @property
    def clients(self) -> Mapping[str, Ask]:
        """The ways to ask one question, by who offers them."""

    def load(self, clients: int, seconds: float) -> Loaded:
        """Ask again and again: each client when it has its answer."""


class Http:
    """The Open Inference Protocol over HTTP: with binary tensors, or all in JSON."""

    def __init__(self, url: str, *, binary: bool = True) -> None:
        self.name = "HTTP, binary" if binary else "HTTP, JSON"
        self.clients = {"tritonclient": self._tritonclient, "cloud_bridge.client": self._bridge}
        self._url, self._binary = url, binary

    def load(self, clients: int, seconds: float) -> Loaded:
        message = oip.encode_request(Call(MODEL, sentences(1)), binary=self._binary)
        return closed(f"{self._url}/v2/models/{MODEL}/infer", message, clients=clients, seconds=seconds)

    def _tritonclient(self, inputs: Tensors) -> Array:
        api = tritonclient.http
        with api.InferenceServerClient(urlsplit(self._url).netloc, network_timeout=AMPLE) as client:
            given = [api.InferInput(name, array.shape, "INT64") for name, array in inputs.items()]
            for tensor, array in zip(given, inputs.values(), strict=True):
                tensor.set_data_from_numpy(array, binary_data=self._binary)
            wanted = [api.InferRequestedOutput(OUTPUT, binary_data=self._binary)]
            return np.asarray(client.infer(MODEL, given, outputs=wanted).as_numpy(OUTPUT))

    def _bridge(self, inputs: Tensors) -> Array:
        with closing(connect(self._url)) as remote:
            call = remote.send(Call(MODEL, inputs), deadline=time.monotonic() + AMPLE)
            return call.result(AMPLE).outputs[OUTPUT]


class Grpc:
    """The Open Inference Protocol over gRPC, with raw tensors."""

    name = "gRPC, raw"

    def __init__(self, address: str) -> None:
        self.clients = {"tritonclient": self._tritonclient}
        self._address = address

    def load(self, clients: int, seconds: float) -> Loaded:
        api = tritonclient.grpc.service_pb2
        inputs = sentences(1)
        given = [
            api.ModelInferRequest.InferInputTensor(name=name, datatype="INT64", shape=array.shape)
            for name, array in inputs.items()
        ]
        raw = [array.tobytes() for array in inputs.values()]
        request = api.ModelInferRequest(model_name=MODEL, inputs=given, raw_input_contents=raw)
        order = Order(self._address, Asked({}, request.SerializeToString()), seconds, clients)
        return ordered(order, "benchmarks.peers.bare_grpc")

    def _tritonclient(self, inputs: Tensors) -> Array:
        api = tritonclient.grpc
        with api.InferenceServerClient(self._address) as client:
            given = [api.InferInput(name, array.shape, "INT64") for name, array in inputs.items()]
            for tensor, array in zip(given, inputs.values(), strict=True):
                tensor.set_data_from_numpy(array)
            return np.asarray(client.infer(MODEL, given, client_timeout=AMPLE).as_numpy(OUTPUT))


class Raw:
    """Bytes of the tensors, where the protocol is the user's own."""

    name = "HTTP, bytes"

    def __init__(self, url: str) -> None:
        self.clients = {"http.client": self._ask}
        self._url = url

    def load(self, clients: int, seconds: float) -> Loaded:
        return closed(self._url, Message(self._body(sentences(1))), clients=clients, seconds=seconds)

    def _ask(self, inputs: Tensors) -> Array:
        parts = urlsplit(self._url)
        with closing(http.client.HTTPConnection(parts.netloc, timeout=AMPLE)) as connection:
            connection.request("POST", parts.path, self._body(inputs))
            answer = connection.getresponse().read()
        return np.frombuffer(answer, np.float32).reshape(*inputs["ids"].shape, -1)

    def _body(self, inputs: Tensors) -> bytes:
        return b"".join(array.tobytes() for array in inputs.values())
