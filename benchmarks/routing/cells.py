"""All policies in one cell, and what they are judged by."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from benchmarks.routing.links import LinkTrace
from benchmarks.routing.oracle import oracle
from benchmarks.routing.rivals import Rival, rivals
from benchmarks.routing.world import WORTH_CLOUD, WORTH_LOCAL, Cell, build
from edge_runtime.routing.events import Ruled
from edge_runtime.routing.policy import Policy
from edge_runtime.routing.router import Router
from edge_runtime.routing.simulator import Found, Outcome, Simulator
from edge_runtime.routing.world import World

OURS = "ours"
PARTS = {
    "probes": Policy(probe_after=1e9),
    "optimism": Policy(optimism=0.0),
    "a learnt chance": Policy(learning=0.0),
    "the price of bytes": Policy(byte_price=0.0, least_odds=0.0),
    "a margin for slow local runs": Policy(margin=1.0),
}
"""Policies that leave out a part each."""


class Score(msgspec.Struct, frozen=True):
    """One policy in one cell. Shares in 0..1, bytes in payloads per call."""

    policy: str
    hit: float
    """Calls answered in time."""
    hit_where_oracle: float
    """Of those that the oracle answers in time."""
    utility: float
    """Mean worth of the answers in time."""
    regret: float
    """1 - utility / the oracle's."""
    sent: float
    wasted: float
    """Bytes whose answer did not come in time."""
    probed: float
    local: float
    """Local runs per call."""
    odds: tuple[tuple[float, int, int], ...] = ()
    """Of calls sent, by tenths of the chance that was told: the chances' sum, how many came in time, how many calls."""


class Scored(msgspec.Struct, frozen=True):
    """All policies in one cell, the oracle first."""

    cell: Cell
    scores: tuple[Score, ...]

    def of(self, policy: str) -> Score:
        """This policy's score."""
        return next(score for score in self.scores if score.policy == policy)


def router(world: World, policy: Policy = Policy()) -> Router:
    """The router that ships, as a runtime would set it up for this world."""
    made = Router()
    made.know(Ruled(0.0, policy))
    for event in world.known:
        made.know(event)
    return made


def score_cell(cell: Cell, trace: LinkTrace, calls: int, policies: Sequence[str] | None = None) -> list[Score]:
    """Every policy's score in this cell, the oracle's first."""
    world = build(cell, trace, calls)
    best = oracle(world)
    utility = [_worth(target) for target, _ in best]
    total = float(np.mean(utility))
    scores = [
        Score(
            "oracle", _mean(t != "none" for t, _ in best), 1.0, total, 0.0,
            float(np.mean([b for _, b in best])) / cell.size, 0.0, 0.0, _mean(t == "local" for t, _ in best),
        )
    ]  # fmt: skip
    for name, rival in rivals(world).items():
        if policies is None or name in policies:
            scores.append(_score(name, world, run_rival(world, rival), best, total))
    scores.append(_score(OURS, world, Simulator(world, router(world)).run(), best, total))
    return scores


def ablations(cell: Cell, trace: LinkTrace, calls: int) -> list[Score]:
    """Ours with one part after another left out."""
    world = build(cell, trace, calls)
    best = oracle(world)
    total = float(np.mean([_worth(target) for target, _ in best]))
    found = [_score(OURS, world, Simulator(world, router(world)).run(), best, total)]
    for name, policy in PARTS.items():
        ran = Simulator(world, router(world, policy)).run()
        found.append(_score(f"without {name}", world, ran, best, total))
    return found


def run_rival(world: World, rival: Rival) -> Found:
    """A rival sees what each upload took, and round trip and work of what was answered."""
    return Simulator(world, rival, rival).run()


def _worth(target: str) -> float:
    return {"cloud": WORTH_CLOUD, "local": WORTH_LOCAL, "none": 0.0}[target]


def _mean(flags: object) -> float:
    return float(np.mean(list(flags)))  # type: ignore[call-overload]


def _score(name: str, world: World, found: Found, best: list[tuple[str, float]], total: float) -> Score:
    outcomes, size = found.outcomes, world.requests[0].size
    utility = float(np.mean([_worth(o.target) for o in outcomes]))
    hits = np.array([o.target != "none" for o in outcomes])
    could = np.array([target != "none" for target, _ in best])
    return Score(
        name,
        float(hits.mean()),
        float(hits[could].mean()) if could.any() else 1.0,
        utility,
        1.0 - utility / total if total else 0.0,
        sum(o.sent for o in outcomes) / size / len(outcomes),
        sum(o.sent for o in outcomes if not o.cloud_came) / size / len(outcomes),
        found.probed / size / len(outcomes),
        _mean(o.ran for o in outcomes),
        _tenths(outcomes) if name == OURS else (),
    )


def _tenths(outcomes: Sequence[Outcome]) -> tuple[tuple[float, int, int], ...]:
    found = [[0.0, 0, 0] for _ in range(10)]
    for outcome in outcomes:
        if (told := outcome.plan.odds) is not None:
            row = found[min(9, int(10 * told))]
            row[0], row[1], row[2] = row[0] + told, row[1] + bool(outcome.cloud_came), row[2] + 1
    return tuple((total, int(came), int(calls)) for total, came, calls in found)
