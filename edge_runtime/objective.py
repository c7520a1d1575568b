"""What the best way to run a model is best at. Pure."""

from __future__ import annotations

from math import isfinite
from typing import Literal, get_args

import msgspec

from edge_runtime.errors import InputError

Metric = Literal["p50", "p95", "cpu", "energy"]
METRICS: tuple[Metric, ...] = get_args(Metric)


class Objective(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a tournament looks for."""

    metric: Metric = "p95"
    """The least of: a percentile of the latency, the CPU seconds of one inference, the joules of one inference."""
    busy: bool = False
    """Beside a neighbour that keeps one core busy."""
    memory: int | None = None
    """Bytes by which loading and running the model may grow the resident memory; None: no limit."""
    rate: float | None = None
    """Inferences a second that the device really does: between two of them it rests. None: one after the other."""
    watts: tuple[float, float] | None = None
    """The device's power, idle and of one busy core, where it has no energy meter."""

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise InputError(f"objective {self.metric!r} is none of {', '.join(METRICS)}")
        if self.rate is not None and not (isfinite(self.rate) and self.rate > 0):
            raise InputError(f"a rate of {self.rate} inferences a second: give a number above zero, or none")
        if self.memory is not None and self.memory < 1:
            raise InputError(f"a memory limit of {self.memory} bytes: give a positive number, or none")

    def __str__(self) -> str:
        limit = "" if self.memory is None else f" within {self.memory / 1e6:.0f} MB"
        rate = "" if self.rate is None else f" at {self.rate:g}/s"
        return self.metric + rate + " beside a busy neighbour" * self.busy + limit

    @property
    def share(self) -> float:
        """The percentile that is compared: of the latency, or of each turn's figure."""
        return 0.95 if self.metric == "p95" else 0.5
