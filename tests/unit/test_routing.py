"""The decision: pure, so every property is tried on many worlds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.errors import InputError
from edge_runtime.routing.odds import Odds
from edge_runtime.routing.policy import Here, Policy, Request, There, decode, plan

NOW = 50.0

times = st.floats(1e-4, 10.0)
worths = st.floats(0.0, 1.0)
requests = st.builds(
    Request, model=st.just("m"), budget=st.none() | times, size=st.integers(0, 10**7), best_effort=st.booleans()
)
odds = st.builds(Odds, st.floats(-5, 5), st.floats(0.5, 12), st.floats(1, 100), st.floats(1, 100))
clouds = st.builds(
    There, endpoint=st.sampled_from(["a", "b"]), size=st.integers(0, 10**7), seconds=st.none() | times, odds=odds,
    worth=worths, served=times, down_until=st.just(0.0) | st.floats(0, 100),
)  # fmt: skip
policies = st.builds(
    Policy, guard=st.floats(0, 0.05), guard_share=st.floats(0, 0.5), patience=times, least_odds=st.floats(0, 0.5),
    byte_price=st.floats(0, 1e-6), optimism=st.floats(0, 3),
)  # fmt: skip


@st.composite
def locals_(draw: st.DrawFn) -> Here:
    typical = draw(times)
    safe = typical * draw(st.floats(1.0, 4.0))
    return Here(typical, safe, NOW + draw(st.floats(-1, 10)), NOW + draw(st.floats(0, 1)), draw(worths))


@given(requests, st.none() | locals_(), st.lists(clouds, min_size=1, max_size=3), policies)
def test_a_plan_is_one_that_can_be_carried_out(
    request: Request, here: Here | None, there: list[There], policy: Policy
) -> None:
    """The same arguments give the same plan; only a cloud that is there and not down is asked; a local run is planned only
    where there is a local model, and held back to within the budget."""
    made = plan(request, here, there, policy, NOW)
    assert made == plan(request, here, there, policy, NOW)
    assert made.reason
    if made.target == "cloud":
        chosen = [cloud for cloud in there if cloud.endpoint == made.endpoint and cloud.down_until <= NOW]
        assert chosen
        assert made.give_up is not None
        assert made.give_up > 0
    if made.target == "local":
        assert here is not None
    if made.target == "none":
        assert here is None
    if made.hold is not None:
        assert here is not None
        assert made.hold >= 0
        assert made.hold <= max(here.start - NOW, 0.0, policy.patience, request.budget or 0.0)


@given(requests, locals_(), clouds, policies)
def test_a_worse_cloud_is_never_asked_in_place_of_a_sure_local_answer(
    request: Request, here: Here, cloud: There, policy: Policy
) -> None:
    """Where the local model answers in time and is worth as much, nothing is sent."""
    sure = Here(1e-6, 2e-6, NOW, NOW, worth=cloud.worth / policy.quantile)
    ample = Request("m", None if request.budget is None else max(0.2, request.budget), request.size)
    assert plan(ample, sure, [cloud], Policy(patience=30.0), NOW).target == "local"


@given(locals_(), clouds, st.floats(0.01, 5.0), st.floats(1.0, 5.0), policies)
def test_a_faster_cloud_is_asked_whenever_a_slower_one_is(
    here: Here, cloud: There, budget: float, times: float, policy: Policy
) -> None:
    """All else equal, a smaller prediction never turns "send" into "do not"."""
    if cloud.seconds is None:
        return
    slower = There(cloud.endpoint, cloud.size, cloud.seconds * times, Odds(), cloud.worth)
    faster = There(cloud.endpoint, cloud.size, cloud.seconds, Odds(), cloud.worth)
    request = Request("m", budget, cloud.size)
    sure = Policy(optimism=0.0, byte_price=policy.byte_price, least_odds=policy.least_odds)
    if plan(request, here, [slower], sure, NOW).target == "cloud":
        assert plan(request, here, [faster], sure, NOW).target == "cloud"


def test_the_plain_case_with_its_figures() -> None:
    """A cloud that is likely to be in time is asked, and the local run is held back to where the calendar put it."""
    made = plan(
        Request("m", 0.2, 10_000), Here(0.04, 0.1, NOW + 0.095, NOW, 0.7), [There("c", 10_000, 0.06, Odds(), 0.8)],
        Policy(), NOW,
    )  # fmt: skip
    assert (made.target, made.endpoint, made.give_up) == ("cloud", "c", 0.2)
    assert made.hold == pytest.approx(0.095)
    assert made.odds is not None
    assert made.odds > 0.98


def test_bytes_have_a_price() -> None:
    """A small gain does not pay for many bytes; without a price it does."""
    here, cloud = Here(0.02, 0.04, NOW + 0.1, NOW, 0.79), There("c", 600_000, 0.19, Odds(), 0.8)
    request = Request("m", 0.2, 600_000)
    assert plan(request, here, [cloud], Policy(), NOW).target == "local"
    assert plan(request, here, [cloud], Policy(byte_price=0.0), NOW).target == "cloud"


def test_the_better_of_two_clouds_is_asked() -> None:
    """By what sending is worth: chance times gain, less the price."""
    two = [There("slow", 10_000, 0.19, Odds(), 0.8), There("fast", 10_000, 0.05, Odds(), 0.8)]
    assert plan(Request("m", 0.2, 10_000), None, two, Policy(), NOW).endpoint == "fast"


def test_without_a_local_variant_a_hopeless_call_is_refused_at_once_with_the_time_predicted() -> None:
    """Unless a late answer is better than none."""
    cloud = There("c", 10_000, 3.0, Odds(), 0.8)
    made = plan(Request("m", 0.05, 10_000), None, [cloud], Policy(optimism=0.0), NOW)
    assert made.target == "none"
    assert "3000 of 50 ms" in made.reason
    tried = plan(Request("m", 0.05, 10_000, best_effort=True), None, [cloud], Policy(optimism=0.0), NOW)
    assert tried.target == "cloud"
    assert tried.give_up == Policy().patience


def test_a_cloud_that_is_down_is_left_alone_and_it_is_said_for_how_long() -> None:
    """While there is a local model, and where there is none too."""
    cloud = There("c", 10, 0.01, Odds(), 0.8, down_until=NOW + 1.5)
    assert "asked again in 1.5 s" in plan(Request("m", 0.5, 10), None, [cloud], Policy(), NOW).reason


@given(odds, times, times, st.booleans())
def test_the_odds_learn_in_the_right_direction(known: Odds, left: float, predicted: float, came: bool) -> None:
    """An answer in time makes the next one likelier, a late one less likely; they stay chances, and hope never lowers
    them."""
    after = known.learnt(left, predicted, came, step=0.6)
    before, now = known.of(left, predicted), after.of(left, predicted)
    assert 0.0 <= now <= 1.0
    assert now >= before - 1e-9 if came else now <= before + 1e-9 or after.slope == 0.5
    assert known.hopeful(left, predicted, 0.5) >= before


@pytest.mark.parametrize(
    "text",
    [b"", b"[]", b'{"bytes": 1}', b'{"guard": -1}', b'{"quantile": 1.0}', b'{"guard": "x"}', b"\xff", b"[" * 100_000],
)
def test_what_is_no_policy_is_refused(text: bytes) -> None:
    """Unknown fields, negative prices and garbage get one clear error."""
    with pytest.raises(InputError, match="policy"):
        decode(text)
