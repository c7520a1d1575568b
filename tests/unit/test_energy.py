"""Joules, from a made-up meter and from a declared power."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_runtime.bench.energy import Declared, Rapl, here, meter
from edge_runtime.errors import InputError


def _package(root: Path, name: str, energy: int, most: int = 10**9) -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "energy_uj").write_text(f"{energy}\n")
    (folder / "max_energy_range_uj").write_text(f"{most}\n")
    return folder


def test_packages_are_summed_and_their_parts_are_not(tmp_path: Path) -> None:
    """Two packages; the cores inside one are already in it. A counter that ran over began again at zero."""
    first, second = _package(tmp_path, "intel-rapl:0", 1_000_000), _package(tmp_path, "intel-rapl:1", 999_000_000)
    _package(tmp_path, "intel-rapl:0:0", 5)
    counted = Rapl(tmp_path)
    before = counted.read()
    (first / "energy_uj").write_text("3000000")
    (second / "energy_uj").write_text("500000")
    assert counted.joules(before, 0.0) == pytest.approx(2.0 + 1.5)


def test_where_there_is_no_meter_the_error_says_what_to_declare(tmp_path: Path) -> None:
    """No folder, or a counter that may not be read."""
    with pytest.raises(InputError, match="--watts IDLE,CORE"):
        meter(None, tmp_path)
    assert here(None, tmp_path) is None
    assert here((1.0, 2.0), tmp_path) is not None
    (_package(tmp_path, "intel-rapl:0", 1) / "energy_uj").write_text("none")
    with pytest.raises(InputError, match="no energy meter"):
        meter(None, tmp_path)


def test_a_declared_power_counts_time_and_cpu_time() -> None:
    """Two seconds of one core at 3 W, whatever else: at least 6 J."""
    counted = meter((0.0, 3.0))
    assert counted.joules(counted.read(), 2.0) == pytest.approx(6.0)


@pytest.mark.parametrize("watts", [(-1.0, 1.0), (1.0, 0.0), (float("nan"), 1.0), (1.0, float("inf"))])
def test_a_power_that_is_none_is_refused(watts: tuple[float, float]) -> None:
    """Negative, zero, NaN, infinite."""
    with pytest.raises(InputError, match="give numbers"):
        Declared(*watts)
