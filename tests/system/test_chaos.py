"""A fleet under violence, for some seconds: `python -m benchmarks.chaos` in small."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.system.mqtt_parts import need


def test_a_short_run_of_violence_leaves_all_as_it_should_be(root: Path, tmp_path: Path) -> None:
    """Agents, broker, controllers killed and links cut: every job ended, every effect once, every shadow in agreement."""
    need("mosquitto")
    report = tmp_path / "chaos.json"
    command = [
        sys.executable, "-m", "benchmarks.chaos", "--quick", "--devices", "6", "--jobs", "8", "--seed", "7", "--json",
        str(report),
    ]  # fmt: skip
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(report.read_bytes())
    assert {"broker", "controller", "devices"} == set(found["details"]["seen"]["kills"])
    assert found["details"]["violations"] == []
