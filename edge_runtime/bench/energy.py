"""Joules: from the processor's own meter (RAPL) where there is one, or from a declared power."""

from __future__ import annotations

import time
from math import isfinite
from pathlib import Path
from typing import Protocol

from edge_runtime.errors import InputError

RAPL = Path("/sys/class/powercap")


class Meter(Protocol):
    """Counts what is drawn."""

    def read(self) -> object:
        """Where it stands now: to be handed to `joules` later."""
        ...

    def joules(self, before: object, cpu: float) -> float:
        """What was drawn since `before`, in which the measured process took `cpu` seconds of CPU time."""
        ...


class Rapl:
    """The energy that x86 processors count by package: all that runs on them is in it."""

    def __init__(self, root: Path = RAPL) -> None:
        packages = sorted(p for p in root.glob("intel-rapl:*") if p.name.count(":") == 1)
        self._packages = [p for p in packages if _counter(p / "energy_uj") is not None]
        if not self._packages:
            raise InputError(
                f"no energy meter can be read under {root} (RAPL, which many systems let root alone read): declare the "
                "device's power instead, --watts IDLE,CORE"
            )

    def read(self) -> tuple[int, ...]:
        return tuple(_counter(package / "energy_uj") or 0 for package in self._packages)

    def joules(self, before: object, cpu: float) -> float:
        assert isinstance(before, tuple)  # noqa: S101  (it is what `read` gave)
        spent = 0
        for package, then, now in zip(self._packages, before, self.read(), strict=True):
            spent += now - then if now >= then else now - then + (_counter(package / "max_energy_range_uj") or 0)
        return spent * 1e-6


class Declared:
    """A power model: so many watts idle, and so many more for each core that is busy."""

    def __init__(self, idle: float, core: float) -> None:
        if not (isfinite(idle) and isfinite(core) and idle >= 0 and core > 0):
            raise InputError(f"a power of {idle} W idle and {core} W a core: give numbers, the second above zero")
        self._idle, self._core = idle, core

    def read(self) -> float:
        return time.monotonic()

    def joules(self, before: object, cpu: float) -> float:
        assert isinstance(before, float)  # noqa: S101  (it is what `read` gave)
        return (time.monotonic() - before) * self._idle + cpu * self._core


def here(watts: tuple[float, float] | None, root: Path = RAPL) -> Meter | None:
    """As `meter`, and None where there is neither."""
    try:
        return meter(watts, root)
    except InputError:
        if watts is not None:
            raise
        return None


def meter(watts: tuple[float, float] | None, root: Path = RAPL) -> Meter:
    """The device's meter, or its declared power (idle, and of one busy core). Raises InputError where there is neither."""
    return Rapl(root) if watts is None else Declared(*watts)


def _counter(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
