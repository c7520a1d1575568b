"""The machine below the engines, as far as a measurement depends on it: its CPU, and how much of it may be used."""

from __future__ import annotations

import os
import platform
from functools import cache
from pathlib import Path

import msgspec


class Host(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What makes figures of one machine, or container, say nothing about another's."""

    cpu: str
    """The processor's name, and a digest of its features: what an engine compiles for."""
    cores: int
    """Logical cores that this process may use (affinity)."""
    quota: float | None = None
    """Cores' worth of CPU time that the control group allows; None: no limit."""


def host(root: Path = Path("/")) -> Host:
    """Read it. `root` is where `proc` and `sys` are."""
    from zlib import crc32

    features = f" ({crc32(flags.encode()):08x})" if (flags := _features(root)) else ""
    return Host(cpu_name(root) + features, cores_allowed(), cpu_quota(root))


def cores_allowed() -> int:
    """Logical cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def usable_cores(here: Host) -> int:
    """Threads that can really run at once here: at least one."""
    return here.cores if here.quota is None else max(1, min(here.cores, int(here.quota)))


def cpu_name(root: Path = Path("/")) -> str:
    """The processor's name: x86 has it in cpuinfo, most boards in their device tree."""
    for line in (read(root / "proc/cpuinfo") or "").splitlines():
        key, _, value = line.partition(":")
        if key.strip().lower() in ("model name", "hardware") and value.strip():
            return value.strip()
    return read(root / "proc/device-tree/model") or platform.processor() or platform.machine() or "unknown"


@cache
def saturates(root: Path = Path("/")) -> bool:
    """Whether int8 kernels may be wrong here: x86 without VNNI multiplies int8 in pairs whose sums must fit 16 bits
    (PMADDUBSW), and cuts off what does not. Nets of full 8-bit weights were up to 38 % off by it."""
    return platform.machine() in ("x86_64", "AMD64") and not {"avx512_vnni", "avx_vnni"} & set(_features(root).split())


def memory_available(root: Path = Path("/")) -> int | None:
    """Bytes that programs can still take without the machine's swapping; None where the system does not tell."""
    return _meminfo(root, "MemAvailable")


def memory_total(root: Path = Path("/")) -> int | None:
    """Bytes that the machine has; None where the system does not tell."""
    return _meminfo(root, "MemTotal")


def _meminfo(root: Path, wanted: str) -> int | None:
    for line in (read(root / "proc/meminfo") or "").splitlines():
        key, _, value = line.partition(":")
        words = value.split()
        if key == wanted and words and words[0].isdecimal():
            return int(words[0]) * 1024
    return None


def cpu_quota(root: Path = Path("/")) -> float | None:
    """Cores' worth of time by control group, of version 2 or 1."""
    try:
        if text := read(root / "sys/fs/cgroup/cpu.max"):
            quota, period = text.split()
            return None if quota == "max" else int(quota) / int(period)
        group = root / "sys/fs/cgroup/cpu"
        quota, period = read(group / "cpu.cfs_quota_us") or "-1", read(group / "cpu.cfs_period_us") or "0"
        return int(quota) / int(period) if int(quota) > 0 and int(period) > 0 else None
    except (ValueError, ZeroDivisionError):
        return None


def read(path: Path) -> str | None:
    """What a file of the system says; None where it does not."""
    try:
        return path.read_text("utf-8", errors="replace").strip("\0\n ") or None
    except OSError:
        return None


def _features(root: Path) -> str:
    for line in (read(root / "proc/cpuinfo") or "").splitlines():
        key, _, value = line.partition(":")
        if key.strip().lower() in ("flags", "features"):
            return " ".join(sorted(value.split()))
    return ""
