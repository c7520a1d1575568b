"""What docs/fleet.md says to type: with Mosquitto's own tools, as it is written, to an agent and a controller that run."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from benchmarks.tiny import tiny_bundle
from cloud_bridge import broker
from cloud_bridge.agent.agent import Agent
from cloud_bridge.broker import Broker
from cloud_bridge.protocol.fleet.commands import Rollback
from edge_runtime.bundles.manifest import MANIFEST, encode
from edge_runtime.bundles.store import Store
from tests.endpoint import eventually
from tests.system.agent_parts import THING, Controller, Operator
from tests.system.mqtt_parts import WAIT, need

TEXT = (Path(__file__).parents[2] / "docs" / "fleet.md").read_text()
LINES = [line for block in re.findall(r"^```sh\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL) for line in block.splitlines()]


@pytest.fixture(scope="module", autouse=True)
def tools() -> None:
    """Mosquitto's tools, which a device does without."""
    for tool in ("mosquitto_pub", "mosquitto_sub", "mosquitto_rr"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed here (apt-get install mosquitto-clients)")


@pytest.fixture(scope="module")
def running() -> Iterator[Broker]:
    """A broker."""
    with broker.start(kind=need("mosquitto")) as started:
        yield started


def begun(line: str, running: Broker, *more: str) -> subprocess.Popen[str]:
    """A line as it is written, to this broker."""
    tool, *options = shlex.split(line)
    command = [tool, "-h", running.host, "-p", str(running.port), *options, *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def done(process: subprocess.Popen[str]) -> str:
    """What it printed."""
    printed, trouble = process.communicate(timeout=WAIT)
    assert process.returncode == 0, trouble
    return printed


def test_each_line_does_what_is_said_of_it(running: Broker, tmp_path: Path) -> None:
    """In the order in which they are written."""
    (tmp_path / "operator").mkdir()
    operator = Operator(tmp_path / "operator")
    store = Store(tmp_path / "store", create=True)
    for version in ("1.2", "1.3"):
        bundle = tiny_bundle(tmp_path / version, version=version, adds=1.0)
        named = msgspec.structs.replace(bundle.manifest, name="text-reader")
        (bundle.folder / MANIFEST).write_bytes(encode(named))
        store.install(bundle.folder)
    watch, jobs, budget, got, version, ping, status, hint = LINES
    agent = Agent(
        running.url, store=store, thing=THING, groups=["canary"], keys=[operator.public], device="onnx", telemetry=None
    )
    with Controller(running) as controller, agent:
        controller.is_there("ready")
        assert '"ready"' in done(begun(watch, running, "-C", "1", "-W", "10"))
        done(begun(budget, running))
        eventually(lambda: controller.reported("config").get("budgets") == {"text-reader": 0.05}, "no budget", WAIT)
        held = json.loads(done(begun(got, running, "-W", "10")))
        assert held["state"]["desired"]["budgets"] == {"text-reader": 0.05}
        done(begun(version, running))
        eventually(lambda: store.active("text-reader") == "1.2", "it is not activated", WAIT)
        assert json.loads(done(begun(ping, running, "-W", "10")))["timestamp"] > 0
        assert json.loads(done(begun(status, running, "-W", "10")))["thing"] == THING
        heard = begun(jobs, running, "-C", "1", "-W", "20")
        controller.order(operator.job("hinted", Rollback(model="text-reader")), "hinted", notify=False)
        done(begun(hint, running))
        assert controller.ended("hinted").status in {"SUCCEEDED", "FAILED"}
        assert f"things/{THING}/jobs/" in done(heard)
