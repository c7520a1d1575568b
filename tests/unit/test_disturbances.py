"""What disturbed a measurement, from a made-up system's counters."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from edge_runtime.bench.disturbances import Counters, counters, disturbances

QUIET = Counters(0.0, 10.0, 1.0, 5.0, 3, 7)


def test_a_quiet_machine_gives_no_doubt() -> None:
    """All that was busy was this measurement; nothing was stolen, nothing throttled."""
    assert disturbances(QUIET, Counters(10.0, 20.0, 1.0, 15.0, 3, 7)) == ()


def test_each_disturbance_is_told() -> None:
    """A neighbour, a hypervisor, a quota, heat: each in its own sentence."""
    found = disturbances(QUIET, Counters(10.0, 30.0, 1.0 + 5 * os.cpu_count(), 15.0, 8, 9))  # type: ignore[operator]
    assert [sentence.split()[1] for sentence in found] == ["hypervisor", "programs", "control", "processor"]
    assert "1.0 cores" in found[1]
    assert "5 times" in found[2]
    assert "2 times" in found[3]


def test_what_the_system_does_not_tell_is_no_doubt(tmp_path: Path) -> None:
    """No proc, no sys: nothing is claimed."""
    nothing = counters(tmp_path)
    assert (nothing.busy, nothing.stolen, nothing.throttled, nothing.hot) == (None, None, None, None)
    assert disturbances(nothing, msgspec.structs.replace(nothing, at=nothing.at + 1)) == ()


def test_the_counters_are_read_where_they_are(tmp_path: Path) -> None:
    """The first line of proc/stat, a control group's, and each core's."""
    for path, text in {
        "proc/stat": "cpu  100 0 50 1000 5 0 0 20 0 0\ncpu0 1 2 3\n",
        "sys/fs/cgroup/cpu.stat": "usage_usec 5\nnr_periods 4\nnr_throttled 2\n",
        "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "3\n",
        "sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count": "4\n",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    found, ticks = counters(tmp_path), os.sysconf("SC_CLK_TCK")
    assert (found.busy, found.stolen, found.throttled, found.hot) == (150 / ticks, 20 / ticks, 2, 7)
