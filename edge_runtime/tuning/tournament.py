"""A model's tournament: every way to run it on this device, raced in processes of their own, until one has won.

Stages: each variant on each device with its backend's own settings; then, of those that are near the leader, all settings
that the backend takes to be worth measuring, by successive halving; the finalists, until the leader is ahead beyond the
noise or the rest is a tie; and a confirming round against the best with its backend's own settings, over figures that no
choice was made by.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from edge_runtime import backends
from edge_runtime.bench.energy import Meter
from edge_runtime.bench.process import Limits, Worker, request_of
from edge_runtime.bundles.bundle import Bundle
from edge_runtime.engines import Candidate, candidates, no_candidate, retuned
from edge_runtime.host import Host, host, memory_available, usable_cores
from edge_runtime.objective import Objective
from edge_runtime.profile import Measurement, Tuned, distribution, key_of
from edge_runtime.tuning.contest import Contender, Contest, Open
from edge_runtime.tuning.effort import Effort
from edge_runtime.tuning.race import decided, outweighs, ratio, surely_behind, survivors, tied
from edge_runtime.tuning.words import verdict
from edge_runtime.values import Device

Progress = Callable[[str, float], Any]
"""Told what is going on and the share that is done, 0 to 1."""
Settings = Callable[[Candidate], Iterable[Candidate]]
"""The variant of a candidate on its device, with other settings."""


def tune(
    bundle: Bundle, *, objective: Objective = Objective(), effort: Effort = Effort(),
    devices: Iterable[Device] | None = None, limits: Limits = Limits(), meter: Meter | None = None, seed: int = 0,
    now: datetime | None = None, progress: Progress = lambda what, share: None, open: Open | None = None,
) -> Tuned:  # fmt: skip
    """Find the best way to run a bundle on this device, by measuring.

    `devices` narrows the choice; `limits` are each process's; `meter` counts joules, for the objective "energy"; `now`
    dates the outcome; `open` starts a candidate (a `bench.process.Worker`, unless given). Raises EngineMissingError when
    there is nothing here to run the bundle on, RunError when no candidate runs and gives the golden outputs.
    """
    here, began = host(), time.monotonic()
    found = tuple(backends.devices() if devices is None else devices)
    plain = candidates(bundle.manifest, found)
    if not plain:
        raise no_candidate(bundle.manifest, None)
    limits = _limited(limits)
    start = open or (lambda candidate: Worker(request_of(bundle, candidate, seed=seed), limits))
    date = (now or datetime.now(UTC)).astimezone(UTC).isoformat(timespec="seconds")
    with Contest(start, objective, effort, meter, seed) as contest:
        held = hold(contest, plain, lambda c: retuned(bundle.manifest, c, usable_cores(here)), progress)
        return _outcome(bundle, contest, held, here, date, time.monotonic() - began)


def _limited(limits: Limits) -> Limits:
    """With a limit on memory in any case: a candidate that leaks must not take the machine down."""
    free = memory_available()
    return limits if limits.memory is not None or free is None else msgspec.structs.replace(limits, memory=int(0.8 * free))


class Held(msgspec.Struct, frozen=True):
    """How a tournament ended."""

    winner: Candidate
    baseline: Candidate
    """The best with its backend's own settings."""
    order: tuple[Candidate, ...]
    """Who was there at the end, the best first."""


def hold(contest: Contest, plain: Sequence[Candidate], settings: Settings, progress: Progress) -> Held:
    """All stages. `plain` are the candidates with their backends' own settings; `settings` gives the others of each."""
    near = _open(contest, plain, lambda what, share: progress(what, 0.3 * share))
    others = list(dict.fromkeys(c for one in near for c in settings(one) if c not in contest.alive))
    since = _halve(contest, others, plain, lambda what, share: progress(what, 0.3 + 0.4 * share))
    _final(contest, since, lambda what, share: progress(what, 0.7 + 0.15 * share))
    progress("beside a busy neighbour", 0.85)
    drop_fragile(contest, since)
    progress("taking CPU time at a fixed rate", 0.9)
    standing = contest.standing(since=since)
    winner = _lightest(contest, [contest.named(name) for name in tied(standing, contest.effort)])
    progress("confirming", 0.95)
    there = [candidate for candidate in plain if candidate in contest.alive]
    baseline = contest.best(there) if there else winner
    winner = _confirm(contest, winner, baseline)
    names = {contender.name: candidate for candidate, contender in contest.alive.items()}
    return Held(winner, baseline, tuple(names[row.name] for row in standing if row.name in names))


def _open(contest: Contest, plain: Sequence[Candidate], progress: Progress) -> list[Candidate]:
    """The first stage. Those that are near enough to the leader for other settings to win; the others go home. Where memory
    is short they come in groups, of which the leader alone stays."""
    effort = contest.effort
    near: list[Candidate] = []
    for group in contest.groups(plain):
        if contest.alive:
            standing = contest.standing()
            contest.dismiss([contest.named(standing[0].name)], standing)
        contest.enter(group, progress)
        since = contest.round
        for _ in range(effort.opening):
            contest.run()
        standing = contest.standing(since=since)
        near += [contest.named(row.name) for row in standing if row.ratio.value <= effort.within]
        contest.dismiss(near, standing)
    return list(dict.fromkeys(near))


