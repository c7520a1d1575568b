"""What an agent that waits for orders has not loaded: it is to cost a device little."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from cloud_bridge import broker
from edge_runtime.bundles.store import Store
from tests.endpoint import eventually
from tests.system.agent_parts import THING, Controller, Operator
from tests.system.mqtt_parts import WAIT, need

AGENT = """
import os, signal, sys, threading
from cloud_bridge.cli import main

def tell():
    sys.stdin.readline()
    print(*sys.modules, flush=True)
    os.kill(os.getpid(), signal.SIGTERM)

threading.Thread(target=tell).start()
sys.exit(main(sys.argv[1:]))
"""
HEAVY = {
    "asyncio", "cryptography", "numpy", "onnxruntime", "openvino", "ai_edge_litert", "securesystemslib", "sqlalchemy",
    "tqdm", "tuf", "cloud_bridge.artifacts", "cloud_bridge.endpoint", "cloud_bridge.fleet", "edge_runtime.backends",
    "edge_runtime.bench", "edge_runtime.optimize", "edge_runtime.routing.router", "edge_runtime.runtime",
    "edge_runtime.tuning",
}  # fmt: skip
"""All that it needs for an order, and nothing before."""


def test_an_idle_agent_has_loaded_no_more_than_it_needs(tmp_path: Path) -> None:
    """Though it has connected, told its figures, knows its shadows, and may be given bundles."""
    operator, store = Operator(tmp_path), Store(tmp_path / "store", create=True)
    with broker.start(kind=need("mosquitto")) as running, Controller(running) as controller:
        command = [
            sys.executable, "-c", AGENT, "agent", "--broker", running.url, "--thing", THING, "--store", store.path,
            "--keys", operator.public, "--artifacts", "http://127.0.0.1:9", "--root-metadata", operator.root, "--json",
        ]  # fmt: skip
        with subprocess.Popen(list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdin is not None
                assert process.stdout is not None
                assert '"ready"' in process.stdout.readline()
                controller.is_there("ready")
                eventually(lambda: bool(controller.figures), "it has told no figures", WAIT)
                eventually(lambda: "policy" in controller.reported("config"), "it has reported nothing", WAIT)
                process.stdin.write("\n")
                process.stdin.flush()
                loaded = set(process.stdout.readline().split())
                assert process.wait(WAIT) == 0
            finally:
                process.kill()
    assert {"cloud_bridge.agent.agent", "paho.mqtt.client", "sqlite3"} <= loaded
    assert not HEAVY & loaded
