"""What disturbed a measurement while it ran, as far as the system counts it: stolen time, other programs, throttling."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from edge_runtime.host import cores_allowed, read

STOLEN, OTHERS = 0.02, 0.20
"""Shares from which on they are a doubt: of all cores' time, and of one core's."""


class Counters(msgspec.Struct, frozen=True):
    """Where the system's counters stand. Seconds of CPU time since it started; None where the system does not tell."""

    at: float
    busy: float | None
    """Of all programs, on all cores."""
    stolen: float | None
    """By the hypervisor, for other machines."""
    own: float
    """Of this process and of those that it started and that have ended."""
    throttled: int | None
    """Times that the control group held it back."""
    hot: int | None
    """Times that the processor slowed itself down for its heat."""


def counters(root: Path = Path("/")) -> Counters:
    """Read them. `root` is where `proc` and `sys` are."""
    ticks = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
    busy = stolen = None
    words = (read(root / "proc/stat") or "").partition("\n")[0].split()
    if len(words) > 8 and words[0] == "cpu":
        user, nice, system, _, _, irq, soft, steal = (int(word) / ticks for word in words[1:9])
        busy, stolen = user + nice + system + irq + soft, steal
    own = os.times()
    used = own.user + own.system + own.children_user + own.children_system
    return Counters(time.monotonic(), busy, stolen, used, _throttled(root), _hot(root))


def disturbances(before: Counters, after: Counters) -> tuple[str, ...]:
    """What happened between two readings, each as a sentence."""
    return tuple(_found(before, after, max(1e-9, after.at - before.at)))


def _found(before: Counters, after: Counters, seconds: float) -> Iterator[str]:
    if before.stolen is not None and after.stolen is not None:
        share = (after.stolen - before.stolen) / (seconds * cores_allowed())
        if share > STOLEN:
            yield f"The hypervisor gave {share:.0%} of the processor's time to other machines meanwhile."
    if before.busy is not None and after.busy is not None:
        others = (after.busy - before.busy - (after.own - before.own)) / seconds
        if others > OTHERS:
            yield f"Other programs kept {others:.1f} cores busy meanwhile: a noisy neighbour."
    if before.throttled is not None and after.throttled is not None and after.throttled > before.throttled:
        yield f"The control group held it back {after.throttled - before.throttled} times: its CPU quota was used up."
    if before.hot is not None and after.hot is not None and after.hot > before.hot:
        yield f"The processor slowed itself down {after.hot - before.hot} times: it was too hot."


def _throttled(root: Path) -> int | None:
    """Of control groups of version 2 or 1."""
    for path in ("sys/fs/cgroup/cpu.stat", "sys/fs/cgroup/cpu/cpu.stat"):
        for line in (read(root / path) or "").splitlines():
            name, _, value = line.partition(" ")
            if name == "nr_throttled" and value.strip().isdecimal():
                return int(value)
    return None


def _hot(root: Path) -> int | None:
    counts = [
        int(text)
        for path in (root / "sys/devices/system/cpu").glob("cpu*/thermal_throttle/core_throttle_count")
        if (text := read(path) or "").isdecimal()
    ]
    return sum(counts) if counts else None