def _halve(contest: Contest, others: Sequence[Candidate], plain: Sequence[Candidate], progress: Progress) -> int:
    """The second stage: all settings of those that were near, by successive halving, down to the finalists. The best with
    its backend's own settings stays to the end. Tells after which round the last race began."""
    effort, since = contest.effort, contest.round
    for group in [*contest.groups(others)] or [()]:
        contest.enter(group, progress)
        since = contest.round
        while True:
            for _ in range(effort.opening):
                contest.run()
            standing = contest.standing(since=since)
            staying = {contest.named(name) for name in survivors(standing, effort)} | {contest.best(plain)}
            shrunk = len(staying) < len(contest.alive)
            contest.dismiss(staying, standing)
            if not shrunk or len(contest.alive) <= effort.finalists + 1:
                break
    return since


def _final(contest: Contest, since: int, progress: Progress) -> None:
    """Rounds until it is decided. Who is surely behind takes no more turns."""
    effort = contest.effort
    running = list(contest.alive)
    for number in range(effort.final):
        progress("the final", number / effort.final)
        contest.run(running)
        standing = contest.standing(running, since)
        if decided(standing, effort):
            break
        behind = {row.name for row in standing if surely_behind(row.ratio, effort)}
        running = [c for c in running if c in contest.alive and str(c) not in behind]


def drop_fragile(contest: Contest, since: int) -> None:
    """Send home who is fast on an idle machine only: for whom there is another that gains more beside a busy neighbour than
    it loses without one. A device does more than infer."""
    contest.crowd(list(contest.alive), contest.effort.crowded)
    if contest.objective.busy:
        return
    figures = {row.name: row.figure for row in contest.standing(since=since)}
    there = [contender for contender in contest.alive.values() if contender.name in figures and contender.busy]
    for one in there:
        for other in there:
            loss, gain = figures[other.name] / figures[one.name], ratio(one.busy, other.busy, 0.95)
            if loss >= 1.0 and gain.low is not None and outweighs(gain.low, loss, contest.effort):
                contest.leave(one, f"beside a busy neighbour its p95 is {gain.value:.1f}x that of {other.name}")
                break


def _lightest(contest: Contest, leaders: Sequence[Candidate]) -> Candidate:
    """Of those that tie, the one that takes the least CPU time at a fixed rate; the first, where none takes clearly
    less."""
    contest.pace(leaders)
    staying = [contest.alive[c] for c in leaders if c in contest.alive]
    if not staying:
        raise contest.nobody()
    least = min(staying, key=lambda c: c.paced_cpu or 0.0)
    first = staying[0]
    clearly = (least.paced_cpu or 0.0) < 0.9 * (first.paced_cpu or 0.0)
    return (least if clearly else first).candidate


def _confirm(contest: Contest, winner: Candidate, baseline: Candidate) -> Candidate:
    """The winner again, against the best with its backend's own settings, over fresh rounds: who was picked from many looks
    better than it is. A winner that loses here has not won."""
    if winner == baseline:
        return winner
    since = contest.round
    for _ in range(contest.effort.confirming):
        contest.run([winner, baseline])
    standing = contest.standing([winner, baseline], since)
    if not standing:
        raise contest.nobody()
    loses = contest.named(standing[0].name) == baseline and surely_behind(standing[-1].ratio, contest.effort)
    return baseline if loses or winner not in contest.alive else winner


def _outcome(bundle: Bundle, contest: Contest, held: Held, here: Host, date: str, seconds: float) -> Tuned:
    """Everything that was found, as the profile keeps it."""
    order = [c for c in dict.fromkeys((held.winner, *held.order)) if c in contest.alive]
    measured = [_measurement(bundle, contest.alive[c], here) for c in order]
    return Tuned(
        model=bundle.manifest.name, version=bundle.manifest.version, objective=contest.objective, date=date,
        winner=measured[0], runners_up=tuple(measured[1:]), lost=tuple(contest.lost), seconds=round(seconds, 1),
        verdict=verdict(contest, contest.alive[held.winner], contest.alive.get(held.baseline)),
    )  # fmt: skip


def _measurement(bundle: Bundle, contender: Contender, here: Host) -> Measurement:
    assert contender.started is not None  # noqa: S101  (who is alive has started)
    seconds, cold = contender.seconds, contender.started.cold
    joules = [value for value in contender.joules if value]
    return Measurement(
        model=bundle.manifest.name, version=bundle.manifest.version, variant=contender.candidate.variant.name,
        key=key_of(contender.candidate, here), latency=distribution(seconds), runs=len(seconds),
        cpu=contender.paced_cpu, rate=contender.rate,
        busy=distribution([s for turn in contender.busy for s in turn]) if contender.busy else (),
        joules=sum(joules) / len(joules) if joules else None, memory=cold.memory, load=cold.load_seconds,
    )  # fmt: skip
