"""Tournaments among made-up candidates on a made-up machine whose clock drifts: no engine, no process."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.bench.measure import Turn
from edge_runtime.bench.process import Started
from edge_runtime.bench.report import ColdStart
from edge_runtime.errors import InputError, RunError
from edge_runtime.objective import Objective
from edge_runtime.profile import Candidate
from edge_runtime.tuning.contest import Contest
from edge_runtime.tuning.effort import Effort
from edge_runtime.tuning.race import decided, outweighs, ratio, standings, survivors, tied
from edge_runtime.tuning.tournament import Held, hold
from edge_runtime.values import Device, Settings
from tests.doubles import HERE, manifest

QUICK = Effort(turn_runs=8, final=30)


class Machine:
    """Time passes as its runs take it; how fast it is drifts by tens of percent."""

    def __init__(self, seed: int = 0, drift: float = 0.02) -> None:
        self.random = random.Random(seed)
        self.pace = 1.0
        self._drift = drift
        self.crowded = False

    @contextmanager
    def neighbour(self, wanted: bool) -> Iterator[None]:
        """With a neighbour on it, or without."""
        self.crowded = wanted
        yield
        self.crowded = False

    def run(self, seconds: float) -> int:
        """One run of a candidate that takes so long when all is well."""
        self.pace = min(1.6, max(0.8, self.pace * self.random.lognormvariate(0, self._drift)))
        return int(seconds * self.pace * self.random.lognormvariate(0, 0.05) * 1e9)


class Fake:
    """A candidate's process that takes `typical` seconds a run and `cpu` times that in CPU time, or fails as told."""

    def __init__(
        self, machine: Machine, typical: float, *, cpu: float = 1.0, memory: int = 10**7, fails_at: int | None = None,
        crowded: float = 1.0,
    ) -> None:  # fmt: skip
        self.machine, self.typical, self.cpu, self.memory, self.fails_at = machine, typical, cpu, memory, fails_at
        self.crowded = crowded
        self.turns = self.back_to_back = 0
        self.closed = False

    @property
    def resident(self) -> int | None:
        return self.memory

    def started(self) -> Started:
        if self.fails_at == 0:
            raise RunError("the process ended with signal 11")
        return Started(ColdStart(0.1, 0.1, 0.1, self.memory), HERE, 0.0)

    def turn(self, runs: int, seconds: float, *, both: bool = False) -> Turn:
        self.back_to_back += 1
        return self._run(runs)

    def _run(self, runs: int) -> Turn:
        self.turns += 1
        if self.fails_at is not None and self.turns >= self.fails_at:
            raise RunError("it did not answer in time")
        taken = self.typical * (self.crowded if self.machine.crowded else 1.0)
        times = tuple(self.machine.run(taken) for _ in range(max(runs, 5)))
        return Turn(times, int(sum(times) * self.cpu))

    def paced(self, runs: int, period: float) -> Turn:
        return self._run(runs)

    def close(self) -> None:
        self.closed = True


DEVICE = Device("made up", "CPU", engine="made up 1.0")


def candidates(count: int) -> list[Candidate]:
    """As many variants on one device."""
    return [Candidate(variant, DEVICE) for variant in manifest(variants=count).variants]


def play(
    fakes: dict[Candidate, Fake], settings_of: dict[Candidate, list[Candidate]] | None = None,
    objective: Objective = Objective(), effort: Effort = QUICK, seed: int = 0,
) -> tuple[Held, Contest]:  # fmt: skip
    """A tournament among these; the candidates without settings of their own are the plain ones."""
    plain = [c for c in fakes if c.settings == Settings()]

    def others(candidate: Candidate) -> Iterable[Candidate]:
        return (settings_of or {}).get(candidate, [])

    machine = next(iter(fakes.values())).machine
    with Contest(lambda c: fakes[c], objective, effort, None, seed, machine.neighbour) as contest:
        held = hold(contest, plain, others, lambda what, share: None)
    return held, contest


