"""Contenders and their rounds: the part of a tournament that runs processes."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol, TypeAlias

from edge_runtime.bench.energy import Meter
from edge_runtime.bench.measure import Turn
from edge_runtime.bench.process import Started
from edge_runtime.engines import Candidate
from edge_runtime.errors import EdgeError, RunError
from edge_runtime.host import memory_available
from edge_runtime.objective import Objective
from edge_runtime.profile import Lost
from edge_runtime.tuning.effort import Effort
from edge_runtime.tuning.neighbour import busy_neighbour
from edge_runtime.tuning.race import Standing, standings

PACE = 100.0
"""Inferences a second at which CPU time is taken, where the candidate is fast enough: threads that spin between two calls
show there, and only there."""
PACED_RUNS = 30
_TYPICAL = 200 << 20
"""Bytes that a candidate's process is taken to need before one was seen."""


class Runner(Protocol):
    """A candidate in a process of its own: `bench.process.Worker`."""

    def started(self) -> Started: ...
    def turn(self, runs: int, seconds: float, *, both: bool = False) -> Turn: ...
    def paced(self, runs: int, period: float) -> Turn: ...
    def close(self) -> None: ...

    @property
    def resident(self) -> int | None: ...


Open: TypeAlias = Callable[[Candidate], Runner]
"""Starts a candidate's process, and does not wait for it."""


class Contender:
    """One candidate under way: its process, and what its turns showed."""

    def __init__(self, candidate: Candidate, runner: Runner) -> None:
        self.candidate = candidate
        self.name = str(candidate)
        self.runner = runner
        self.started: Started | None = None
        self.rounds: list[tuple[float, ...]] = []
        """Seconds of single runs, a tuple a round; () for a round before it came, or after it left."""
        self.cpu: list[float] = []
        self.joules: list[float] = []
        self.busy: list[tuple[float, ...]] = []
        self.paced_cpu: float | None = None
        self.rate: float | None = None

    @property
    def seconds(self) -> list[float]:
        """All measured runs."""
        return [seconds for turn in self.rounds for seconds in turn]

    def figures(self, objective: Objective) -> Sequence[Sequence[float]]:
        """What the objective compares, round by round."""
        if objective.metric == "cpu":
            return [(value,) if value else () for value in self.cpu]
        if objective.metric == "energy":
            return [(value,) if value else () for value in self.joules]
        return self.rounds


