"""A budget is kept whatever happens to the cloud: a real endpoint and a real broker, stopped and killed for real.

The model takes microseconds and the budget is 2 s, so that only waiting for a cloud that is not there could miss it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.tiny import SHAPE, tiny_bundle
from cloud_bridge import broker
from edge_runtime import Model, Policy, Result, Runtime
from edge_runtime.bundles.store import Bundle, Store
from edge_runtime.errors import BudgetError
from tests.onnx_store import write_store

BUDGET = 2.0
PATIENCE = 20.0
"""Seconds that a change may take to be noticed on a machine that does other things too."""
X = {"x": np.zeros(SHAPE, np.float32)}


class Endpoint:
    """`cloud-bridge serve` as a process, over one transport."""

    def __init__(self, store: Path, transport: str, mqtt: broker.Broker) -> None:
        where = ["--http", ":0"] if transport == "http" else ["--mqtt", f"{mqtt.url}/test"]
        command = [sys.executable, "-m", "cloud_bridge.cli", "serve", str(store), *where, "--json"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        ready = json.loads(self.process.stdout.readline())
        self.url = ready["http"] if transport == "http" else f"{mqtt.url}/test"

    def close(self) -> None:
        """End it, stopped or not."""
        if self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGCONT)
            self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("tiny") / "bundle", partner="tiny")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, bundle: Bundle) -> Path:
    """The endpoint's store."""
    store = Store(tmp_path_factory.mktemp("served") / "store", create=True)
    store.install(bundle.folder)
    return store.path


@pytest.fixture
def mqtt() -> Iterator[broker.Broker]:
    with broker.start() as started:
        yield started


@pytest.fixture(params=["http", "mqtt"])
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def endpoint(served: Path, transport: str, mqtt: broker.Broker) -> Iterator[Endpoint]:
    started = Endpoint(served, transport, mqtt)
    yield started
    started.close()


@pytest.fixture
def model(endpoint: Endpoint, bundle: Bundle) -> Iterator[Model]:
    """The device's model, once the cloud answers for it."""
    with Runtime(None, cloud=endpoint.url, policy=Policy(backoff=0.2, longest_backoff=0.4)) as runtime:
        model = runtime.open(bundle)
        until(model, "cloud")
        yield model


def until(model: Model, target: str) -> Result:
    """Ask until this target answers; every answer on the way is right and in time."""
    deadline = time.monotonic() + PATIENCE
    while True:
        result = ask(model)
        if result.target == target:
            return result
        assert time.monotonic() < deadline, result.reason
        time.sleep(0.01)


def ask(model: Model) -> Result:
    result = model.infer(X, budget=BUDGET)
    assert result.met, result.reason
    assert result.outputs["y"].tolist() == np.ones(SHAPE).tolist()
    return result


def test_a_live_cloud_answers(model: Model) -> None:
    """And says what ran the model there."""
    result = ask(model)
    assert result.target == "cloud"
    assert result.engine.startswith("onnxruntime")
    assert (result.device, result.variant) == ("CPU", "fp32-onnx")


def test_a_stalled_endpoint_never_costs_more_than_the_budget(model: Model, endpoint: Endpoint) -> None:
    """SIGSTOP: the connection stands and nothing comes. When it goes on, it is asked again."""
    os.kill(endpoint.process.pid, signal.SIGSTOP)
    for _ in range(3):
        assert ask(model).target == "local"
    os.kill(endpoint.process.pid, signal.SIGCONT)
    until(model, "cloud")


def test_a_killed_endpoint_is_noticed_and_its_return_too(
    model: Model, endpoint: Endpoint, served: Path, transport: str, mqtt: broker.Broker
) -> None:
    """SIGKILL, and a new one at the same place."""
    endpoint.process.kill()
    endpoint.process.wait()
    for _ in range(3):
        assert ask(model).target == "local"
    if transport == "mqtt":  # over HTTP a new endpoint has a new port
        again = Endpoint(served, transport, mqtt)
        try:
            until(model, "cloud")
        finally:
            again.close()


@pytest.mark.parametrize("transport", ["mqtt"])
def test_a_killed_broker_is_noticed(model: Model, mqtt: broker.Broker) -> None:
    """The connection is gone, so no call waits for it."""
    mqtt.kill()
    until(model, "local")
    for _ in range(3):
        assert ask(model).target == "local"


@pytest.mark.parametrize("transport", ["mqtt"])
def test_a_broker_that_hangs_never_costs_more_than_the_budget(model: Model, mqtt: broker.Broker) -> None:
    """SIGSTOP: it takes the bytes and passes nothing on."""
    os.kill(mqtt.pid, signal.SIGSTOP)
    try:
        for _ in range(3):
            assert ask(model).target == "local"
    finally:
        os.kill(mqtt.pid, signal.SIGCONT)
    until(model, "cloud")


def test_a_cloud_without_the_model_refuses_and_the_device_answers(endpoint: Endpoint, tmp_path: Path) -> None:
    """404 over either transport, told in the reason."""
    bundle = tiny_bundle(tmp_path / "other", partner="nobody_has_this")
    with Runtime(None, cloud=endpoint.url) as runtime:
        model = runtime.open(bundle)
        assert runtime.remotes[0].health(PATIENCE)
        result = ask(model)
        assert result.target == "local"
        assert "RefusedError" in result.reason
        assert "nobody_has_this" in result.reason


def test_a_partner_of_another_signature_refuses_and_the_device_answers(
    transport: str, mqtt: broker.Broker, tmp_path: Path
) -> None:
    """The model there takes two numbers a row, not ten: told in the reason, each time it is tried."""
    other = Endpoint(write_store(tmp_path / "others").path, transport, mqtt)
    try:
        with Runtime(None, cloud=other.url) as runtime:
            model = runtime.open(tiny_bundle(tmp_path / "tiny", partner="double"))
            assert runtime.remotes[0].health(PATIENCE)
            result = ask(model)
            assert result.target == "local"
            assert "RefusedError" in result.reason
            assert "shape" in result.reason
    finally:
        other.close()


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "mqtt://127.0.0.1:9/test", "http://no-such-host.invalid"])
def test_a_cloud_that_was_never_there_costs_nothing(url: str, bundle: Bundle) -> None:
    """From the first call on."""
    with Runtime(None, cloud=url) as runtime:
        model = runtime.open(bundle)
        for _ in range(3):
            assert ask(model).target == "local"


def test_without_a_local_variant_a_dead_cloud_is_told_by_the_deadline(bundle: Bundle) -> None:
    """A BudgetError that names what was tried."""
    from msgspec.structs import replace

    elsewhere = Bundle(replace(bundle.manifest, variants=()), bundle.folder)
    with Runtime(None, cloud="http://127.0.0.1:9") as runtime:
        model = runtime.open(elsewhere)
        started = time.monotonic()
        with pytest.raises(BudgetError, match="no answer"):
            model.infer(X, budget=BUDGET)
        assert time.monotonic() - started < BUDGET + PATIENCE
