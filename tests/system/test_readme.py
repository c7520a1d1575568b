"""What the README shows, run as it stands: every Python snippet, and every line of the shell listing."""

from __future__ import annotations

import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edge_runtime import Runtime, backends
from edge_runtime.bundles.bundle import Bundle
from edge_runtime.bundles.manifest import MANIFEST, Manifest, Variant, encode
from edge_runtime.bundles.store import Store
from edge_runtime.processing.files import write_image
from tests.bundles import file_of
from tests.contract.test_optimize import NAMES, SIGNATURE, net, samples

README = (Path(__file__).parents[2] / "README.md").read_text()
SNIPPETS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
LISTING = re.search(r"## From a shell\n\n```\n(.*?)```", README, re.DOTALL)
LINES = [line.split("#")[0].strip() for line in (LISTING.group(1) if LISTING else "").splitlines() if line.strip()]
SERVERS = [line for line in LINES if line.startswith(("cloud-bridge broker", "cloud-bridge serve"))]
CALLS = [line for line in LINES if line not in SERVERS]
IMAGE = np.zeros((48, 320, 3), np.uint8)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, store: Store) -> Path:
    """A folder as the README's reader has it: a store, and a few inputs."""
    here = tmp_path_factory.mktemp("readme")
    shutil.copytree(store.path, here / "store")
    for name in ("digits_cnn", "silero_vad"):
        _of_one_variant(Store(here / "store").bundle(name))
    write_image(here / "line.png", IMAGE)
    write_image(here / "digit.png", IMAGE)
    _my_model(here / "my_model")
    (here / "cheap.json").write_text('{"byte_price": 1e-6}')
    with Runtime(here / "store", cloud="http://127.0.0.1:9", log=here / "decisions.jsonl") as runtime:
        runtime.model("digits_cnn").infer({"image": np.zeros((1, 1, 28, 28), np.float32)}, budget=1.0)
    (here / "samples").mkdir()
    net = backends.backend("onnx").load(here / "my_model" / "net.onnx")
    for number, sample in enumerate(samples(16)):
        label = net.run({"x": sample["image"]})["y"].argmax()  # the reader knows what is right; here it is what fp32 says
        np.savez(here / "samples" / f"{number}.npz", label=label, **sample)  # type: ignore[arg-type]
    return here


def _of_one_variant(bundle: Bundle) -> None:
    """What would be raced and measured for minutes otherwise: still on several engines, with several settings."""
    manifest = bundle.manifest
    one = msgspec.structs.replace(manifest, variants=(manifest.variant("fp32-onnx"),))
    (bundle.folder / MANIFEST).write_bytes(encode(one))


def _my_model(folder: Path) -> None:
    """The reader's own model: a bundle with one fp32 ONNX variant."""
    folder.mkdir()
    data = net(folder / "net.onnx").read_bytes()
    variant = Variant("fp32-onnx", "onnx", "fp32", (file_of("net.onnx", data),), names=NAMES)
    manifest = Manifest(
        name="my_model", version="1.0", task="test", signature=SIGNATURE, variants=(variant,), sizes={"N": 1}
    )
    (folder / MANIFEST).write_bytes(encode(manifest))


@pytest.fixture(scope="module")
def ports() -> dict[str, str]:
    """Free ports in the place of the README's."""
    return {"8000": str(free_port()), "1883": str(free_port())}


def real(text: str, ports: dict[str, str]) -> str:
    """A line of the README with free ports."""
    for shown, free in ports.items():
        text = re.sub(rf"\b{shown}\b", free, text)
    return text


def command(line: str, ports: dict[str, str]) -> list[str]:
    """What a line starts, in this environment."""
    program, *arguments = shlex.split(real(line, ports))
    return [str(Path(sys.executable).parent / program), *arguments]


@pytest.fixture(scope="module")
def servers(folder: Path, ports: dict[str, str]) -> Iterator[None]:
    """The README's broker and endpoint, each ready before the next thing begins."""
    started = []
    for line in SERVERS:
        process = subprocess.Popen(command(line, ports), cwd=folder, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline(), f"{line}: it said nothing before it ended"
    yield
    for process in reversed(started):
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        assert process.stdout is not None
        process.stdout.close()


def test_the_readme_has_what_is_tested_here() -> None:
    """A change of its form must not empty this file."""
    assert len(SNIPPETS) >= 3
    assert len(SERVERS) == 2
    assert len(CALLS) >= 7


@pytest.mark.usefixtures("servers")
@pytest.mark.parametrize("snippet", SNIPPETS, ids=range(len(SNIPPETS)))
def test_a_snippet_runs(snippet: str, folder: Path, ports: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is printed, in a folder with a store."""
    monkeypatch.chdir(folder)
    names: dict[str, object] = {"image": IMAGE}
    exec(compile(real(snippet, ports), "README.md", "exec"), names)  # noqa: S102
    assert "result" in names


@pytest.mark.usefixtures("servers")
def test_the_shell_lines_run_in_their_order(folder: Path, ports: dict[str, str]) -> None:
    """Each ends with exit status 0, and what it says it writes is there."""
    for line in CALLS:
        started = time.monotonic()
        done = subprocess.run(command(line, ports), cwd=folder, capture_output=True, text=True, timeout=300, check=False)
        # A budget may be missed on a busy machine, and it may be slower than before; anything else is the README's fault.
        told = {"--budget": "MISSED", "--scenario": "INVALID", " gate ": "FAILED"}
        missed = done.returncode == 1 and any(part in line and word in done.stdout for part, word in told.items())
        assert done.returncode == 0 or missed, f"{line}: {done.stderr} ({time.monotonic() - started:.0f} s)"
    for written in ("tuned.html", "out.html", "compared.html", "before.json", "after.json"):
        assert (folder / written).stat().st_size > 10_000
    assert (folder / "store" / "profile.json").exists()
