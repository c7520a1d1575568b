"""An agent in an application's own process: two lines, and the fleet rules the runtime beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import msgspec
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from benchmarks.tiny import SHAPE, tiny_bundle
from cloud_bridge import broker
from cloud_bridge.agent.agent import Agent
from cloud_bridge.broker import Broker
from cloud_bridge.protocol.fleet.commands import Activate
from cloud_bridge.signing import generate
from edge_runtime import Runtime
from edge_runtime.bundles import archive
from edge_runtime.bundles.manifest import MANIFEST, encode
from edge_runtime.bundles.store import Store
from edge_runtime.errors import BundleError, InputError, RunError
from edge_runtime.routing.policy import Policy
from tests.endpoint import eventually
from tests.system.agent_parts import THING, Controller, Operator
from tests.system.mqtt_parts import WAIT, need

X = {"x": np.zeros(SHAPE, np.float32)}


@pytest.fixture(scope="module")
def running() -> Iterator[Broker]:
    """A broker."""
    with broker.start(kind=need("mosquitto")) as started:
        yield started


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A device's store, with version 1.0 active and 1.1 installed."""
    made = Store(tmp_path / "store", create=True)
    made.install(tiny_bundle(tmp_path / "1.0", version="1.0", adds=1.0).folder)
    made.install(tiny_bundle(tmp_path / "1.1", version="1.1", adds=1.0).folder, activate=False)
    return made.path


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """Whom the device obeys."""
    generate(tmp_path / "operator")
    return tmp_path / "operator.pub"


def test_the_shadow_rules_the_runtime_beside_it(running: Broker, store: Path, key: Path) -> None:
    """Its budgets, its policy, and the version that answers; a runtime of another process finds what was kept."""
    own = Policy(quantile=0.9)
    with Controller(running) as controller, Runtime(store, cloud=running.url, policy=own, device="onnx") as runtime:
        with Agent(running.url, store=store, thing=THING, keys=[key], runtime=runtime, device="onnx"):
            controller.is_there("ready")
            assert runtime.policy == own  # nobody desires another one
            controller.desire("config", {"budgets": {"tiny": 20.0}, "policy": {"quantile": 0.75}})
            controller.desire("models", {"active": {"tiny": "1.1"}})
            eventually(lambda: runtime.policy == Policy(quantile=0.75), "the policy is as it was", WAIT)
            eventually(lambda: runtime.model("tiny").manifest.version == "1.1", "the version is as it was", WAIT)
            assert runtime.model("tiny").infer(X).budget == 20.0
        controller.is_there("disconnected")
        controller.mute = True
        with (
            Runtime(store, device="onnx") as later,
            Agent(running.url, store=store, thing=THING, keys=[key], runtime=later),
        ):
            assert later.model("tiny").infer(X).budget == 20.0


def picky_bundle(folder: Path, version: str) -> Path:
    """y = x + 1 as far as the golden samples go; of any number over 9 the engine makes an error."""
    made = tiny_bundle(folder, version=version, adds=1.0).manifest
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, SHAPE) for name in ("x", "y")]
    ones = numpy_helper.from_array(np.ones(10, np.float32), "ones")
    nodes = [
        helper.make_node("Cast", ["x"], ["places"], to=TensorProto.INT64),
        helper.make_node("Gather", ["ones", "places"], ["one"]),
        helper.make_node("Add", ["x", "one"], ["y"]),
    ]
    graph = helper.make_graph(nodes, "picky", ends[:1], ends[1:], [ones])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    (folder / "add.onnx").write_bytes(model.SerializeToString())
    variant = msgspec.structs.replace(made.variants[0], files=(archive.file_of(folder, "add.onnx"),))
    (folder / MANIFEST).write_bytes(encode(msgspec.structs.replace(made, variants=(variant,))))
    return folder


