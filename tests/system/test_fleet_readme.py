"""What the README shows of a fleet, run as it stands: from nothing to a device that runs what it was told to."""

from __future__ import annotations

import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec

from benchmarks.tiny import tiny_bundle
from edge_runtime.bundles.manifest import MANIFEST, encode
from edge_runtime.bundles.store import Store
from tests.endpoint import eventually
from tests.system.mqtt_parts import WAIT, need

README = (Path(__file__).parents[2] / "README.md").read_text()
LISTING = re.search(r"^## A fleet\n.*?^```\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
LINES = [line.split(" # ")[0].strip() for line in (LISTING.group(1) if LISTING else "").splitlines() if line.strip()]
STAYS = ("python -m http.server", "cloud-bridge broker", "cloud-bridge fleet control", "cloud-bridge agent")
READY = "cloud-bridge fleet devices --state ready"


def command(line: str, ports: dict[str, str]) -> list[str]:
    """What a line starts, in this environment, on free ports."""
    for shown, free in ports.items():
        line = re.sub(rf"\b{shown}\b", free, line)
    program, *arguments = shlex.split(line)
    return [sys.executable if program == "python" else str(Path(sys.executable).parent / program), *arguments]


@contextmanager
def running(line: str, folder: Path, ports: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A line that stays; ended by Ctrl-C."""
    with subprocess.Popen(command(line, ports), cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=WAIT)
        finally:
            process.kill()


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def listens(port: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(port))) == 0


def test_from_nothing_to_a_commanded_device(tmp_path: Path) -> None:
    """Each line in its order; in the end the device runs the version that was deployed."""
    assert shutil.which(need("mosquitto"))
    store = Store(tmp_path / "store", create=True)
    bundle = tiny_bundle(tmp_path / "my_model", version="1.0", adds=1.0)
    (bundle.folder / MANIFEST).write_bytes(encode(msgspec.structs.replace(bundle.manifest, name="my_model")))
    ports = {"8080": free_port(), "1883": free_port()}
    *before, watch = LINES
    assert watch.startswith("cloud-bridge fleet watch")
    assert sum(line.startswith(STAYS) for line in before) == len(STAYS)
    with ExitStack() as stack:
        for line in before:
            if line.startswith(STAYS):
                process = stack.enter_context(running(line, tmp_path, ports))
                if line.startswith("python"):
                    eventually(lambda: listens(ports["8080"]), "the files are not served", WAIT)
                else:
                    assert said(process), f"{line}: it said nothing before it ended"
                continue
            if " deploy " in line:  # who types by hand is slower than a device that connects
                eventually(lambda: "press-17" in done(READY, tmp_path, ports), "the device is not there", WAIT)
            done(line, tmp_path, ports)
        assert store.active("my_model") == "1.0"
        process = stack.enter_context(running(watch, tmp_path, ports))
        assert "press-17" in said(process) + said(process)


def said(process: subprocess.Popen[str]) -> str:
    """Its next line."""
    assert process.stdout is not None
    return process.stdout.readline()


def done(line: str, folder: Path, ports: dict[str, str]) -> str:
    """What a line prints, that ends by itself."""
    ended = subprocess.run(command(line, ports), cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, f"{line}: {ended.stderr}"
    return ended.stdout
