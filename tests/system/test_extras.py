"""On a device that has installed little: what is missing is named, with the command that brings it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.tiny import tiny_bundle
from cloud_bridge.signing import generate
from edge_runtime.bundles.store import Store

WITHOUT = """
import sys
for name in sys.argv[1].split(","):
    sys.modules[name] = None
from {module} import main
sys.exit(main(sys.argv[2:]))
"""
ENGINES = "onnxruntime,openvino,ai_edge_litert,tflite_runtime"
VENDORS = (
    "cryptography,grpc,httptools,opentelemetry,paho,prometheus_client,ray,securesystemslib,sqlalchemy,starlette,tuf,"
    "uvicorn,uvloop"
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one model."""
    folder = tmp_path_factory.mktemp("extras")
    made = Store(folder / "store", create=True)
    made.install(tiny_bundle(folder / "tiny").folder)
    return made.path


def without(packages: str, module: str, *arguments: str | Path) -> tuple[int, str]:
    """Run a command where these packages are not installed: its exit status, and all that it printed."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT.format(module=module), packages, *map(str, arguments)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


def test_without_an_engine_devices_names_the_extras() -> None:
    """And says by its exit status that there is nothing to run on."""
    status, printed = without(ENGINES, "edge_runtime.cli", "devices")
    assert status == 4
    for extra in ("onnx", "openvino", "tflite"):
        assert f"edge-runtime[{extra}]" in printed


def test_without_an_engine_a_model_names_those_that_would_run_it(store: Path) -> None:
    """By the formats of its variants."""
    status, printed = without(ENGINES, "edge_runtime.cli", "bench", "tiny", "--store", store)
    assert status == 4
    assert "edge-runtime devices" in printed


def test_without_the_bridge_s_libraries_a_cloud_names_the_extra() -> None:
    """HTTP needs some; MQTT needs none, and just finds nobody here."""
    status, printed = without(VENDORS, "cloud_bridge.cli", "health", "http://127.0.0.1:9")
    assert status == 2
    assert "pip install 'edge-runtime[cloud]'" in printed
    status, printed = without(VENDORS, "cloud_bridge.cli", "health", "mqtt://127.0.0.1:9", "--timeout", "0.1")
    assert status == 5
    assert "pip install" not in printed


def test_without_the_bridge_s_libraries_serving_names_the_extra(store: Path) -> None:
    """The endpoint too."""
    status, printed = without(VENDORS, "cloud_bridge.cli", "serve", store, "--http", ":0")
    assert status == 2
    assert "pip install 'edge-runtime[cloud]'" in printed
    status, printed = without("opentelemetry", "cloud_bridge.cli", "serve", store, "--http", ":0", "--trace", "http://x:1")
    assert status == 2
    assert "pip install 'edge-runtime[trace]'" in printed


def test_without_ray_serving_on_it_names_the_extra(store: Path) -> None:
    """Which is one of its own: an endpoint in one process does without."""
    status, printed = without("ray", "cloud_bridge.cli", "serve", store, "--http", ":0", "--engine", "ray")
    assert status == 2
    assert "pip install 'edge-runtime[ray]'" in printed


@pytest.mark.parametrize("package", ["cryptography", "securesystemslib", "tuf"])
def test_without_its_libraries_a_repository_names_the_extra(tmp_path: Path, package: str) -> None:
    """And makes none."""
    status, printed = without(package, "cloud_bridge.cli", "repository", "init", tmp_path / "r", "--keys", tmp_path / "k")
    assert status == 2
    assert "pip install 'edge-runtime[agent]'" in printed
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("package", ["cryptography", "paho", "securesystemslib", "tuf"])
def test_without_its_libraries_an_agent_names_the_extra(store: Path, tmp_path: Path, package: str) -> None:
    """And takes on nothing."""
    key = generate(tmp_path / "operator")
    assert key.keyid
    (tmp_path / "root.json").write_text("{}")
    status, printed = without(
        package, "cloud_bridge.cli", "agent", "--broker", "mqtt://127.0.0.1:9", "--thing", "t", "--store", store, "--keys",
        tmp_path / "operator.pub", "--artifacts", "http://127.0.0.1:9", "--root-metadata", tmp_path / "root.json",
    )  # fmt: skip
    assert status == 2
    assert "pip install 'edge-runtime[agent]'" in printed


def test_without_cryptography_enrolment_names_the_extra(tmp_path: Path) -> None:
    """And makes no authority."""
    status, printed = without(
        "cryptography", "cloud_bridge.cli", "fleet", "enroll", "init", tmp_path / "fleet", "--broker-name", "broker.example"
    )  # fmt: skip
    assert status == 2
    assert "pip install 'edge-runtime[agent]'" in printed
    assert not (tmp_path / "fleet").exists()


def test_without_grpc_only_serving_over_it_needs_it(store: Path) -> None:
    """And names the extra of its own."""
    status, printed = without("grpc", "cloud_bridge.cli", "serve", store, "--grpc", ":0")
    assert status == 2
    assert "pip install 'edge-runtime[grpc]'" in printed


@pytest.mark.parametrize(
    ("package", "call", "extra"),
    [("cv2", "vision", "vision"), ("tokenizers", "pieces", "text"), ("pymicro_features", "features", "wake")],
)
def test_without_a_package_of_processing_the_extra_is_named(package: str, call: str, extra: str) -> None:
    """When a step needs it; the modules of processing are imported without it."""
    script = f"""
import sys
sys.modules[{package!r}] = None
from edge_runtime import EngineMissingError
from edge_runtime.processing import extra, files, process
try:
    extra.{call}()
except EngineMissingError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert f"pip install 'edge-runtime[{extra}]'" in done.stdout


@pytest.mark.parametrize("package", ["securesystemslib", "cryptography"])
def test_without_a_package_of_signing_the_extra_is_named(package: str) -> None:
    """When something is to be signed, or a signature looked at; the module is imported without it."""
    script = f"""
import sys
sys.modules[{package!r}] = None
from pathlib import Path
from edge_runtime import InputError
from cloud_bridge import signing
try:
    signing.generate(Path("unwritten"))
except InputError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert "pip install 'edge-runtime[agent]'" in done.stdout


def test_without_sqlalchemy_a_registry_names_the_extra() -> None:
    """What decides about rollouts needs none."""
    script = """
import sys
sys.modules["sqlalchemy"] = None
from edge_runtime import InputError
from cloud_bridge.fleet import log, rollout
try:
    from cloud_bridge.fleet.registry import Registry
except InputError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert "pip install 'edge-runtime[control]'" in done.stdout
