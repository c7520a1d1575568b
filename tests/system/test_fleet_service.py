"""Controllers on a real broker: real agents obey them, and what dies is taken over."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from benchmarks.tiny import tiny_bundle
from cloud_bridge import broker
from cloud_bridge.broker import Broker
from cloud_bridge.fleet.controller import order
from cloud_bridge.fleet.registry import Job, Registry
from cloud_bridge.fleet.spec import Group, Rollout
from cloud_bridge.protocol.fleet.commands import Benchmark, Command
from edge_runtime.bundles.store import Store
from tests.endpoint import eventually
from tests.system.agent_parts import Operator, deploy, device
from tests.system.artifact_parts import serving
from tests.system.mqtt_parts import need
from tests.system.postgresql_parts import schema

WAIT = 60.0


@pytest.fixture
def running() -> Iterator[Broker]:
    """A broker of this test's own."""
    with broker.start(kind=need("mosquitto")) as started:
        yield started


@contextmanager
def controller(running: Broker, registry: Path | str) -> Iterator[subprocess.Popen[str]]:
    """`cloud-bridge fleet control`, ready; killed at the end."""
    command = [
        sys.executable, "-c", "import sys; from cloud_bridge.cli import main; sys.exit(main(sys.argv[1:]))", "fleet",
        "control", "--broker", running.url, "--registry", str(registry), "--json",
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert json.loads(process.stdout.readline())["ready"]
            yield process
        finally:
            process.kill()


class Fleet:
    """A registry, and an operator who writes orders to it."""

    def __init__(self, folder: Path, where: Path | str) -> None:
        self.where, self.operator = where, Operator(folder)
        self.registry = Registry(where)

    def order(self, job: str, command: Command, *things: str) -> None:
        """Give a job to these things."""
        envelope = self.operator.job(job, command, things=things)
        rollout = Rollout((Group("all", things),))
        document = zlib.crc32(envelope).to_bytes(4, "big")
        assert order(self.registry, Job(job, document, envelope, rollout, time.time(), time.time() + 3600))

    def over(self, job: str) -> dict[str, str]:
        """How each thing stands, once the rollout is over."""
        ended = ("succeeded", "failed", "aborted")
        eventually(lambda: self.registry.jobs.get(job).phase in ended, f"{job} is not over", WAIT)
        return {thing: each.status for thing, each in self.registry.jobs.executions(job).items()}


@pytest.fixture
def fleet(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Fleet]:
    """A fleet of none, in a file or on a server."""
    with nullcontext(tmp_path / "fleet.db") if request.param == "sqlite" else schema() as where:
        made = Fleet(tmp_path, where)
        with made.registry:
            yield made


def store(folder: Path) -> Path:
    """A device's, with version 1.0 of "tiny"."""
    made = Store(folder / "store", create=True)
    made.install(tiny_bundle(folder / "1.0", version="1.0", adds=1.0).folder)
    return made.path


@pytest.mark.parametrize("fleet", ["postgresql"], indirect=True)
def test_a_device_obeys_an_order_and_its_result_comes_back(running: Broker, fleet: Fleet, tmp_path: Path) -> None:
    """Deployed and measured; the registry has who is there, how it stands, and the report."""
    path = store(tmp_path / "a")
    digest = fleet.operator.publish("1.1")
    with (
        serving(fleet.operator.folder / "repository") as artifacts, controller(running, fleet.where),
        device(running, path, fleet.operator, artifacts.url, "--group", "canary", thing="press-1"),
    ):  # fmt: skip
        eventually(lambda: bool(fleet.registry.devices.all(state="ready")), "the device is not there", WAIT)
        assert fleet.registry.devices.members("canary") == ("press-1",)
        fleet.order("d1", deploy("1.1", digest), "press-1")
        assert fleet.over("d1") == {"press-1": "SUCCEEDED"}
        assert Store(path).active("tiny") == "1.1"
        fleet.order("b1", Benchmark(models=("tiny",), runs=20, seconds=0.2, device="onnx"), "press-1")
        assert fleet.over("b1") == {"press-1": "SUCCEEDED"}
        report = json.loads(zlib.decompress(fleet.registry.jobs.results("b1")["press-1"]))
        assert "tiny" in json.dumps(report)
    eventually(lambda: fleet.registry.devices.all()[0].presence.state != "unknown", "", WAIT)


@pytest.mark.parametrize("fleet", ["sqlite"], indirect=True)
def test_a_rollout_outlives_its_controller(running: Broker, fleet: Fleet, tmp_path: Path) -> None:
    """Killed in the middle; another one goes on with what is in the registry."""
    path = store(tmp_path / "a")
    digest = fleet.operator.publish("1.1")
    with (
        serving(fleet.operator.folder / "repository") as artifacts,
        device(running, path, fleet.operator, artifacts.url, thing="press-1"),
    ):  # fmt: skip
        with controller(running, fleet.where) as first:
            fleet.order("d1", deploy("1.1", digest, soak=1.0), "press-1")
            eventually(lambda: bool(fleet.registry.jobs.executions("d1")), "nobody was told", WAIT)
            first.send_signal(signal.SIGKILL)
        with controller(running, fleet.where) as second:
            assert fleet.over("d1") == {"press-1": "SUCCEEDED"}
            second.send_signal(signal.SIGTERM)
            assert second.wait(WAIT) == 0
