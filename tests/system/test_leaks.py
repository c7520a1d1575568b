"""What is opened and closed again and again leaves nothing behind: no thread, no file, no memory."""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.tiny import SHAPE, tiny_bundle
from cloud_bridge import broker
from cloud_bridge.client import connect
from cloud_bridge.endpoint.service import Service
from edge_runtime import Runtime
from edge_runtime.bundles.bundle import Bundle
from edge_runtime.bundles.store import Store
from tests.endpoint import endpoint, eventually

ROUNDS = 100
AMPLE = 60.0
SLACK = 24 << 20
"""Bytes by which memory may grow: less than a hundred of anything that holds an engine's session."""
X = {"x": np.zeros(SHAPE, np.float32)}

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it looks into /proc")


def resident() -> int:
    """Bytes of this process that lie in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def files() -> int:
    """Files and sockets that this process has open."""
    return len(os.listdir("/proc/self/fd"))


def leaves_nothing(turn: Callable[[], object], rounds: int = ROUNDS) -> None:
    """Repeat it, and hold what the process has then against what it had after the first few. What is closed is closed
    then, not when the garbage collector comes."""
    for _ in range(5):
        turn()
    gc.collect()
    threads, opened, memory = threading.active_count(), files(), resident()
    gc.disable()
    try:
        for _ in range(rounds):
            turn()
        eventually(lambda: threading.active_count() <= threads, "threads are left")
        eventually(lambda: files() <= opened, "files are left open")
    finally:
        gc.enable()
    gc.collect()
    assert resident() - memory < SLACK


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("tiny") / "bundle", partner="tiny")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, bundle: Bundle) -> Store:
    store = Store(tmp_path_factory.mktemp("leaks") / "store", create=True)
    store.install(bundle.folder)
    return store


@pytest.fixture(scope="module", params=["http", "mqtt"])
def url(request: pytest.FixtureRequest, store: Store) -> Iterator[str]:
    """A cloud over each transport."""
    if request.param == "http":
        with endpoint(store.path) as running:
            yield running.url
    else:
        with broker.start() as running_broker, endpoint(store.path, http=None, mqtt=running_broker.url):
            yield running_broker.url


@pytest.mark.parametrize("device", ["onnx", "openvino", "tflite"])
def test_a_runtime_on_each_engine(bundle: Bundle, device: str) -> None:
    """Opened, asked on the caller's thread and on its own, closed."""

    def turn() -> None:
        with Runtime(None, device=device) as runtime:
            model = runtime.open(bundle)
            assert model.infer(X, budget=AMPLE).target == "local"
            assert model.submit(X).result(AMPLE).target == "local"

    leaves_nothing(turn)


def test_a_runtime_with_a_cloud(bundle: Bundle, url: str) -> None:
    """Connected, asked, closed."""

    def turn() -> None:
        with Runtime(None, cloud=url, device="onnx") as runtime:
            assert runtime.remotes[0].health(AMPLE)
            runtime.open(bundle).infer(X, budget=AMPLE)

    leaves_nothing(turn)


def test_a_cloud_that_is_not_there() -> None:
    """Given up while it connects."""

    def turn() -> None:
        for url in ("http://127.0.0.1:9", "mqtt://127.0.0.1:9"):
            remote = connect(url)
            assert not remote.health(0.001)
            remote.close()

    leaves_nothing(turn, rounds=20)


def test_a_service(store: Store) -> None:
    """The endpoint's core, with its models."""

    def turn() -> None:
        service = Service(store)
        assert service.preload() == ("tiny",)
        service.close()

    leaves_nothing(turn)


def test_many_calls_of_one_model(bundle: Bundle) -> None:
    """A device infers for months."""
    with Runtime(None, device="onnx") as runtime:
        model = runtime.open(bundle)
        leaves_nothing(lambda: [model.infer(X, budget=AMPLE) for _ in range(300)])
