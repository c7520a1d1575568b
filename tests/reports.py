"""Reports made up for tests, with samples drawn from a seed."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np

from edge_runtime.bench.fingerprint import Fingerprint
from edge_runtime.bench.measure import Samples
from edge_runtime.bench.report import ColdStart, Entry, Protocol, Report
from edge_runtime.bench.statistics import doubts, percentiles
from edge_runtime.bench.yardstick import NAME
from edge_runtime.bundles.manifest import Accuracy

MACHINE = Fingerprint(
    project="0.1.0", cpu="Test CPU", cores=2, cores_allowed=2, kernel="Linux 6.1", libc="glibc 2.36", machine="x86_64",
    python="CPython 3.11.7", numpy="2.4.6", engines={"onnxruntime": "1.31.1"}, load=(0.1, 0.1, 0.1),
)  # fmt: skip


def entry(
    backend: str, median: float = 10e-3, precision: str = "fp32", *, runs: int = 400, rounds: int = 10, spread: float = 0.01
) -> Entry:
    """A candidate with this median in seconds and this relative spread."""
    random = np.random.default_rng(len(backend) + len(precision))
    taken = median * (1 + spread * random.standard_normal(runs))
    taken *= median / np.median(taken)
    values = np.maximum(1, taken * 1e9).astype(int)
    parts = tuple(tuple(int(v) for v in part) for part in np.array_split(values, rounds))
    seconds = [value * 1e-9 for part in parts for value in part]
    return Entry(
        model="net", version="1.0", task="tell this from that", variant=f"{precision}-{backend}", precision=precision,
        backend=backend, engine=f"{backend} 1.2.3", device="CPU", inputs="x float32 [1, 2]",
        accuracy=Accuracy("F1", 0.98, "a test set"), cold=ColdStart(0.2, 0.1, 0.05, 20 * 2**20),
        samples=Samples(f"net {backend}", parts, cpu=(int(median * 1e9),)), percentiles=percentiles(seconds),
        doubts=doubts(seconds),
    )  # fmt: skip


def failed(backend: str, error: str) -> Entry:
    """A candidate that did not load."""
    return Entry(
        model="net", version="1.0", variant=f"fp32-{backend}", precision="fp32", backend=backend, engine=f"{backend} 1.2.3",
        device="CPU", error=error,
    )  # fmt: skip


def report(*entries: Entry, yardsticks: tuple[Samples, ...] = ()) -> Report:
    """A report of these on a test machine."""
    return Report(
        date="2026-01-02T03:04:05+00:00", command="edge-runtime bench net", fingerprint=MACHINE,
        protocol=Protocol(400, 2.0, 0), entries=entries, yardsticks=yardsticks,
    )  # fmt: skip


def simulated(
    medians: Mapping[str, float], random: np.random.Generator, *, speed: float = 1.0, starts: int = 1, between: float = 0.02
) -> Report:
    """One model's report on a machine whose speed wanders: what each backend takes, by its median in seconds.

    The speed is a random walk that the yardstick shares; each of `starts` processes is off by an offset of its own (a
    deviation of `between`), each round by 1 % more, and each run by 5 %.
    """
    rounds, runs = 10 * starts, 20
    walk = np.log(speed) + np.cumsum(random.normal(0, 0.02, rounds))
    begins = tuple(range(10, rounds, 10))

    def samples(name: str, median: float, offset: float) -> Samples:
        own = np.repeat(random.normal(0, offset, starts), 10) + random.normal(0, 0.01, rounds)
        noise = random.normal(0, 0.05, (rounds, runs))
        values = np.maximum(1, median * 1e9 * np.exp(walk + own)[:, None] * np.exp(noise)).astype(int)
        return Samples(name, tuple(tuple(part) for part in values.tolist()), starts=begins)

    measured = []
    for backend, median in medians.items():
        taken = samples(f"net {backend}", median, between)
        seconds = [value * 1e-9 for value in taken.values]
        measured.append(msgspec.structs.replace(entry(backend), samples=taken, percentiles=percentiles(seconds)))
    found = report(*measured, yardsticks=(samples(NAME, 200e-6, 0.002),))
    return msgspec.structs.replace(found, protocol=msgspec.structs.replace(found.protocol, repeat=starts))