class Contest:
    """The contenders of one model's tournament, those that left, and the rounds so far."""

    def __init__(
        self, open: Open, objective: Objective, effort: Effort, meter: Meter | None, seed: int,
        neighbour: Callable[[bool], AbstractContextManager[None]] = busy_neighbour,
    ) -> None:  # fmt: skip
        self.objective, self.effort = objective, effort
        self._open, self._meter, self._neighbour = open, meter, neighbour
        self._order = random.Random(seed)  # noqa: S311  (an order, not a secret)
        self.alive: dict[Candidate, Contender] = {}
        self.lost: list[Lost] = []
        self.round = 0

    def enter(self, candidates: Sequence[Candidate], progress: Callable[[str, float], object]) -> None:
        """Start each candidate; one that does not start, or is not right, or takes too much memory, has lost. Raises
        RunError when nobody is left.

        The next process starts while one is waited for: most of a start is reading files and importing.
        """
        waiting: list[Contender] = []
        try:
            for number, candidate in enumerate(candidates):
                progress(f"starting {candidate}", number / len(candidates))
                waiting.append(Contender(candidate, self._open(candidate)))
                if len(waiting) > 1:
                    self._start(waiting[0])
                    del waiting[0]
            while waiting:
                self._start(waiting[0])
                del waiting[0]
        finally:
            for contender in waiting:  # where this was given up in the middle
                contender.runner.close()
        if not self.alive:
            raise self.nobody()

    def groups(self, candidates: Sequence[Candidate]) -> Iterator[Sequence[Candidate]]:
        """The candidates in groups whose processes fit into half of the memory that is free."""
        rest = list(candidates)
        while rest:
            size = max([c.runner.resident or 0 for c in self.alive.values()], default=0) or _TYPICAL
            free = memory_available()
            room = len(rest) if free is None else max(1, int(0.5 * free / size))
            yield rest[:room]
            rest = rest[room:]

    def _start(self, contender: Contender) -> None:
        limit = self.objective.memory
        try:
            contender.started = contender.runner.started()
        except EdgeError as error:
            self.leave(contender, str(error))
            return
        grown = contender.started.cold.memory
        if limit is not None and grown is not None and grown > limit:
            self.leave(contender, f"it takes {grown / 1e6:.0f} MB, over the limit of {limit / 1e6:.0f} MB")
            return
        contender.rounds = [()] * self.round
        contender.cpu, contender.joules = [0.0] * self.round, [0.0] * self.round
        self.alive[contender.candidate] = contender

    def run(self, who: Iterable[Candidate] | None = None) -> None:
        """One round: each of them (all, if nobody is named) has its turn, in an order drawn anew."""
        order = [self.alive[c] for c in (self.alive if who is None else who) if c in self.alive]
        self._order.shuffle(order)
        with self._neighbour(self.objective.busy):
            for contender in order:
                self._turn(contender)
        self.round += 1
        for contender in self.alive.values():
            contender.rounds += [()] * (self.round - len(contender.rounds))
            contender.cpu += [0.0] * (self.round - len(contender.cpu))
            contender.joules += [0.0] * (self.round - len(contender.joules))

    def _turn(self, contender: Contender) -> None:
        effort, meter = self.effort, self._meter
        try:
            self._settle(contender.runner)
            before = None if meter is None else meter.read()
            turn = self._measured(contender.runner, effort.turn_seconds)
        except EdgeError as error:
            self.leave(contender, str(error))
            return
        seconds = tuple(time * 1e-9 for time in turn.times)
        contender.rounds.append(seconds)
        contender.cpu.append(turn.cpu * 1e-9 / len(seconds))
        if meter is not None and before is not None:
            contender.joules.append(meter.joules(before, turn.cpu * 1e-9) / len(seconds))

    def _settle(self, runner: Runner) -> None:
        if self.objective.rate is None:
            runner.turn(1, self.effort.settle_seconds, both=True)
        else:
            runner.paced(2, 1.0 / self.objective.rate)

    def _measured(self, runner: Runner, seconds: float) -> Turn:
        rate = self.objective.rate
        if rate is None:
            return runner.turn(self.effort.turn_runs, seconds, both=True)
        return runner.paced(max(self.effort.turn_runs, round(3 * seconds * rate)), 1.0 / rate)

    def pace(self, who: Iterable[Candidate]) -> None:
        """Measure the CPU time of an inference at a fixed rate, of those that are still there."""
        for contender in [self.alive[c] for c in who if c in self.alive]:
            typical = sorted(contender.seconds)
            rate = self.objective.rate or min(PACE, 0.5 / typical[len(typical) // 2])
            runs = max(8, min(PACED_RUNS, int(rate)))
            try:
                turn = contender.runner.paced(runs, 1.0 / rate)
            except EdgeError as error:
                self.leave(contender, str(error))
                continue
            contender.paced_cpu, contender.rate = turn.cpu * 1e-9 / runs, rate

    def crowd(self, who: Sequence[Candidate], rounds: int) -> None:
        """Measure these beside a busy neighbour, in turns."""
        with self._neighbour(True):
            for _ in range(rounds):
                for contender in [self.alive[c] for c in who if c in self.alive]:
                    try:
                        self._settle(contender.runner)
                        turn = self._measured(contender.runner, 2 * self.effort.turn_seconds)
                    except EdgeError as error:
                        self.leave(contender, str(error))
                        continue
                    contender.busy.append(tuple(time * 1e-9 for time in turn.times))

    def standing(self, who: Iterable[Candidate] | None = None, since: int = 0) -> list[Standing]:
        """The places of these (all, if nobody is named), from the rounds after the first `since`."""
        chosen = [self.alive[c] for c in (self.alive if who is None else who) if c in self.alive]
        figures: Mapping[str, Sequence[Sequence[float]]] = {c.name: c.figures(self.objective)[since:] for c in chosen}
        return standings(figures, self.objective.share)

    def named(self, name: str) -> Candidate:
        """The contender of this name that is still there."""
        return next(candidate for candidate, contender in self.alive.items() if contender.name == name)

    def dismiss(self, keep: Iterable[Candidate], standing: Sequence[Standing]) -> None:
        """Send home all but these, with their place as the reason."""
        staying, places = set(keep), {row.name: row for row in standing}
        for candidate, contender in list(self.alive.items()):
            if candidate not in staying:
                row = places.get(contender.name)
                self.leave(contender, "not measured" if row is None else behind(row, self.objective, standing[0].name))

    def best(self, among: Iterable[Candidate]) -> Candidate:
        """Who leads of these. Raises RunError when none of them is there any more."""
        standing = self.standing(among)
        if not standing:
            raise self.nobody()
        return self.named(standing[0].name)

    def nobody(self) -> RunError:
        """The error of a contest in which nobody is left."""
        told = "; ".join(f"{lost.candidate}: {lost.why}" for lost in self.lost)
        return RunError(f"no candidate runs here and gives the golden outputs: {told}")

    def __enter__(self) -> Contest:
        return self

    def __exit__(self, *exc: object) -> None:
        for contender in self.alive.values():
            contender.runner.close()

    def leave(self, contender: Contender, why: str) -> None:
        """Send a contender home."""
        self.alive.pop(contender.candidate, None)
        contender.runner.close()
        self.lost.append(Lost(contender.name, why))


def behind(row: Standing, objective: Objective, leader: str) -> str:
    """A contender's place in words."""
    gap = row.ratio
    sure = "" if gap.low is None or gap.high is None else f" [{gap.low:.2f}, {gap.high:.2f}]"
    return f"{objective.metric} {gap.value:.2f}x that of {leader}{sure}"
