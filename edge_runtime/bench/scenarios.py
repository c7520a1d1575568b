"""Scenarios of load, with MLPerf LoadGen's names and meaning, and when a run of one is valid. Pure: schedules and verdicts.

A query's latency counts from the instant it was scheduled for, not from when the system took it: a stall counts for every
query that it kept waiting.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from math import isfinite
from typing import TypeAlias

import msgspec
import numpy as np

from edge_runtime.bench import early_stopping
from edge_runtime.bench.statistics import rank
from edge_runtime.bench.units import duration
from edge_runtime.errors import InputError


class _Scenario(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag=True, tag_field="scenario"):
    """What all have in common."""

    queries: int = 1024
    """Queries, at least."""
    seconds: float = 0.0
    """How long it lasts, at least."""
    seed: int = 1

    @property
    def name(self) -> str:
        """LoadGen's, where it has it."""
        return type(self).__name__

    def __post_init__(self) -> None:
        if self.queries < 1 or not (isfinite(self.seconds) and self.seconds >= 0):
            raise InputError(f"{self.name} of {self.queries} queries, {self.seconds} s: give at least one, and a time")
        early_stopping.check_share(getattr(self, "percentile", 0.5))
        for field in ("rate", "latency", "gap"):
            value = getattr(self, field, None)
            if value is not None and not (isfinite(value) and value > 0):
                raise InputError(f"{self.name} with {field} {value}: give a number above zero")
        for field in ("samples", "size"):
            if getattr(self, field, 1) < 1:
                raise InputError(f"{self.name} with {field} {getattr(self, field)}: give at least one")


class SingleStream(_Scenario, frozen=True, kw_only=True):
    """One query of one sample, the next when it is answered. Its figure is a percentile of the latency."""

    percentile: float = 0.90


class MultiStream(_Scenario, frozen=True, kw_only=True):
    """One query of several samples, the next when it is answered. Its figure is a percentile of the queries' latency."""

    samples: int = 8
    percentile: float = 0.99


class Server(_Scenario, frozen=True, kw_only=True):
    """Queries of one sample that arrive at random (Poisson), whether the last one is answered or not. Valid if a percentile
    of the latency is within the limit."""

    rate: float
    """Queries a second, on average."""
    latency: float
    """Seconds."""
    percentile: float = 0.99


class Offline(_Scenario, frozen=True, kw_only=True):
    """All samples at once. Its figure is how many are answered a second."""


class FixedRate(_Scenario, frozen=True, kw_only=True):
    """Queries at a fixed rate, as a sensor gives them."""

    rate: float
    latency: float | None = None
    percentile: float = 0.99


class Burst(_Scenario, frozen=True, kw_only=True):
    """So many queries at once, then a gap, then so many more."""

    size: int
    gap: float
    """Seconds from burst to burst."""
    latency: float | None = None
    percentile: float = 0.99


Scenario: TypeAlias = "SingleStream | MultiStream | Server | Offline | FixedRate | Burst"
Timed: TypeAlias = "SingleStream | MultiStream | Server | FixedRate | Burst"
"""Those whose figure is a latency."""
NAMES = ("SingleStream", "MultiStream", "Server", "Offline", "FixedRate", "Burst")


def samples_per_query(scenario: Scenario) -> int:
    """Inferences that one query asks for."""
    return scenario.samples if isinstance(scenario, MultiStream) else 1


def arrivals(scenario: Scenario) -> list[float] | None:
    """The instants that queries are scheduled for, in seconds from the start: as many as the scenario asks for, and for as
    long. None where the next one comes when the last was answered."""
    if isinstance(scenario, SingleStream | MultiStream):
        return None
    if isinstance(scenario, Offline):
        return [0.0] * scenario.queries
    dice = random.Random(scenario.seed)  # noqa: S311  (a schedule, not a secret)
    instants: list[float] = []
    at = 0.0
    while len(instants) < scenario.queries or at < scenario.seconds:
        instants.append(at)
        if isinstance(scenario, Server):
            at += dice.expovariate(scenario.rate)
        elif isinstance(scenario, FixedRate):
            at = len(instants) / scenario.rate
        else:
            at = len(instants) // scenario.size * scenario.gap
    return instants


