"""What this device makes of an order: the latency that it holds a version to, and the steps that it takes. Pure.

A step is journaled before its effect, and its effect is idempotent. What was interrupted is done `again` from its step on,
or, where the step is one of a trial, goes back to what was before.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from cloud_bridge.protocol.fleet.commands import Activate, Benchmark, CollectLog, Command, Deploy, Rollback, Tune

Budgets = Mapping[str, float]
"""Seconds by model: what this device's shadow says."""


class Step(msgspec.Struct, frozen=True):
    """One part of a job."""

    name: str
    again: bool = True
    """Whether it is done once more after an interruption; otherwise the job has failed, and what was before comes back."""


_TRIAL = (Step("check"), Step("activate", again=False), Step("soak", again=False), Step("commit"))


def steps_of(command: Command) -> tuple[Step, ...]:
    """What a job consists of, in this order."""
    match command:
        case Deploy(tune=tune):
            return (Step("install"), *((Step("tune"),) if tune else ()), *_TRIAL)
        case Activate():
            return _TRIAL
        case Rollback():
            return Step("choose"), Step("rollback")
        case Benchmark():
            return (Step("benchmark"),)
        case Tune():
            return (Step("tune"),)
        case CollectLog():
            return (Step("collect"),)


def resolve(command: Command, budgets: Budgets) -> Command:
    """The command as it holds here: a version whose latency it leaves open is to keep the model's budget."""
    match command:
        case Deploy(model=model, health=health) | Activate(model=model, health=health):
            if health.p99 is None and model in budgets:
                health = msgspec.structs.replace(health, p99=budgets[model])
                return msgspec.structs.replace(command, health=health)
    return command
