"""What the processor is able to do, read from what the system tells."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from edge_runtime.host import saturates


@pytest.mark.parametrize(
    ("machine", "line", "expected"),
    [
        ("x86_64", "flags\t\t: sse4_1 avx2", True),
        ("x86_64", "flags\t\t: sse4_1 avx2 avx512f", True),
        ("x86_64", "flags\t\t: sse4_1 avx2 avx512f avx512_vnni", False),
        ("x86_64", "flags\t\t: avx2 avx_vnni", False),
        ("AMD64", "", True),
        ("aarch64", "Features\t: fp asimd asimddp", False),
    ],
)
def test_int8_saturates_on_x86_without_vnni(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machine: str, line: str, expected: bool
) -> None:
    """Where nothing is told the answer is the careful one."""
    monkeypatch.setattr(platform, "machine", lambda: machine)
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text(f"processor\t: 0\n{line}\n")
    assert saturates(tmp_path) is expected
