"""The tournament's winner beside each engine left alone, in turns: idle, beside a busy neighbour, and at a fixed rate."""

from __future__ import annotations

import sys
from collections.abc import Callable

import msgspec
import numpy as np

from edge_runtime.bench.process import Request, Worker, request_of
from edge_runtime.bench.statistics import Ratio
from edge_runtime.bundles.bundle import Bundle
from edge_runtime.bundles.manifest import Variant
from edge_runtime.engines import Candidate
from edge_runtime.objective import Objective
from edge_runtime.tuning.contest import Contest
from edge_runtime.tuning.effort import Effort
from edge_runtime.tuning.race import ratio
from edge_runtime.values import Device

DEFAULTS = (sys.executable, "-m", "benchmarks.defaults")
"""A process that runs an artifact by its engine's own public API, nothing set."""
ENGINES: dict[str, tuple[str, tuple[str, ...]]] = {
    "onnx": ("ONNX Runtime", ("onnx",)),
    "openvino": ("OpenVINO", ("openvino", "onnx")),
    "tflite": ("LiteRT", ("tflite",)),
}
"""Each engine's name, and the formats of an fp32 model that its user would give it, the engine's own first."""


FP32 = 1e-3
"""How far fp32's outputs may be from the golden ones (relative root mean square), in whatever order an engine sums."""


class Against(msgspec.Struct, frozen=True):
    """An engine left alone, over the winner: above 1 the winner is faster."""

    engine: str
    p50: Ratio
    p95: Ratio
    busy: Ratio | None
    """Of the p95 beside a busy neighbour."""
    distance: float | None
    """Its outputs from the golden ones: left alone, an engine may compute fp32 in bf16."""

    @property
    def right(self) -> bool:
        """Whether its outputs are the golden ones, as fp32 is on any engine."""
        return self.distance is None or self.distance <= FP32


class Met(msgspec.Struct, frozen=True):
    """One model's head to head."""

    winner: str
    winner_p50: float
    winner_p95: float
    distance: float | None
    """The winner's outputs from the golden ones."""
    tolerance: float | None
    against: tuple[Against, ...]
    failed: dict[str, str]
    """Engines that do not run the model when left alone, and what they said."""

    def best(self, *, right: bool = True) -> Against | None:
        """The engine whose own median is the least: of those that give the golden outputs, or of all."""
        found = [a for a in self.against if not right or a.right]
        return min(found, key=lambda a: a.p50.value, default=None)


def fp32(bundle: Bundle, backend: str) -> Variant | None:
    """The fp32 artifact that a user of this engine would give it."""
    for format_ in ENGINES[backend][1]:
        for variant in bundle.manifest.variants:
            if variant.format == format_ and variant.precision == "fp32":
                return variant
    return None


def left_alone(bundle: Bundle, candidate: Candidate) -> Request:
    """A request that its outputs are not held to: left alone, an engine may compute fp32 in bf16."""
    return msgspec.structs.replace(request_of(bundle, candidate), tolerance=None)


def default(bundle: Bundle, backend: str) -> tuple[Candidate, Callable[[], Worker]] | None:
    """An engine left alone as a contender, and how to start it; None where it has no fp32 artifact to run."""
    variant = fp32(bundle, backend)
    if variant is None:
        return None
    request = left_alone(bundle, Candidate(variant, Device(backend, "CPU")))
    return Candidate(variant, Device(f"{ENGINES[backend][0]} left alone", "CPU")), lambda: Worker(request, command=DEFAULTS)


def meet(bundle: Bundle, winner: Candidate, *, rounds: int, busy_rounds: int) -> Met:
    """Measure the winner and every engine's default in turns."""
    openers: dict[Candidate, Callable[[], Worker]] = {winner: lambda: Worker(request_of(bundle, winner))}
    engines: dict[Candidate, str] = {}
    for backend in ENGINES:
        if (found := default(bundle, backend)) is not None:
            openers[found[0]], engines[found[0]] = found[1], backend
    with Contest(lambda c: openers[c](), Objective(), Effort(), None, 0) as contest:
        contest.enter(list(openers), lambda what, share: None)
        for _ in range(rounds):
            contest.run()
        contest.crowd(list(contest.alive), busy_rounds)
        mine = contest.alive[winner]
        against = []
        for candidate, backend in engines.items():
            if (other := contest.alive.get(candidate)) is None:
                continue
            busy = ratio(other.busy, mine.busy, 0.95) if other.busy else None
            p50, p95 = (ratio(other.rounds, mine.rounds, share) for share in (0.5, 0.95))
            distance = None if other.started is None else other.started.distance
            against.append(Against(backend, p50, p95, busy, distance))
        assert mine.started is not None  # noqa: S101  (it is alive)
        median, high = (float(np.quantile(mine.seconds, share)) for share in (0.5, 0.95))
        return Met(
            str(winner), median, high, mine.started.distance,
            winner.variant.tolerance, tuple(against), {lost.candidate: lost.why for lost in contest.lost},
        )  # fmt: skip


def at_rate(bundle: Bundle, winner: Candidate, *, rate: float, rounds: int, runs: int) -> dict[str, tuple[float, float]]:
    """CPU seconds of an inference, and its p95, at a fixed rate: of the winner, and of ONNX Runtime left alone."""
    found = default(bundle, "onnx")
    assert found is not None  # noqa: S101  (every shape has an fp32 ONNX file)
    workers = {"tuned": Worker(request_of(bundle, winner)), "ONNX Runtime left alone": found[1]()}
    cpu: dict[str, list[float]] = {name: [] for name in workers}
    times: dict[str, list[int]] = {name: [] for name in workers}
    try:
        for worker in workers.values():
            worker.started()
        for _ in range(rounds):
            for name, worker in workers.items():
                worker.paced(10, 1.0 / rate)
                turn = worker.paced(runs, 1.0 / rate)
                cpu[name].append(turn.cpu * 1e-9 / runs)
                times[name] += turn.times
    finally:
        for worker in workers.values():
            worker.close()
    return {name: (float(np.median(cpu[name])), float(np.quantile(times[name], 0.95)) * 1e-9) for name in workers}
