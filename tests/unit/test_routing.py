"""The decision: pure, so every property is tried on many worlds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.routing.estimate import WINDOW, CloudTimes, LocalTimes
from edge_runtime.routing.policy import Estimate, Policy, plan

times = st.floats(1e-4, 10.0)
maybe = st.none() | times
budgets = st.none() | times
policies = st.builds(
    Policy, guard=st.floats(0, 0.05), margin=st.floats(1, 3), patience=times, backoff=times, longest_backoff=times
)


@given(budgets, maybe, maybe, st.floats(0, 100), st.floats(0, 100), policies)
def test_a_held_back_local_run_can_still_make_the_budget(
    budget: float | None, local: float | None, cloud: float | None, down_until: float, now: float, policy: Policy
) -> None:
    """Whenever a plan holds the local run back, the time left after it covers the local model's safe time and the guard."""
    chosen = plan(budget, Estimate("local", local), Estimate("cloud", cloud, down_until), policy, now)
    if chosen.hold is not None and budget is not None:
        assert 0 < chosen.hold <= budget
        assert budget - chosen.hold >= (local or 0.0) + policy.guard - 1e-9


@given(budgets, maybe, maybe, st.floats(0, 100), st.floats(0, 100), policies)
def test_the_same_arguments_give_the_same_plan(
    budget: float | None, local: float | None, cloud: float | None, down_until: float, now: float, policy: Policy
) -> None:
    """A plan can be replayed from a log."""
    arguments = (budget, Estimate("local", local), Estimate("cloud", cloud, down_until), policy, now)
    assert plan(*arguments) == plan(*arguments)


@given(budgets, maybe, maybe, st.floats(0.1, 100), policies)
def test_a_cloud_that_is_down_is_left_alone(
    budget: float | None, local: float | None, cloud: float | None, wait: float, policy: Policy
) -> None:
    """While it is down and there is a local model, no call goes to the cloud."""
    chosen = plan(budget, Estimate("local", local), Estimate("cloud", cloud, 50.0 + wait), policy, 50.0)
    assert chosen.target == "local"
    assert "failed" in chosen.reason


@given(times, maybe, times, policies)
def test_a_cloud_that_cannot_make_the_budget_is_not_asked(
    budget: float, local: float | None, cloud: float, policy: Policy
) -> None:
    """Predicted time over the budget: the local model answers."""
    chosen = plan(budget, Estimate("local", local), Estimate("cloud", budget + cloud), policy, 0.0)
    assert chosen.target == "local"


def test_a_cloud_that_fits_is_asked_with_the_local_run_held_back() -> None:
    """The plain case, with its figures."""
    chosen = plan(
        0.2, Estimate("local", 0.04), Estimate("cloud", 0.06), Policy(guard=0.005, guard_share=0.0, margin=1.25), 0.0
    )
    assert chosen.target == "cloud"
    assert chosen.give_up == 0.2
    assert chosen.hold is not None
    assert abs(chosen.hold - (0.2 - 0.05 - 0.005)) < 1e-12


@given(st.floats(0.001, 10.0), st.floats(0.0, 0.5))
def test_a_larger_budget_keeps_more_of_it_free(budget: float, share: float) -> None:
    """The local run starts with a share of the budget to spare, and never with less than the guard."""
    policy = Policy(guard=0.002, guard_share=share, margin=1.0)
    chosen = plan(budget, Estimate("local", 1e-6), Estimate("cloud", None), policy, 0.0)
    if chosen.hold is not None:
        assert budget - chosen.hold >= max(0.002, share * budget) - 1e-9


def test_no_knowledge_of_the_cloud_is_a_reason_to_try_it() -> None:
    """Otherwise it would never be learnt how fast it is."""
    assert plan(0.2, Estimate("local", 0.04), Estimate("cloud", None), Policy(), 0.0).target == "cloud"


def test_a_local_model_that_is_too_slow_leaves_the_call_to_a_cloud_that_fits() -> None:
    """Then nothing is held back: the local run could not make it."""
    chosen = plan(0.1, Estimate("local", 0.5), Estimate("cloud", 0.05), Policy(), 0.0)
    assert (chosen.target, chosen.hold) == ("cloud", None)


def test_one_slow_run_does_not_take_the_local_model_out_of_reach() -> None:
    """A cloud that is late leaves it the time that it usually needs."""
    local = LocalTimes()
    for seconds in (0.01, 2.0, 0.01, 0.01):
        local.observe(100, seconds)
    chosen = plan(0.2, local.estimate(100), Estimate("cloud", 0.05), Policy(guard=0.005, guard_share=0.0, margin=1.25), 0.0)
    assert chosen.target == "cloud"
    assert chosen.hold is not None
    assert abs(chosen.hold - (0.2 - 0.0125 - 0.005)) < 1e-12


