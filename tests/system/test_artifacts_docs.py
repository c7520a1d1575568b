"""docs/artifacts.md as it stands: every command in its order, then the snippet on a device."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from edge_runtime.bundles.store import Store, read_bundle
from tests.bundles import write_bundle
from tests.system.artifact_parts import serving

PAGE = (Path(__file__).parents[2] / "docs" / "artifacts.md").read_text()
LINES = [line for block in re.findall(r"```\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines() if line]
SNIPPETS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def shell(folder: Path, line: str, status: int = 0) -> str:
    """What a line prints; standard error when it fails."""
    program, *arguments = shlex.split(line)
    assert program == "cloud-bridge"
    done = subprocess.run(
        [sys.executable, "-m", "cloud_bridge.cli", *arguments],
        cwd=folder, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr if status else done.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the operator works, with a bundle in one file."""
    store = Store(tmp_path / "operator's store", create=True)
    store.pack(read_bundle(write_bundle(tmp_path / "text", "1.1", name="text")), tmp_path / "text-1.1.bundle")
    return tmp_path


def test_the_page(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator's lines, a server, and the device's snippet."""
    assert [line.split()[2] for line in LINES] == ["init", "add", "publish", "rotate", "rotate"]
    for line in LINES:
        shell(folder, line)
    (folder / "root.json").write_bytes((folder / "repository" / "metadata" / "1.root.json").read_bytes())
    monkeypatch.chdir(folder)
    with serving(folder / "repository") as server:
        assert len(SNIPPETS) == 1
        assert "http://server:8080" in SNIPPETS[0]
        exec(compile(SNIPPETS[0].replace("http://server:8080", server.url), "artifacts.md", "exec"), {})  # noqa: S102
    assert Store(folder / "store").versions("text") == ("1.1",)


def test_json(folder: Path) -> None:
    """What programs read of each command."""
    made = json.loads(shell(folder, "cloud-bridge repository init repository --keys keys --json"))
    assert [role["role"] for role in made["roles"]] == ["root", "targets", "snapshot", "timestamp"]
    assert made["roles"][0]["threshold"] == 2
    assert len(made["roles"][0]["keys"]) == 3
    assert made["bundles"] == []
    (added,) = json.loads(shell(folder, "cloud-bridge repository add repository text-1.1.bundle --keys keys --json"))
    assert (added["name"], added["version"]) == ("text", "1.1")
    published = json.loads(shell(folder, "cloud-bridge repository publish repository --keys keys --json"))
    assert published["bundles"] == [added]
    rotated = json.loads(shell(folder, "cloud-bridge repository rotate repository timestamp --keys keys --json"))
    assert rotated["roles"][3]["keys"] != published["roles"][3]["keys"]


def test_wrong_use(folder: Path) -> None:
    """Is one line, and says what to do."""
    assert "repository init" in shell(folder, "cloud-bridge repository publish repository --keys keys", 2)
    assert "can never sign" in shell(folder, "cloud-bridge repository init r --keys k --root-keys 1", 2)
    shell(folder, "cloud-bridge repository init repository --keys keys")
    assert "holds a repository already" in shell(folder, "cloud-bridge repository init repository --keys keys", 2)
    assert "is not there" in shell(folder, "cloud-bridge repository add repository nothing.bundle --keys keys", 3)
    assert "put back elsewhere/" in shell(folder, "cloud-bridge repository publish repository --keys elsewhere", 2)
    (folder / "repository" / "metadata" / "1.targets.json").write_text("{}")
    assert "from a copy" in shell(folder, "cloud-bridge repository add repository text-1.1.bundle --keys keys", 2)
