"""Where a call goes. Pure: no I/O, no clock, no threads, no randomness; the same arguments give the same plan.

The rule: a call goes to the cloud when the chance that its answer comes in time is worth its price, and the local run is
held back to the last moment that still makes the budget. With p = P(the cloud answers in time), the answer of the cloud
worth a2 and the local one a1 (made with chance P), that is when p >= price / (a2 - P a1). Where no local answer can be had
in time there is nothing to lose but bytes, and all but the hopeless goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from edge_runtime.errors import InputError
from edge_runtime.reading import decoder
from edge_runtime.routing.odds import Odds


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What answers are worth, what they may cost, and how careful routing is. Times in seconds, prices in units of
    worth."""

    local_worth: float | None = None
    """Of an answer of the local model, of any model. None: its measured accuracy, where that of the cloud is known too and
    in the same measure; else 0.9."""
    cloud_worth: float | None = None
    """The same of the cloud's; else 1."""
    quantile: float = 0.99
    """The share of budgets to keep."""
    byte_price: float = 0.02 / 600_000
    """Of one byte sent. Where answers are worth their accuracy: 600 kB may be spent to be right two times more in a
    hundred."""
    cloud_price: float = 0.0
    """Of one second of the cloud's work."""
    local_price: float = 0.0
    """Of one second of this device's work."""
    least_odds: float = 0.2
    """Below this chance nothing is sent while a local answer can be had."""
    hopeless: float = 0.01
    """Below this chance a call without a local answer is refused at once."""
    optimism: float = 0.5
    """By how many deviations of what is not known yet the chance is taken to be better than it looks."""
    learning: float = 0.6
    """How far one call moves the chance (Adagrad's step); 0 keeps it as it is before anything was learnt."""
    guard: float = 0.005
    """Kept free before the deadline for the scheduler and for handing the answer over."""
    guard_share: float = 0.02
    """The same as a share of the budget, where that is more: a busy machine wakes a waiting thread late, and who allows
    more time gets more of it kept."""
    margin: float = 2.35
    """The local run is taken to need this many times its typical time when it is held back."""
    patience: float = 30.0
    """How long a cloud may take when the caller set no budget."""
    backoff: float = 0.5
    """How long a cloud is left alone, at most, after its first failure in a row; each further one doubles it."""
    longest_backoff: float = 30.0
    """The same after many failures, where the cloud was there and refused."""
    longest_absence: float = 1.0
    """The same where nobody answered: that the link is back is to be noticed soon, and asking costs next to nothing."""
    probe_after: float = 1.0
    """A link that nothing was heard of for so long is probed."""
    probe_share: float = 0.1
    """Bytes of a probe, as a share of the last call's."""
    least_probe: int = 4_000
    most_probe: int = 12_000
    probe_for: float = 10.0
    """Probing ends so long after the last call: a device that asks nothing sends nothing."""

    def spare(self, budget: float) -> float:
        """Seconds of a budget that are kept free at its end."""
        return max(self.guard, self.guard_share * budget)

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if value is not None and not (0.0 <= value < float("inf")):
                raise InputError(f"policy: {name} is {value}; it is zero or more")
        if not 0.5 <= self.quantile < 1.0:
            raise InputError(f"policy: quantile is {self.quantile}; it is between 0.5 and 1")


class Request(msgspec.Struct, frozen=True):
    """One call, as far as routing has to know it."""

    model: str
    budget: float | None
    """Seconds left from now."""
    size: int
    """Bytes of its tensors."""
    draw: float = 0.0
    """A random number in 0..1, drawn outside: which two of many endpoints are looked at."""
    best_effort: bool = False
    """A late answer is better than none."""


class Here(msgspec.Struct, frozen=True):
    """The local model, as it stands for the call at hand."""

    typical: float
    """Seconds that most runs take."""
    safe: float
    """Seconds that a run takes with a chance of only 1 - quantile to take longer."""
    start: float
    """The last instant at which the device must begin with the runs that it has promised, this one among them."""
    ready: float
    """The first instant at which it can begin with this one."""
    worth: float
    idle: bool = False
    """Nothing runs on the device, and nothing is promised."""

    def chance(self, left: float, wait: float, quantile: float) -> float:
        """P that it answers within `left` seconds from now when it begins after `wait`."""
        spare = left - wait
        if spare >= self.safe:
            return quantile
        if spare < 0.85 * self.typical:
            return 0.0
        if spare < self.typical:
            return 0.5
        return 0.5 + (quantile - 0.5) * (spare - self.typical) / max(self.safe - self.typical, 1e-9)


