"""Finding by measurement how an endpoint answers most calls: which variant on which engine, how many calls at once, on how
many threads each, and how many rows together.

Each candidate is loaded in a process of its own and held against the golden outputs, as on a device. First all of them take
turns with one call at a time; those that are near the best then try every number of calls at once, and ever more rows. In
each round they take turns in an order drawn anew, so that the machine's drift meets all alike; medians over rounds count.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from statistics import median
from typing import Any, Protocol

import msgspec

from cloud_bridge.endpoint.plans import Measured, Point, Trial, goes_on, sizes
from edge_runtime import backends
from edge_runtime.bench.measure import Turn
from edge_runtime.bench.process import Limits, Started, Worker, request_of
from edge_runtime.bundles.bundle import Bundle
from edge_runtime.engines import Candidate, candidates, no_candidate
from edge_runtime.errors import EdgeError, RunError
from edge_runtime.host import Host, host, usable_cores
from edge_runtime.profile import Lost, key_of
from edge_runtime.values import Device

Progress = Callable[[str, float], Any]
"""Told what is going on and the share that is done, 0 to 1."""


class Effort(msgspec.Struct, frozen=True):
    """How long to measure."""

    rounds: int = 3
    seconds: float = 0.25
    """Of one turn."""
    opening: tuple[int, ...] = (1, 8)
    """Rows of the first stage."""
    finalists: int = 3
    within: float = 1.5
    """How many times the rate of a finalist the best may be."""
    rows: int = 64
    """Rows together, at most."""
    longest: float = 1.0
    """Seconds of a run, at most."""


class Runner(Protocol):
    """A candidate in a process of its own: `bench.process.Worker`."""

    def started(self) -> Started: ...
    def together(self, calls: int, rows: int, seconds: float) -> Turn: ...
    def close(self) -> None: ...


Open = Callable[[Candidate], Runner]


class Contender(msgspec.Struct, eq=False):
    """A candidate with so many calls at once, and the rates and times of its turns, by rows."""

    candidate: Candidate
    runner: Runner
    calls: int
    turns: dict[int, list[tuple[float, float]]] = {}

    def run(self, rows: int, seconds: float) -> None:
        """One turn."""
        times = [took / 1e9 for took in self.runner.together(self.calls, rows, seconds).times]
        mean = sum(times) / len(times)
        self.turns.setdefault(rows, []).append((self.calls * rows / mean, median(times)))

    @property
    def points(self) -> tuple[Point, ...]:
        """What its turns showed."""
        return tuple(
            Point(rows, median(rate for rate, _ in turns), median(took for _, took in turns))
            for rows, turns in sorted(self.turns.items())
        )

    @property
    def rate(self) -> float:
        """The highest."""
        return max(point.rate for point in self.points)


def measure(
    bundle: Bundle, *, effort: Effort = Effort(), devices: Iterable[Device] | None = None, limits: Limits = Limits(),
    progress: Progress = lambda what, share: None, open: Open | None = None, seed: int = 0,
) -> Measured:  # fmt: skip
    """Measure a bundle. Raises EngineMissingError when there is nothing here to run it on, RunError when nothing that runs
    it gives the golden outputs."""
    here = host()
    plain = candidates(bundle.manifest, tuple(backends.devices() if devices is None else devices))
    if not plain:
        raise no_candidate(bundle.manifest, None)
    start = open or (lambda candidate: Worker(request_of(bundle, candidate), limits))
    with ExitStack() as stack:
        race = _Race(bundle, effort, here, start, stack, progress, random.Random(seed))  # noqa: S311  (an order, not a secret)
        finalists = race.first(plain)
        trials = race.all_sizes(finalists)
    if all(trial.calls != 1 for trial in trials):
        raise RunError(
            "nothing here runs it to the end: " + "; ".join(f"{lost.candidate}: {lost.why}" for lost in race.lost)
        )
    date = datetime.now(UTC).isoformat(timespec="seconds")
    return Measured(bundle.manifest.name, bundle.manifest.version, date, trials, tuple(race.lost))


class _Race:
    def __init__(
        self, bundle: Bundle, effort: Effort, here: Host, start: Open, stack: ExitStack, progress: Progress,
        order: random.Random,
    ) -> None:  # fmt: skip
        self._effort, self._here, self._start, self._stack = effort, here, start, stack
        self._progress, self._order = progress, order
        self._batches = bundle.manifest.signature.batch is not None
        self._cores = usable_cores(here)
        self._open: dict[Candidate, Runner] = {}
        self.lost: list[Lost] = []

    def first(self, plain: Sequence[Candidate]) -> list[Candidate]:
        """One call at a time; the candidates that are near the best, the best first."""
        contenders: list[Contender] = []
        for number, one in enumerate(plain):
            self._progress(f"starting {one}", 0.3 * number / len(plain))
            contenders += self._enter(one, 1)
        for rows in self._effort.opening if self._batches else (1,):
            for _ in range(self._effort.rounds):
                contenders = self._round(contenders, rows)
        if not contenders:
            raise RunError("nothing here runs it: " + "; ".join(f"{lost.candidate}: {lost.why}" for lost in self.lost))
        ranked = sorted(contenders, key=lambda c: -c.rate)
        near = [c for c in ranked[: self._effort.finalists] if c.rate * self._effort.within >= ranked[0].rate]
        for contender in ranked:
            if contender not in near:
                self._leave(contender, f"{contender.rate:.0f} a second, the best {ranked[0].rate:.0f}")
        return [contender.candidate for contender in near]

    def all_sizes(self, finalists: Sequence[Candidate]) -> tuple[Trial, ...]:
        """Every number of calls at once, and ever more rows."""
        contenders = [c for one in finalists for calls in sizes(self._cores) for c in self._enter(one, calls)]
        steps = sizes(self._effort.rows) if self._batches else (1,)
        growing = list(contenders)
        for number, rows in enumerate(steps):
            self._progress(f"{rows} row{'s' * (rows > 1)} together", 0.3 + 0.7 * number / len(steps))
            for _ in range(self._effort.rounds):
                growing = self._round(growing, rows)
            growing = [c for c in growing if goes_on(c.points, self._effort.longest)]
        return tuple(
            Trial(c.candidate.variant.name, key_of(c.candidate, self._here), c.calls, c.points)
            for c in contenders
            if 1 in c.turns and c.candidate in self._open
        )

    def _enter(self, one: Candidate, calls: int) -> list[Contender]:
        """The candidate as it is to run with so many calls at once, started unless it runs already; [] where it fails."""
        settings = backends.backend(one.device.backend).shared(one.device, self._cores, calls)
        candidate = Candidate(one.variant, one.device, settings)
        if candidate not in self._open:
            try:
                runner = self._start(candidate)
                self._stack.callback(runner.close)
                runner.started()
            except EdgeError as error:
                self.lost.append(Lost(str(candidate), str(error)))
                return []
            self._open[candidate] = runner
        return [Contender(candidate, self._open[candidate], calls)]

    def _round(self, contenders: Sequence[Contender], rows: int) -> list[Contender]:
        """A turn of each; those that are still there."""
        order = list(contenders)
        self._order.shuffle(order)
        for contender in order:
            try:
                contender.run(rows, self._effort.seconds)
            except EdgeError as error:
                self._leave(contender, str(error))
        return [c for c in contenders if c.candidate in self._open]

    def _leave(self, contender: Contender, why: str) -> None:
        if (runner := self._open.pop(contender.candidate, None)) is not None:
            self.lost.append(Lost(str(contender.candidate), why))
            runner.close()
