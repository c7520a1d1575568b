"""What a device can tell of itself: from /proc and /sys on Linux, and what is not there is left out."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

from cloud_bridge.protocol.fleet.telemetry import Figures
from edge_runtime.host import memory_available

_HOTTEST = 200.0
"""Degrees above which a sensor tells nonsense."""


def figures(store: Path, *, unix: float, uptime: float, waiting: int, root: Path = Path("/")) -> Figures:
    """How it does now; `root` is where /proc and /sys are."""
    return Figures(
        timestamp=unix, uptime=uptime, waiting=waiting, load=_load(), memory=memory_available(root), free=_free(store),
        temperature=_temperature(root),
    )  # fmt: skip


def _load() -> float | None:
    with suppress(OSError):
        return os.getloadavg()[0]
    return None


def _free(store: Path) -> int | None:
    with suppress(OSError):
        return shutil.disk_usage(store).free
    return None


def _temperature(root: Path) -> float | None:
    found = []
    for zone in sorted(root.glob("sys/class/thermal/thermal_zone*/temp")):
        with suppress(OSError, ValueError):  # some answer only now and then
            found.append(int(zone.read_text()) / 1000)
    return max((each for each in found if each < _HOTTEST), default=None)