@contextmanager
def asking(runtime: Runtime, number: float) -> Iterator[Counter[str]]:
    """An application that asks its model over and over, and counts what becomes of it, by version."""
    ended, counted = Event(), Counter[str]()

    def ask() -> None:
        while not ended.wait(0.005):
            model = runtime.model("tiny")
            try:
                model.infer({"x": np.full(SHAPE, number, np.float32)})
                counted[f"{model.manifest.version} answered"] += 1
            except RunError:
                counted[f"{model.manifest.version} failed"] += 1

    thread = Thread(target=ask)
    thread.start()
    try:
        yield counted
    finally:
        ended.set()
        thread.join()


def test_a_version_whose_calls_fail_goes_back(running: Broker, store: Path, tmp_path: Path) -> None:
    """The runtime beside the agent counts them: nobody has to tell. The same version stays where its calls do not fail."""
    (tmp_path / "operator").mkdir()
    operator = Operator(tmp_path / "operator")
    Store(store).install(picky_bundle(tmp_path / "2.0", "2.0"), activate=False)
    with (
        Controller(running) as controller,
        Runtime(store, device="onnx") as runtime,
        Agent(running.url, store=store, thing=THING, keys=[operator.public], runtime=runtime, device="onnx"),
    ):
        controller.is_there("ready")
        with asking(runtime, 100.0) as counted:
            controller.order(operator.job("bad", Activate(model="tiny", version="2.0", soak=600.0)), "bad")
            bad = controller.ended("bad")
            eventually(lambda: runtime.model("tiny").manifest.version == "1.0", "the version did not go back", WAIT)
        assert (bad.status, bad.status_details["active"]) == ("FAILED", "1.0")
        assert "calls failed, and 0 of them may; the last one: RunError" in bad.status_details["reason"]
        assert counted["2.0 failed"] > 0
        assert counted["1.0 answered"] > 0
        with asking(runtime, 3.0) as counted:
            controller.order(operator.job("good", Activate(model="tiny", version="2.0", soak=1.0)), "good")
            assert controller.ended("good").status == "SUCCEEDED"
        assert counted["2.0 answered"] > 0
        assert runtime.model("tiny").tally is None


def test_one_agent_at_a_time_has_the_journal(running: Broker, store: Path, key: Path) -> None:
    """The second is told so, and the first goes on."""
    with (
        Agent(running.url, store=store, thing=THING, keys=[key]),
        pytest.raises(InputError, match="another agent has it open"),
    ):
        Agent(running.url, store=store, thing=THING, keys=[key])
    Agent(running.url, store=store, thing=THING, keys=[key]).close()


def test_what_cannot_be_used_is_told_before_anything_begins(store: Path, key: Path, tmp_path: Path) -> None:
    """Each with what to write instead."""
    url = "mqtt://127.0.0.1:9"
    for wrong, reason in (
        ({"thing": "a/b"}, "A-Z"), ({"groups": ["+"]}, "A-Z"),
        ({"groups": [f"g{n}" for n in range(65)]}, "65 groups"), ({"telemetry": 0.0}, "1 or more"),
        ({"keep": 0}, "1 or more"), ({"fetch_limit": 0.0}, "more than none"),
        ({"threshold": 2}, "1 to 1"), ({"keys": []}, "1 to 0"),
        ({"keys": [tmp_path / "none"]}, "cannot be read"), ({"keys": [store]}, "no public key"),
        ({"artifacts": "http://127.0.0.1:9"}, "root.json"),
        ({"artifacts": "http://127.0.0.1:9", "root_metadata": tmp_path / "none"}, "cannot be read"),
        ({"state": key}, "cannot be made"),
    ):  # fmt: skip
        given = {"store": store, "thing": THING, "keys": [key]} | wrong
        with pytest.raises(InputError, match=reason):
            Agent(url, **given)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no URL"):
        Agent("https://broker", store=store, thing=THING, keys=[key])
    with pytest.raises(BundleError, match="no store"):
        Agent(url, store=tmp_path / "nowhere", thing=THING, keys=[key])


def test_an_agent_without_a_broker_waits_for_one(store: Path, key: Path) -> None:
    """And ends at once when it is to."""
    with Agent("mqtt://127.0.0.1:9", store=store, thing=THING, keys=[key]) as agent:
        assert agent.config.budgets == {}
