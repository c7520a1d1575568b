"""The simulator, and policies in it: small worlds whose outcome can be told by hand, and the comparison's own promises."""

from __future__ import annotations

from typing import cast

import pytest

from benchmarks.routing.cells import OURS, Scored, score_cell
from benchmarks.routing.generate import link
from benchmarks.routing.links import LinkTrace
from benchmarks.routing.world import FAST_LOCAL, Cell, build
from edge_runtime.routing.events import Known, Paced, Ruled
from edge_runtime.routing.policy import Policy, Request
from edge_runtime.routing.router import Router
from edge_runtime.routing.simulator import Simulator
from edge_runtime.routing.world import Uplink, World


def world(rate: float, calls: int = 20, *, endpoints: tuple[str, ...] = ("cloud",), budget: float = 0.2) -> World:
    """Calls of 10 kB five times a second over a constant link."""
    return World(
        (Request("m", budget, 10_000),) * calls, tuple(0.2 * (i + 1) for i in range(calls)), (0.01,) * calls,
        (0.02,) * calls, (0.03,) * calls, {name: Uplink([0.0, 1.0], [rate]) for name in endpoints},
        (Known(0.0, "m", 0.7, 0.8, endpoints), Paced(0.0, "m", 10_000, 0.02, 0.025)),
    )  # fmt: skip


def router(of: World, policy: Policy = Policy()) -> Router:
    made = Router()
    made.know(Ruled(0.0, policy))
    for event in of.known:
        made.know(event)
    return made


def test_over_a_fast_link_the_cloud_answers_all_and_nothing_runs_here() -> None:
    """Each takes its bytes, its round trip and the endpoint's work."""
    there = world(1e6)
    outcomes = Simulator(there, router(there)).run().outcomes
    assert {o.target for o in outcomes} == {"cloud"}
    assert all(o.elapsed == pytest.approx(0.05) for o in outcomes)
    assert not any(o.ran for o in outcomes)


def test_over_a_dead_link_every_call_is_answered_here_in_time() -> None:
    """And after the first few no more bytes than probes are spent on it."""
    there = world(300.0, calls=50)
    found = Simulator(there, router(there)).run()
    assert {o.target for o in found.outcomes} == {"local"}
    assert all(o.elapsed <= 0.2 + 1e-9 for o in found.outcomes)
    assert sum(o.sent for o in found.outcomes[10:]) == 0


def test_an_answer_that_is_late_costs_its_bytes_until_the_deadline_only() -> None:
    """Cancelling stops them."""
    there = world(20_000.0, calls=1)
    (outcome,) = Simulator(there, router(there)).run().outcomes
    assert outcome.target == "local"
    assert outcome.sent == pytest.approx(0.2 * 20_000)


def test_the_device_runs_one_thing_at_a_time() -> None:
    """Five calls at once of 20 ms each within 70: three are answered, the others are shed."""
    five = World(
        (Request("m", 0.07, 10),) * 5, (1.0,) * 5, (0.01,) * 5, (0.02,) * 5, (0.03,) * 5, {},
        (Known(0.0, "m", 0.7, None, ()), Paced(0.0, "m", 10, 0.02, 0.02)),
    )  # fmt: skip
    outcomes = Simulator(five, router(five)).run().outcomes
    assert [o.target for o in outcomes].count("local") == 3


def test_of_two_endpoints_the_one_on_the_dead_link_is_left() -> None:
    """After it was tried."""
    there = world(1e6, calls=60, endpoints=("a", "b"))
    there.links["a"] = Uplink([0.0, 1.0], [300.0])
    outcomes = Simulator(there, router(there)).run().outcomes
    assert {o.plan.endpoint for o in outcomes[10:]} == {"b"}
    assert all(o.target != "none" for o in outcomes)


def test_the_same_world_gives_the_same_outcome() -> None:
    """Nothing in it is random."""
    cell = Cell("made-lte-drive", "poisson", 0.2, 150_000, FAST_LOCAL)
    there = build(cell, link("lte-drive", 0), 100)
    runs = [Simulator(there, router(there)).run() for _ in range(2)]
    assert runs[0] == runs[1]


@pytest.mark.parametrize("workload", ["poisson", "bursts"])
def test_ours_loses_little_to_the_oracle_and_no_rival_is_better_than_it(workload: str) -> None:
    """Over a link that was made up; the oracle sends only what arrives."""
    trace: LinkTrace = link("5g-drive", 3)
    scored = Scored(cast("Cell", None), tuple(score_cell(Cell(trace.name, workload, 0.2, 150_000, FAST_LOCAL), trace, 200)))
    assert scored.of("oracle").wasted == 0
    assert scored.of(OURS).regret < 0.03
    assert scored.of("always local").hit > 0.9
    assert scored.of(OURS).utility > scored.of("always local").utility
    assert scored.of(OURS).hit >= scored.of("EWMA").hit
