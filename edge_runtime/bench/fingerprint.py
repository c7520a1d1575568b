"""What a measurement depends on beside the code: the machine and its software, without anything that names who owns it."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import msgspec

from edge_runtime.host import cores_allowed, cpu_name, cpu_quota, memory_total, read

ENGINES = ("onnxruntime", "onnxruntime-gpu", "openvino", "ai-edge-litert", "tflite-runtime")
_HINTS = (("/.dockerenv", "Docker"), ("/run/.containerenv", "Podman"))


class Fingerprint(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The environment of a measurement. A field is None, or empty, where this machine does not tell."""

    project: str
    """Version of this package."""
    cpu: str
    cores: int
    """Logical cores that the machine has."""
    cores_allowed: int
    """Of these, the ones this process may use (affinity)."""
    cpu_quota: float | None = None
    """Cores' worth of CPU time that the control group allows."""
    governor: str | None = None
    memory: int | None = None
    """Bytes."""
    kernel: str
    libc: str
    machine: str
    """The instruction set: "x86_64", "aarch64"."""
    python: str
    numpy: str
    engines: dict[str, str] = {}
    """Package -> version of each engine that is installed."""
    load: tuple[float, float, float] | None = None
    """Load average over 1, 5 and 15 minutes, when the measurement began."""
    container: str | None = None

    @property
    def doubts(self) -> tuple[str, ...]:
        """What about this machine speaks against its measurements, each as one sentence."""
        found = []
        if self.load is not None and self.load[0] > self.cores_allowed / 2:
            found.append(f"The load average was {self.load[0]:.1f} on {self.cores_allowed} cores at the start: "
                         "other programs competed for them.")  # fmt: skip
        if self.governor is not None and self.governor not in ("performance", "schedutil"):
            found.append(
                f"The CPU governor is {self.governor!r}: its clock follows the load. 'performance' measures steadier."
            )
        if self.cpu_quota is not None and self.cpu_quota < self.cores_allowed:
            found.append(f"The control group allows {self.cpu_quota:g} cores' worth of time on {self.cores_allowed} cores: "
                         "long runs are throttled.")  # fmt: skip
        return tuple(found)

    @property
    def rows(self) -> tuple[tuple[str, str], ...]:
        """What is known, as pairs of name and text, to show."""
        cores = f"{self.cores_allowed} of {self.cores}" + (
            f", quota {self.cpu_quota:g}" if self.cpu_quota is not None else ""
        )
        rows = (
            ("edge-runtime", self.project),
            ("CPU", self.cpu),
            ("Cores allowed", cores),
            ("Governor", self.governor or ""),
            ("Memory", f"{self.memory / 2**30:.1f} GiB" if self.memory else ""),
            ("Kernel", f"{self.kernel} {self.machine}"),
            ("C library", self.libc),
            ("Python", self.python),
            ("numpy", self.numpy),
            *self.engines.items(),
            ("Load average", " / ".join(f"{value:.2f}" for value in self.load) if self.load else ""),
            ("Container", self.container or ""),
        )
        return tuple((name, text) for name, text in rows if text)


def fingerprint(root: Path = Path("/")) -> Fingerprint:
    """Read the environment. `root` is where `proc` and `sys` are."""
    return Fingerprint(
        project=_versions(("edge-runtime",)).get("edge-runtime", "unknown"),
        cpu=cpu_name(root),
        cores=os.cpu_count() or 1,
        cores_allowed=cores_allowed(),
        cpu_quota=cpu_quota(root),
        governor=read(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        memory=memory_total(root),
        kernel=f"{platform.system()} {platform.release()}",
        libc=" ".join(platform.libc_ver()).strip() or "unknown",
        machine=platform.machine(),
        python=f"{platform.python_implementation()} {platform.python_version()}",
        numpy=metadata.version("numpy"),
        engines=_versions(ENGINES),
        load=os.getloadavg() if hasattr(os, "getloadavg") else None,
        container=_container(root),
    )


def _container(root: Path) -> str | None:
    for path, name in _HINTS:
        if (root / path.lstrip("/")).exists():
            return name
    groups = read(root / "proc/1/cgroup") or ""
    return next((name for word, name in _WORDS.items() if word in groups), None)


_WORDS: Mapping[str, str] = {"kubepods": "Kubernetes", "docker": "Docker", "lxc": "LXC", "podman": "Podman"}


def _versions(packages: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