class There(msgspec.Struct, frozen=True):
    """One way to ask a cloud: an endpoint and how the tensors are written for it."""

    endpoint: str
    size: int
    """Bytes to send."""
    seconds: float | None
    """How long the answer is predicted to take; None: nothing is known."""
    odds: Odds
    worth: float
    served: float = 0.0
    """Seconds of the cloud's work in it."""
    down_until: float = 0.0
    """It failed: leave it alone until then."""
    encoding: str = "binary"


class Plan(msgspec.Struct, frozen=True):
    """What to do with one call. Times in seconds from when it was made."""

    target: Literal["local", "cloud", "none"]
    """Who is asked first. None: nobody can answer in time."""
    reason: str
    endpoint: str = ""
    """Which cloud is asked."""
    encoding: str = ""
    hold: float | None = None
    """When the local model takes over from a cloud that has not answered; None: there is none that could."""
    give_up: float | None = None
    """When the cloud's answer is of no use any more; None: it is not asked."""
    predicted: float | None = None
    """When the cloud's answer is expected."""
    odds: float | None = None
    """P that the cloud's answer comes in time, as it was learnt."""
    begun: bool = False
    """The device was idle, and is this call's from now on."""


ON_DEVICE = Plan("local", "the model stays on this device")


def plan(request: Request, here: Here | None, there: Sequence[There], policy: Policy, now: float) -> Plan:
    """Decide one call. At least one of `here` and `there` must be there; `now` is on the clock of `start`, `ready` and
    `down_until`."""
    if not there:
        return ON_DEVICE
    limit = policy.patience if request.budget is None else request.budget
    left = limit - policy.spare(limit)
    local, have = 0.0, 0.0
    if here is not None:
        local = here.chance(left, max(0.0, here.ready - now), policy.quantile)
        have = local * here.worth
    best: There | None = None
    most, why = 0.0, ""
    for cloud in there:
        odds, worth, refused = _weigh(cloud, limit, have, local > 0.0, request.best_effort, policy, now)
        if refused:
            why = why or refused
        elif best is None or worth > most:
            best, most = cloud, worth
    if best is None:
        return _without_cloud(request, here, why)
    odds = 0.5 if best.seconds is None else best.odds.of(limit, best.seconds)
    known = "untried" if best.seconds is None else f"predicted {best.seconds * 1e3:.0f} ms, {odds:.0%} in time"
    allowed = "no budget" if request.budget is None else f"budget {limit * 1e3:.0f} ms"
    hold = None
    # Even where others are before it now: the cloud may answer them, and then the device is free.
    if here is not None and (here.chance(limit, 0.0, policy.quantile) > 0.0 or request.best_effort):
        hold = limit if request.budget is None else max(0.0, here.start - now)
    patience = max(limit, policy.patience) if request.best_effort else limit
    return Plan(
        "cloud", f"{best.endpoint}: {known}; {allowed}", best.endpoint, best.encoding, hold, patience, best.seconds, odds
    )


def _weigh(
    cloud: There, limit: float, have: float, local: bool, best_effort: bool, policy: Policy, now: float
) -> tuple[float, float, str]:
    """The chance of an answer in time, what sending is worth, and why it is not sent after all."""
    if cloud.down_until > now:
        return 0.0, 0.0, f"{cloud.endpoint} failed; it is asked again in {cloud.down_until - now:.1f} s"
    gain = cloud.worth - have
    if gain <= 0.0:
        return 0.0, 0.0, "the cloud's answer is worth no more than the local one"
    price = cloud.size * policy.byte_price + cloud.served * policy.cloud_price
    if local and price >= gain:
        return 0.0, 0.0, f"{cloud.size} bytes cost more than the cloud's answer is worth"
    if cloud.seconds is None:
        return 1.0, gain - price, ""
    odds = cloud.odds.hopeful(limit, cloud.seconds, policy.optimism)
    needed = max(policy.least_odds, price / gain) if local else policy.hopeless
    if odds < needed and not (best_effort and not local):
        needs = f"{cloud.endpoint} needs about {cloud.seconds * 1e3:.0f} of {limit * 1e3:.0f} ms"
        return odds, 0.0, f"{needs}: {odds:.1%} in time at best, worth it from {needed:.1%}"
    return odds, odds * gain - price, ""


def _without_cloud(request: Request, here: Here | None, why: str) -> Plan:
    if here is not None:
        return Plan("local", why, begun=here.idle)
    return Plan("none", f"no local variant, and {why}")


def decode(data: bytes) -> Policy:
    """Read a policy: a JSON object with what is to differ from the default. Raises InputError."""
    try:
        return decoder(Policy).decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"this is no policy: {error}") from error
