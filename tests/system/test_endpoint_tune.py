"""An endpoint that was tuned, as processes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from time import monotonic

import numpy as np
import pytest

from cloud_bridge.client.http import HttpRemote
from cloud_bridge.endpoint.plans import CACHE, FILE, load
from cloud_bridge.endpoint.service import Service
from cloud_bridge.protocol.oip import encode_request
from edge_runtime.bundles.store import Store
from edge_runtime.errors import InputError
from edge_runtime.profile import PROFILE
from edge_runtime.remote import Call
from tests.endpoint import endpoint
from tests.onnx_store import write_store

X = {"x": np.ones((3, 2), np.float32)}


def test_what_tuning_finds_is_what_runs(tmp_path: Path) -> None:
    """The variant, engine and threads that were found best are those that answer, with the right outputs."""
    store = write_store(tmp_path / "store").path
    told = subprocess.run(
        [sys.executable, "-m", "cloud_bridge.cli", "tune", str(store), "double", "--json"],
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    found = json.loads(told.stdout)
    (model,) = found["models"]
    plans = load(store / FILE)
    (measured,) = plans.models
    best = measured.best(plans.calls or 0)
    assert best is not None
    assert (found["calls"], model["rows"], model["runs"]) == (plans.calls, best.best.rows, best.name)
    assert {trial.calls for trial in measured.trials} >= {1}
    compiled = list((store / CACHE).iterdir()) if (store / CACHE).exists() else []
    assert {folder.name for folder in compiled} <= {best.key.digest}
    with endpoint(store) as running:
        remote = HttpRemote(running.url)
        reply = remote.send(Call("double", X), deadline=float("inf")).result(30.0)
        remote.close()
    assert np.array_equal(reply.outputs["y"], 2 * X["x"])
    assert (reply.variant, reply.device) == (best.variant, best.key.device)
    assert reply.engine.startswith({"onnx": "onnxruntime", "openvino": "openvino"}[best.key.backend])


def test_a_damaged_plan_is_told_as_the_endpoint_starts(tmp_path: Path) -> None:
    """Rather than passed over."""
    store = write_store(tmp_path / "store")
    (store.path / FILE).write_text("{")
    with pytest.raises(InputError, match="tune again"):
        Service(Store(store.path))


def test_a_damaged_profile_is_not_the_caller_s_fault(tmp_path: Path) -> None:
    """A call is told what is wrong, with status 500."""
    store = write_store(tmp_path / "store")
    (store.path / PROFILE).write_text("{")
    service = Service(store)
    answer = service.submit("double", None, encode_request(Call("double", X)), received=monotonic()).result(30.0)
    service.close()
    assert answer.status == 500
    assert b"profile" in bytes(answer.message.body)
