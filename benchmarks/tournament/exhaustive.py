"""Every candidate measured in full, as one would without a tournament; and what the tournament's pick loses to it."""

from __future__ import annotations

import time

import msgspec

from edge_runtime import backends
from edge_runtime.bench.process import Worker, request_of
from edge_runtime.bench.statistics import Ratio
from edge_runtime.bundles.bundle import Bundle
from edge_runtime.engines import Candidate, tunings
from edge_runtime.objective import Objective
from edge_runtime.tuning.contest import Contest
from edge_runtime.tuning.effort import Effort
from edge_runtime.tuning.race import ratio
from edge_runtime.tuning.tournament import drop_fragile

ROUNDS = 10
SECONDS = 0.2
"""Of each candidate in each round: two seconds in all, as `edge-runtime bench` takes."""
FINALISTS = 5
"""Of these, who is fast on an idle machine only does not win: the same rule as a tournament's."""


class Searched(msgspec.Struct, frozen=True):
    """What the search found, and the regret."""

    pick: str
    candidates: int
    seconds: float
    regret: Ratio
    """The p95 of the tournament's pick over that of this one's, both measured anew in turns."""


def search(bundle: Bundle, winner: Candidate, *, confirming: int) -> Searched:
    """Measure every candidate in full; then the two picks against each other."""
    everyone = tunings(bundle.manifest, tuple(backends.devices()))
    began = time.monotonic()
    effort = Effort(turn_seconds=SECONDS)

    def open(candidate: Candidate) -> Worker:
        return Worker(request_of(bundle, candidate))

    with Contest(open, Objective(), effort, None, 0) as contest:
        contest.enter(everyone, lambda what, share: None)
        for _ in range(ROUNDS):
            contest.run()
        standing = contest.standing()
        contest.dismiss([contest.named(row.name) for row in standing[:FINALISTS]], standing)
        drop_fragile(contest, since=0)
        seconds = time.monotonic() - began
        pick = contest.best(contest.alive)
    if pick == winner:
        return Searched(str(pick), len(everyone), seconds, Ratio(1.0, 1.0, 1.0))
    with Contest(open, Objective(), Effort(turn_seconds=0.1), None, 1) as contest:
        contest.enter([pick, winner], lambda what, share: None)
        for _ in range(confirming):
            contest.run()
        found = ratio(contest.alive[winner].rounds, contest.alive[pick].rounds, 0.95)
    return Searched(str(pick), len(everyone), seconds, found)
