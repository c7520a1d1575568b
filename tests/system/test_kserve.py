"""KServe's Python client, as it comes from PyPI, against our endpoint over gRPC and HTTP."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.endpoint import endpoint
from tests.onnx_store import write_store

KSERVE = Path(__file__).parents[2] / ".venv-kserve" / "bin" / "python"
"""Its own environment: it brings fifty packages."""


def test_every_question_is_answered(tmp_path: Path) -> None:
    """Health, readiness, calls with raw and typed tensors, and errors, as kserve_calls.py asks them."""
    if not KSERVE.exists():
        if os.environ.get("CI"):
            pytest.fail("kserve is not installed, and CI must have it: make .venv-kserve/ready")
        pytest.skip("kserve is not installed here: make .venv-kserve/ready")
    with endpoint(write_store(tmp_path).path, "--grpc", ":0") as running:
        command: list[str | Path] = [KSERVE, Path(__file__).with_name("kserve_calls.py"), running.grpc, running.url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "all answered" in done.stdout