def test_runs_over_small_inputs_do_not_say_that_a_large_one_is_quick_or_slow() -> None:
    """What is scaled is the run over the largest input; what is typical comes from inputs that were no smaller."""
    local = LocalTimes()
    for size, seconds in ((1, 0.01), (1000, 0.1), (1, 0.01), (1, 0.01)):
        local.observe(size, seconds)
    assert local.estimate(1000) == Estimate("local", 0.1, typical=0.1)
    assert local.estimate(1) == Estimate("local", 0.1, typical=0.01)
    assert local.estimate(2000) == Estimate("local", 0.2, typical=0.2)


def test_only_one_target_needs_no_decision() -> None:
    """Without a cloud everything stays here; without a local variant everything goes out."""
    assert plan(0.1, Estimate("local", 9.0), None, Policy(), 0.0).target == "local"
    assert plan(0.1, None, Estimate("cloud", 9.0, 99.0), Policy(), 0.0).target == "cloud"


@given(st.lists(st.tuples(st.integers(1, 10**7), times), min_size=1, max_size=2 * WINDOW), st.integers(1, 10**7))
def test_the_safe_local_time_is_at_least_every_recent_one(seen: list[tuple[int, float]], size: int) -> None:
    """And it grows with the input, never shrinks below what a smaller one took."""
    local = LocalTimes()
    for bytes_, seconds in seen:
        local.observe(bytes_, seconds)
    safe = local.estimate(size).seconds
    assert safe is not None
    assert all(safe >= seconds for _, seconds in seen[-WINDOW:])
    larger = local.estimate(size * 2).seconds
    assert larger is not None
    assert larger >= safe


@given(st.lists(times, min_size=1, max_size=50))
def test_the_typical_cloud_time_lies_between_what_was_seen(seen: list[float]) -> None:
    """A running mean never leaves the range of its samples."""
    cloud = CloudTimes(Policy())
    for seconds in seen:
        cloud.answered(seconds, 1.0)
    typical = cloud.estimate(1.0).seconds
    assert typical is not None
    assert min(seen) * (1 - 1e-9) <= typical <= max(seen) * (1 + 1e-9)


def test_a_cloud_that_was_too_slow_is_tried_again_when_that_is_long_ago() -> None:
    """What it took then is not mixed into what it takes now."""
    cloud = CloudTimes(Policy(memory=15.0))
    cloud.answered(2.0, 100.0)
    assert cloud.estimate(110.0).seconds is not None
    assert cloud.estimate(116.0).seconds is None
    cloud.answered(0.05, 117.0)
    assert abs((cloud.estimate(118.0).seconds or 0.0) - 0.05) < 1e-9


@given(st.integers(1, 60), policies)
def test_each_failure_in_a_row_doubles_the_pause_up_to_the_longest(failures: int, policy: Policy) -> None:
    """And one answer ends it."""
    cloud = CloudTimes(policy)
    for number in range(failures):
        cloud.failed(99.0 + number / failures, 99.0 + (number + 1) / failures)
    pause = cloud.estimate(0.0).down_until - 100.0
    assert abs(pause - min(policy.longest_backoff, policy.backoff * 2.0 ** min(failures - 1, 30))) < 1e-6
    cloud.answered(0.01, 100.0)
    assert cloud.estimate(0.0).down_until == 0.0


@given(st.lists(st.floats(0.1, 1.0), min_size=1, max_size=50), policies)
def test_calls_that_fail_together_are_one_failure(ends: list[float], policy: Policy) -> None:
    """Many threads may have been asking when the cloud went away: the pause is that of a first failure."""
    cloud = CloudTimes(policy)
    for end in sorted(ends):
        cloud.failed(0.0, end)
    first = min(policy.longest_backoff, policy.backoff)
    assert abs(cloud.estimate(0.0).down_until - (min(ends) + first)) < 1e-6


def test_after_a_pause_one_call_tries_the_cloud_and_the_others_wait_for_it() -> None:
    """And no longer than that call can last; a cloud that never failed is asked by all."""
    cloud = CloudTimes(Policy(backoff=1.0))
    cloud.asked(5.0)
    assert cloud.estimate(0.0).down_until == 0.0
    cloud.failed(5.0, 6.0)
    cloud.asked(9.0)
    assert cloud.estimate(0.0).down_until == 9.0
    cloud.answered(0.1, 9.0)
    assert cloud.estimate(0.0).down_until == 0.0
