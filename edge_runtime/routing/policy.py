"""Where a call goes. Pure: no I/O, no clock, no threads, no randomness; the same arguments give the same plan.

The rule: ask the cloud when its predicted time fits the budget, and hold the local run back to the last moment that still
makes the budget. Otherwise run here. A cloud that failed is left alone for a while that doubles with each failure.
"""

from __future__ import annotations

import msgspec

from edge_runtime.values import Target


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What routing may assume, and what it is to keep clear of. Times in seconds."""

    guard: float = 0.005
    """Kept free before the deadline for the scheduler and for handing the answer over."""
    guard_share: float = 0.05
    """The same as a share of the budget, where that is more: a busy machine wakes a waiting thread late, and who allows
    more time gets more of it kept."""
    margin: float = 1.5
    """The local run is taken to need this many times its slowest recent time when it is held back."""
    patience: float = 30.0
    """How long a cloud may take when the caller set no budget."""
    backoff: float = 0.5
    """How long a cloud is left alone after its first failure in a row; each further one doubles it."""
    longest_backoff: float = 15.0
    memory: float = 15.0
    """How long after its last answer a cloud's typical time is relied on. One that was found too slow is tried again after
    that, or it would never be learnt that it is faster now."""


class Estimate(msgspec.Struct, frozen=True):
    """What is known of one target for the call at hand. Times in seconds."""

    target: Target
    seconds: float | None
    """How long an answer takes: of the cloud what is typical, of the local model what is safe. None: nothing is known."""
    down_until: float = 0.0
    """It failed: leave it alone until then."""
    typical: float | None = None
    """Of the local model: how long most answers take, where one slow run makes `seconds` longer than that."""


class Plan(msgspec.Struct, frozen=True):
    """What to do with one call. Times in seconds from when it was made."""

    target: Target
    """Who is asked first."""
    reason: str
    hold: float | None = None
    """When the local model takes over from a cloud that has not answered; None: there is none that could."""
    give_up: float | None = None
    """When the cloud's answer is of no use any more; None: it is not asked."""


_ONLY_LOCAL = Plan("local", "the model stays on this device")


def plan(budget: float | None, local: Estimate | None, cloud: Estimate | None, policy: Policy, now: float) -> Plan:
    """Decide one call with `budget` seconds left. At least one of `local` and `cloud` must be there; `now` is on the clock
    of `down_until`."""
    if cloud is None:
        return _ONLY_LOCAL
    limit = policy.patience if budget is None else budget
    if local is None:
        return Plan("cloud", "there is no local variant", give_up=limit)
    if cloud.down_until > now:
        return Plan("local", f"the cloud failed; it is asked again in {cloud.down_until - now:.1f} s")
    if cloud.seconds is not None and cloud.seconds > limit - policy.guard:
        return Plan("local", f"the cloud needs about {cloud.seconds * 1e3:.0f} ms, over the budget of {limit * 1e3:.0f} ms")
    predicted = "untried" if cloud.seconds is None else f"predicted {cloud.seconds * 1e3:.0f} ms"
    if budget is None:
        return Plan("cloud", f"no budget; the cloud is {predicted}", hold=limit, give_up=limit)
    hold = _latest_start(budget, local.seconds or 0.0, policy)
    if hold > 0:
        return Plan("cloud", f"cloud {predicted} of {budget * 1e3:.0f} ms", hold=hold, give_up=budget)
    if local.seconds is not None and local.seconds + policy.guard > budget and cloud.seconds is not None:
        # It may have been one stall: a cloud that is late all the same leaves the local model its usual time.
        usual = _latest_start(budget, local.typical or local.seconds, policy)
        reason = f"cloud {predicted}; the local model may need {local.seconds * 1e3:.0f} ms"
        return Plan("cloud", reason, hold=usual if usual > 0 else None, give_up=budget)
    return Plan("local", f"the local model needs all of the budget of {budget * 1e3:.0f} ms")


def _latest_start(budget: float, seconds: float, policy: Policy) -> float:
    """When a local run that takes so long must start to make the budget."""
    return budget - seconds * policy.margin - max(policy.guard, policy.guard_share * budget)