class Judged(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A verdict on a run."""

    valid: bool
    figure: float
    """The scenario's own: seconds at its percentile, or samples a second (Offline)."""
    reasons: tuple[str, ...] = ()
    """Why it is not valid, each as one sentence."""
    estimate: float | None = None
    """The percentile in seconds that early stopping lets be claimed."""


class ScenarioRun(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One run of a scenario, every query kept."""

    model: str
    version: str
    label: str
    """What ran: variant, device, settings."""
    scenario: Scenario
    scheduled: tuple[int, ...]
    """Nanoseconds from the run's start, query by query."""
    started: tuple[int, ...]
    ended: tuple[int, ...]
    errors: tuple[str, ...] = ()
    """What failed queries said."""
    judged: Judged
    loadgen: Judged | None = None
    """MLPerf LoadGen's own verdict over a run of its own, where it was asked."""

    @property
    def latencies(self) -> tuple[int, ...]:
        """Nanoseconds from when each query was scheduled to when it was answered."""
        return tuple(end - due for due, end in zip(self.scheduled, self.ended, strict=True))

    def __str__(self) -> str:
        limit = getattr(self.scenario, "latency", None)
        rate = getattr(self.scenario, "rate", None)
        text = f"{self.scenario.name}{'' if rate is None else f' {rate:g}/s'}: {_said(self.scenario, self.judged)}"
        text += "" if limit is None else f" of {duration(limit)}"
        if self.loadgen is not None:
            text += f" (LoadGen: {_said(self.scenario, self.loadgen)})"
        return text


def _said(scenario: Scenario, judged: Judged) -> str:
    word = "VALID" if judged.valid else "INVALID"
    if isinstance(scenario, Offline):
        return f"{word}, {judged.figure:.1f} samples/s"
    return f"{word}, p{100 * scenario.percentile:g} {duration(judged.figure)}"


def judge(scenario: Scenario, scheduled: Sequence[int], ended: Sequence[int], errors: Sequence[str] = ()) -> Judged:
    """The verdict on a run. All times are nanoseconds from its start."""
    reasons = [f"{len(errors)} queries failed: {errors[0]}."] if errors else []
    count, lasted = len(ended), max(ended, default=0) * 1e-9
    if not count:
        return Judged(False, 0.0, (*reasons, "No query was answered."))
    if count < scenario.queries:
        reasons.append(f"{count} queries were answered, of at least {scenario.queries}.")
    if lasted < scenario.seconds:
        reasons.append(f"It lasted {lasted:.1f} s, of at least {scenario.seconds:g} s.")
    if isinstance(scenario, Offline):
        return Judged(not reasons, count * samples_per_query(scenario) / max(lasted, 1e-9), tuple(reasons))
    latencies = np.sort(np.asarray(ended, np.int64) - np.asarray(scheduled, np.int64))
    figure = float(latencies[rank(count, scenario.percentile) - 1]) * 1e-9
    limit = getattr(scenario, "latency", None)
    claimed = early_stopping.estimate(latencies.tolist(), scenario.percentile)
    if limit is None:
        if claimed is None:
            reasons.append(_too_few(count, scenario.percentile, 1))
    else:
        reasons += _over(scenario, int(np.sum(latencies > limit * 1e9)), count, figure, limit)
    return Judged(not reasons, figure, tuple(reasons), None if claimed is None else claimed * 1e-9)


def _over(scenario: Timed, over: int, count: int, figure: float, limit: float) -> list[str]:
    share = scenario.percentile
    if figure > limit:
        return [f"p{100 * share:g} is {duration(figure)}, over the limit of {duration(limit)}."]
    if count < early_stopping.needed(over, share):
        return [_too_few(count, share, over)]
    return []


def _too_few(count: int, share: float, over: int) -> str:
    needed = early_stopping.needed(over, share)
    return f"{count} queries with {over} over are too few to be sure of p{100 * share:g}: {needed} are needed."