# A tournament decides by samples, so whoever hunts long enough finds a machine whose noise fools a quick one by a little
# more: the same examples each time.
@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.lists(st.floats(1e-4, 1e-2), min_size=2, max_size=9), st.integers(0, 1000))
def test_the_winner_is_as_good_as_the_best_whatever_the_machine_does(typical: list[float], seed: int) -> None:
    """Its true time is within 3 % of the best one's: ties are ties, and drift meets all alike."""
    machine = Machine(seed)
    fakes = {c: Fake(machine, seconds) for c, seconds in zip(candidates(len(typical)), typical, strict=True)}
    held, _ = play(fakes, seed=seed)
    assert fakes[held.winner].typical <= 1.03 * min(typical)
    assert all(fake.closed for fake in fakes.values())


def test_other_settings_of_what_was_near_can_win() -> None:
    """A variant that is 1.6 times slower on its backend's own settings, and the fastest of all on others."""
    machine = Machine(1)
    first, second = candidates(2)
    tuned = msgspec.structs.replace(second, settings=Settings(threads=2))
    fakes = {first: Fake(machine, 0.001), second: Fake(machine, 0.0016), tuned: Fake(machine, 0.0008)}
    held, _ = play(fakes, {second: [second, tuned]})
    assert (held.winner, held.baseline) == (tuned, first)


def test_what_is_far_behind_is_not_tried_with_other_settings() -> None:
    """Nobody pays for starting what cannot win."""
    machine = Machine(2)
    first, second = candidates(2)
    tuned = msgspec.structs.replace(second, settings=Settings(threads=2))
    fakes = {first: Fake(machine, 0.001), second: Fake(machine, 0.003), tuned: Fake(machine, 0.0029)}
    _, contest = play(fakes, {second: [second, tuned]})
    assert fakes[tuned].turns == 0
    assert [lost.candidate for lost in contest.lost] == [str(second)]
    assert "x that of" in contest.lost[0].why


def test_of_a_tie_the_one_that_takes_less_cpu_wins() -> None:
    """Two that take the same time: the one that spins loses."""
    machine = Machine(3)
    spinning, quiet = candidates(2)
    held, _ = play({spinning: Fake(machine, 0.001, cpu=2.0), quiet: Fake(machine, 0.001, cpu=1.0)})
    assert held.winner == quiet


@pytest.mark.parametrize("fails_at", [0, 1, 4, 9, 20])
def test_a_candidate_that_dies_loses_and_the_tournament_goes_on(fails_at: int) -> None:
    """At its start, in its first turn, in the middle or in the final: even if it was the fastest."""
    machine = Machine(4)
    dying, first, second = candidates(3)
    fakes = {
        dying: Fake(machine, 0.0005, fails_at=fails_at), first: Fake(machine, 0.001), second: Fake(machine, 0.0012)
    }  # fmt: skip
    held, contest = play(fakes)
    assert held.winner == first
    assert str(dying) in [lost.candidate for lost in contest.lost]


def test_a_tournament_that_is_given_up_leaves_no_process() -> None:
    """Who tells it to stop, by an exception while it starts them, finds every process ended."""
    fakes = {c: Fake(Machine(), 0.001) for c in candidates(5)}
    told: list[str] = []

    def stop(what: str, share: float) -> None:
        told.append(what)
        if len(told) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Contest(lambda c: fakes[c], Objective(), QUICK, None, 0) as contest:
        hold(contest, list(fakes), lambda c: (), stop)
    assert [fake.closed for fake in fakes.values()] == [True, True, True, False, False]  # the last two were never opened


def test_when_all_die_the_error_names_each() -> None:
    """Nobody is chosen, and the caller learns why."""
    with pytest.raises(RunError, match=r"no candidate runs here.*v0 on made up:CPU: .*signal 11.*v1"):
        play({c: Fake(Machine(), 0.001, fails_at=0) for c in candidates(2)})


