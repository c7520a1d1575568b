"""What the best candidate is best at. Pure: figures in, values out."""

from __future__ import annotations

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

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise InputError(f"objective {self.metric!r} is none of {', '.join(METRICS)}")
        if self.memory is not None and self.memory < 1:
            raise InputError(f"a memory limit of {self.memory} bytes: give a positive number, or none")

    def __str__(self) -> str:
        return self.metric + " beside a busy neighbour" * self.busy

    @property
    def share(self) -> float:
        """The percentile of the latency that is looked at; where it is not latency, the one that breaks ties in words."""
        return 0.5 if self.metric == "p50" else 0.95


class Effort(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long a tournament takes at most, and how sure it must be."""

    turn_runs: int = 3
    turn_seconds: float = 0.03
    """A contender's turn in one round: at least so many runs and seconds."""
    settle_seconds: float = 0.015
    """Runs at the begin of each turn that do not count: another one's threads are still spinning, and caches are cold."""
    opening: int = 3
    """Rounds before anyone may drop out."""
    final: int = 40
    """Rounds of the finalists, at most."""
    finalists: int = 4
    confirming: int = 12
    """Rounds of the winner against the best with its backend's own settings."""
    crowded: int = 6
    """Rounds beside a busy neighbour."""
    within: float = 2.0
    """A variant on a device takes part with all its settings if its own are within this factor of the leader's."""
    tie: float = 0.01
    """Two that are closer than this are a tie: the one that takes less CPU wins."""
