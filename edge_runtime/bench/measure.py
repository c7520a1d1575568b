"""Measuring several things side by side: warm-up apart, then rounds over all of them, every raw value kept.

Three effects that spoil a naive loop, and what is done about them. The machine's clock drifts by tens of percent over
seconds: cases take turns in short rounds, in an order drawn anew for each, so drift meets all of them alike. An engine's
threads go on spinning for a while after a run, and caches are cold after a change of case: each turn begins with settling
runs that are kept apart. The garbage collector stops the world at random: it runs between rounds, never inside one.
"""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Annotated, Any

import msgspec

from edge_runtime.errors import InputError

ROUNDS = 10
Nanoseconds = Annotated[int, msgspec.Meta(ge=1)]
Clock = Callable[[], int]
"""An instant in nanoseconds."""


class Turn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a case's turn showed."""

    times: tuple[int, ...]
    """Nanoseconds of single runs."""
    cpu: int
    """Nanoseconds of CPU time of the whole process over all of them."""


class Case(msgspec.Struct, frozen=True):
    """Something to measure. `turn(runs, seconds, both)` runs it until so many runs or seconds are reached, or until both
    are: in this process (`called`), or in one of its own (`bench.process.Worker`)."""

    name: str
    turn: Callable[[int, float, bool], Turn]


def called(
    name: str, call: Callable[[], object], clock: Clock = time.perf_counter_ns, cpu_clock: Clock = time.process_time_ns
) -> Case:
    """A case of which one call is one run."""
    return Case(name, lambda runs, seconds, both: timed(call, runs, seconds, both=both, clock=clock, cpu_clock=cpu_clock))


def timed(
    call: Callable[[], object], runs: int, seconds: float, *, both: bool = False,
    clock: Clock = time.perf_counter_ns, cpu_clock: Clock = time.process_time_ns,
) -> Turn:  # fmt: skip
    """Call until `runs` runs or `seconds` are reached, or until both are."""
    limit = int(seconds * 1e9)
    times: list[int] = []
    spent = 0
    reached = all if both else any
    cpu = cpu_clock()
    while not reached((len(times) >= runs, spent >= limit)):
        start = clock()
        call()
        elapsed = max(1, clock() - start)  # a clock too coarse to see a run must not make an endless loop
        times.append(elapsed)
        spent += elapsed
    return Turn(tuple(times), cpu_clock() - cpu)


class WarmUp(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How each case is warmed up before the first round, and settled at the begin of each of its turns: for at least so
    many runs and so many seconds."""

    runs: int = 3
    seconds: float = 0.2
    settle_runs: int = 1
    settle_seconds: float = 0.01


class Samples(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was measured of one case. Times are wall-clock nanoseconds of single runs, in the order in which they ran."""

    name: str
    rounds: tuple[tuple[Nanoseconds, ...], ...] = ()
    """The measured runs, a tuple a round; empty where the case had enough before that round."""
    warmup: tuple[Nanoseconds, ...] = ()
    settling: tuple[Nanoseconds, ...] = ()
    cpu: tuple[int, ...] = ()
    """CPU time of the whole process per run, a mean a round: what is above the wall time ran in parallel."""
    error: str | None = None
    """Why the case stopped, when it raised; what it measured in the rounds before is kept."""
    starts: tuple[Annotated[int, msgspec.Meta(ge=1)], ...] = ()
    """The rounds, beyond the first, at which everything began anew in a fresh process; ascending."""

    def __post_init__(self) -> None:
        edges = (0, *self.starts, len(self.rounds))
        if self.starts and any(a >= b for a, b in pairwise(edges)):
            raise ValueError(f"{self.name}: starts {self.starts} are no ascending places among {len(self.rounds)} rounds")

    @property
    def values(self) -> tuple[int, ...]:
        """All measured runs."""
        return tuple(value for part in self.rounds for value in part)


class _Turns:
    """One case under way."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.rounds: list[tuple[int, ...]] = []
        self.warmup: list[int] = []
        self.settling: list[int] = []
        self.cpu: list[int] = []
        self.count = self.total = 0
        self.error: str | None = None

    def turn(self, runs: int, seconds: float, warmup: WarmUp) -> None:
        """One round's turn: settle, then measure."""
        self.settling += self.case.turn(warmup.settle_runs, warmup.settle_seconds, True).times
        turn = self.case.turn(runs, seconds, False)
        self.cpu.append(turn.cpu // max(1, len(turn.times)))
        self.rounds.append(turn.times)
        self.count += len(turn.times)
        self.total += sum(turn.times)

    def samples(self) -> Samples:
        return Samples(
            self.case.name, tuple(self.rounds), tuple(self.warmup), tuple(self.settling), tuple(self.cpu), self.error
        )


def measure(
    cases: Sequence[Case], *, runs: int = 200, seconds: float = 2.0, warmup: WarmUp = WarmUp(), seed: int = 0,
    progress: Callable[[int, int], Any] = lambda done, total: None,
) -> list[Samples]:  # fmt: skip
    """Measure all cases side by side until each has `runs` runs or `seconds` of measured time, whichever comes first.

    Cases take turns of a tenth of that, in rounds, in an order drawn from `seed`. A case that raises ends there with its
    message in `Samples.error`; the others go on. `progress` is told how many turns are done and how many there are at most.
    Raises InputError for limits that cannot be used.
    """
    if runs < 1 or not 0 < seconds < float("inf"):
        raise InputError(f"measure for runs >= 1 and seconds > 0, not for {runs} runs or {seconds} s")
    if len({case.name for case in cases}) < len(cases):
        raise InputError("two cases have the same name; give each its own")
    order = random.Random(seed)  # noqa: S311  (an order, not a secret)
    turns = [_Turns(case) for case in cases]
    total, done = len(cases) * (ROUNDS + 1), 0
    with _no_collection():
        for turn in turns:
            with _caught(turn):
                turn.warmup = list(turn.case.turn(warmup.runs, warmup.seconds, True).times)
            progress(done := done + 1, total)
        while active := [t for t in turns if t.error is None and t.count < runs and t.total < seconds * 1e9]:
            number = max(len(t.rounds) for t in turns)
            order.shuffle(active)
            gc.collect()
            for turn in active:
                with _caught(turn):
                    limit = min(seconds / ROUNDS, seconds - turn.total / 1e9)
                    turn.turn(min(-(-runs // ROUNDS), runs - turn.count), limit, warmup)
                progress(done := min(done + 1, total), total)
            for turn in turns:  # round i is the same stretch of time for every case
                turn.rounds += [()] * (number + 1 - len(turn.rounds))
    progress(total, total)
    return [turn.samples() for turn in turns]


@contextmanager
def _caught(turn: _Turns) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # noqa: BLE001  (a case is somebody else's code: whatever it raises is its result)
        turn.error = f"{type(error).__name__}: {error}"


@contextmanager
def _no_collection() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