def test_a_candidate_over_the_memory_limit_loses() -> None:
    """However fast it is."""
    machine = Machine(5)
    large, small = candidates(2)
    fakes = {large: Fake(machine, 0.0005, memory=10**9), small: Fake(machine, 0.001)}
    held, contest = play(fakes, objective=Objective(memory=10**8))
    assert held.winner == small
    assert contest.lost[0].why == "it takes 1000 MB, over the limit of 100 MB"


def test_the_objective_decides_what_is_compared() -> None:
    """Least CPU time is somebody else's strength than the least latency."""
    machine = Machine(6)
    fast, frugal = candidates(2)
    fakes = {fast: Fake(machine, 0.001, cpu=2.0), frugal: Fake(machine, 0.0015, cpu=1.0)}
    assert play(fakes)[0].winner == fast
    assert play(fakes, objective=Objective("cpu"))[0].winner == frugal
    with pytest.raises(InputError, match="none of p50"):
        Objective("speed")  # type: ignore[arg-type]


def test_who_is_fast_on_an_idle_machine_only_does_not_win() -> None:
    """A tenth faster than all others alone, and five times slower beside a neighbour: it is sent home, and told why. Where
    the gain would not make up for the loss, or is small, it wins."""
    machine = Machine(8)
    fragile, steady = candidates(2)
    fragile = msgspec.structs.replace(fragile, settings=Settings(spinning=True))
    fakes = {steady: Fake(machine, 0.001), fragile: Fake(machine, 0.0009, crowded=5.0)}
    held, contest = play(fakes, {steady: [fragile]})
    assert held.winner == steady
    assert "beside a busy neighbour its p95 is" in contest.lost[-1].why
    assert play(fakes, {steady: [fragile]}, Objective(busy=True))[0].winner == steady
    fakes[fragile] = Fake(machine, 0.0009, crowded=1.4)
    assert play(fakes, {steady: [fragile]})[0].winner == fragile
    assert outweighs(1.3, 1.05, QUICK)
    assert not outweighs(1.25, 1.05, QUICK)
    assert not outweighs(1.1, 1.0, QUICK)


def test_at_a_rate_nobody_runs_back_to_back() -> None:
    """Who is asked for so many a second is measured so, and warned of what is no rate."""
    machine = Machine(7)
    waking, spinning = candidates(2)
    fakes = {waking: Fake(machine, 0.001), spinning: Fake(machine, 0.0009)}
    held, contest = play(fakes, objective=Objective(rate=50.0))
    assert held.winner == spinning
    assert str(contest.objective) == "p95 at 50/s"
    assert fakes[waking].back_to_back == 0
    with pytest.raises(InputError, match="number above zero"):
        Objective(rate=0.0)


def test_a_ratio_is_known_from_shared_rounds_alone() -> None:
    """A round that one of them sat out says nothing; too few shared ones give no interval."""
    slow = [(2.0, 2.2), (), (4.0, 4.4), (2.0,), (2.0,), (2.0,), (2.0,)]
    fast = [(1.0, 1.1), (9.0,), (2.0, 2.2), (1.0,), (1.0,), (1.0,), ()]
    found = ratio(slow, fast, 0.5)
    assert found.value == pytest.approx(2.0, rel=0.1)
    assert found.decided
    assert ratio(slow[:3], fast[:3], 0.5).low is None


def test_standings_survivors_and_ties() -> None:
    """The better half stays and so does who may lead; a tie is decided when it is surely small."""
    rounds = {f"c{i}": [(1.0 + 0.2 * i,)] * 6 for i in range(12)}
    rounds["twin"] = [(1.0,)] * 6
    standing = standings(rounds, 0.95)
    effort = Effort()
    assert {standing[0].name, standing[1].name} == {"c0", "twin"}
    assert len(survivors(standing, effort)) == 7
    assert set(tied(standing, effort)) == {"c0", "twin"}
    assert decided(standing, effort)
    assert decided(standing[:1], effort)
    assert not decided(standings({"a": [(1.0,), (1.2,)] * 4, "b": [(1.1,), (1.1,)] * 4}, 0.5), effort)
