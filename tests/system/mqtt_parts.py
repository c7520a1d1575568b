"""What the tests of MQTT share: both brokers, a store with one small real model, a worker as a process, a stranger."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from cloud_bridge import broker
from cloud_bridge.endpoint.jobs import Answer
from cloud_bridge.endpoint.room import Room
from cloud_bridge.protocol.message import Message
from edge_runtime.bundles.manifest import MANIFEST, Manifest, Variant, encode
from edge_runtime.bundles.store import Store
from edge_runtime.remote import Call
from edge_runtime.signature import Signature, TensorSpec
from tests.bundles import file_of
from tests.endpoint import eventually

WAIT = 30.0
"""Seconds after which something that ought to happen counts as not happening."""


def soon(seconds: float = WAIT) -> float:
    """A deadline."""
    return time.monotonic() + seconds


def need(kind: broker.Kind) -> broker.Kind:
    """Skip, or fail in CI, where a broker is not installed."""
    if not broker.find(kind):
        if os.environ.get("CI"):
            pytest.fail(f"{kind} is not installed, and CI must have it")
        pytest.skip(f"{kind} is not installed here")
    return kind


def make_store(folder: Path) -> Path:
    """A store with the model `double`, y = 2 x for x of float32 [N, M]."""
    node = helper.make_node("Add", ["x", "x"], ["y"])
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", "M"]) for name in "xy")
    graph = helper.make_graph([node], "double", [x], [y])
    data = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()
    onnx.checker.check_model(data)
    source = folder / "source"
    source.mkdir(parents=True)
    (source / "model.onnx").write_bytes(data)
    manifest = Manifest(
        name="double",
        version="1.2",
        task="test",
        signature=Signature(
            inputs=(TensorSpec("x", "float32", ("N", "M")),), outputs=(TensorSpec("y", "float32", ("N", "M")),)
        ),
        variants=(Variant("fp32-onnx", "onnx", "fp32", (file_of("model.onnx", data),)),),
        sizes={"N": 1, "M": 2},
    )
    (source / MANIFEST).write_bytes(encode(manifest))
    Store(folder / "store", create=True).install(source)
    return folder / "store"


def call(elements: int = 4) -> Call:
    """A call of `double` with so many elements."""
    return Call("double", {"x": np.arange(elements, dtype=np.float32).reshape(1, -1)})


@contextmanager
def worker_process(store: Path, url: str) -> Iterator[subprocess.Popen[str]]:
    """`cloud-bridge serve` on this broker, ready; killed at the end."""
    program = "import sys; from cloud_bridge.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", program, "serve", str(store), "--mqtt", url, "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert json.loads(process.stdout.readline())["mqtt"]
            yield process
        finally:
            process.send_signal(signal.SIGKILL)


class HeldService:
    """A service whose answers the test gives."""

    def __init__(self, held: int = 1 << 30) -> None:
        self.room = Room(held)
        self.asked: queue.Queue[tuple[str, str | None, Message, Future[Answer]]] = queue.Queue()

    def submit(self, model: str, version: str | None, message: Message, *, received: float) -> Future[Answer]:
        future: Future[Answer] = Future()
        self.asked.put((model, version, message, future))
        return future


class Heard(NamedTuple):
    """A message, taken apart."""

    topic: str
    payload: bytes
    qos: int
    told: dict[str, str]
    correlation: bytes | None
    reply_to: str | None
    expiry: int | None
    content_type: str | None


class Stranger:
    """A client of somebody else's on the same broker, which says what it likes."""

    def __init__(self, running: broker.Broker, *filters: str) -> None:
        self.heard: queue.Queue[MQTTMessage] = queue.Queue()
        subscribed: queue.Queue[object] = queue.Queue()
        self._client = Client(CallbackAPIVersion.VERSION2, "stranger", protocol=MQTTProtocolVersion.MQTTv5)
        self._client.on_message = lambda client, data, message: self.heard.put(message)
        self._client.on_subscribe = lambda client, data, mid, reasons, properties: subscribed.put(reasons)
        self._client.connect(running.host, running.port, keepalive=30)
        self._client.loop_start()
        eventually(self._client.is_connected, "the stranger is not connected")
        if filters:
            self._client.subscribe([(each, 0) for each in filters])
            subscribed.get(timeout=WAIT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def say(self, topic: str, payload: bytes, **properties: Any) -> None:
        """Publish with these MQTT 5 properties."""
        told = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        for name, value in properties.items():
            setattr(told, name, value)
        self._client.publish(topic, payload, properties=told)

    def hear(self) -> Heard:
        """The next message."""
        message = self.heard.get(timeout=WAIT)
        told: dict[str, Any] = vars(message.properties)
        return Heard(
            message.topic,
            bytes(message.payload),
            message.qos,
            dict(told.get("UserProperty", ())),
            told.get("CorrelationData"),
            told.get("ResponseTopic"),
            told.get("MessageExpiryInterval"),
            told.get("ContentType"),
        )
