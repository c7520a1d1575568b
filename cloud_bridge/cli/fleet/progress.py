"""How a job is told to who watches it: in a line, in words, as JSON. Pure."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from cloud_bridge.cli.fleet.shared import plain
from cloud_bridge.fleet.events import Aborted, Paused, Resumed
from cloud_bridge.fleet.standing import Standing
from cloud_bridge.fleet.state import OVER
from cloud_bridge.protocol.fleet.commands import (
    Activate,
    Benchmark,
    Command,
    Deploy,
    Document,
    Rollback,
    Tune,
    decode_document,
)
from cloud_bridge.protocol.fleet.jobs import TERMINAL, JobExecution, State
from edge_runtime.errors import ProtocolError

ORDER: tuple[State, ...] = (
    "SUCCEEDED", "FAILED", "REJECTED", "TIMED_OUT", "CANCELED", "REMOVED", "IN_PROGRESS", "QUEUED"
)  # fmt: skip
"""In which they are told."""

Word: TypeAlias = Callable[[float], Paused | Resumed | Aborted]
"""What an operator says to a rollout at some instant."""

SHOWN = 20
"""Failures that are told one by one."""


def ended(counts: Mapping[State, int]) -> int:
    """How many things have ended."""
    return sum(count for state, count in counts.items() if state in TERMINAL)


def counted(counts: Mapping[State, int], total: int, away: int = 0, steps: Mapping[str, int] = {}) -> str:
    """How many stand how: "8 SUCCEEDED, 2 IN_PROGRESS (2 soak), 2 QUEUED (1 away), 5 not told". `steps`: of those that
    are under way, how many are at which."""
    more = {
        "QUEUED": f" ({away} away)" * bool(away),
        "IN_PROGRESS": f" ({', '.join(f'{count} {plain(step)}' for step, count in steps.items())})" * bool(steps),
    }
    words = [f"{counts[state]} {state}{more.get(state, '')}" for state in ORDER if counts.get(state)]
    if total > (told := sum(counts.values())):
        words.append(f"{total - told} not told")
    return ", ".join(words) or "nobody"


def failure(thing: str, execution: JobExecution) -> str:
    """What has become of one: "press-3: FAILED at check: it is too slow"."""
    at, why = execution.status_details.get("step"), execution.status_details.get("reason")
    return plain(f"{thing}: {execution.status}" + (f" at {at}" if at else "") + (f": {why}" if why else ""))


def failures(found: Mapping[str, JobExecution], known: Mapping[str, int]) -> tuple[Sequence[str], Mapping[str, int]]:
    """Lines about executions that have ended badly since, and what is known then: which of each thing's executions were
    told of. Beyond some the lines say so once."""
    fresh = [thing for thing, each in found.items() if known.get(thing) != each.execution_number]
    room = max(0, SHOWN - len(known))
    lines = [failure(thing, found[thing]) for thing in fresh[:room]]
    if room and len(fresh) > room:
        lines.append("more have failed, and are counted from here on")
    return lines, {**known, **{thing: found[thing].execution_number for thing in fresh}}


def trouble(standing: Standing, waited: float, patience: float, registry: str) -> str:
    """What keeps a rollout from going on, and what to do about it; "" where nothing does."""
    if standing.phase == "paused":
        return (
            f"it is paused: {standing.why}; `cloud-bridge fleet resume {standing.job}` goes on, "
            f"`cloud-bridge fleet cancel {standing.job}` ends it"
        )
    if standing.phase not in OVER and not standing.taken and waited > patience:
        return (
            f"no controller has taken it for {patience:.0f} s: start one with `cloud-bridge fleet control --broker URL "
            f"--registry {registry}`; the order waits for it"
        )
    return f"it is stopped: {standing.why}" if standing.phase == "aborting" else ""


def outcome(standing: Standing, total: int) -> str:
    """What came of it, or how it stands: "deploy-1 has succeeded: 3 SUCCEEDED"."""
    verb = {"succeeded": "has succeeded", "failed": "has failed", "aborted": "was stopped", "running": "goes on"}
    why = f" ({standing.why})" * bool(standing.why and standing.phase != "succeeded")
    phase = verb.get(standing.phase, f"is {standing.phase}")
    return f"{standing.job} {phase}{why}: {counted(standing.counts, total)}"


def document(data: bytes) -> Document | None:
    """An order as it was signed; None for one that this release does not know."""
    try:
        return decode_document(data)
    except ProtocolError:
        return None


def named(command: Command | None) -> str:
    """What is ordered: "deploy text-reader 1.3"."""
    match command:
        case None:
            return "?"
        case Deploy(model=model, version=version) | Activate(model=model, version=version):
            about = f"{model} {version}"
        case Rollback(model=model):
            about = model
        case Benchmark(models=models) | Tune(models=models):
            about = " ".join(models)
        case _:
            about = ""
    return f"{command.__struct_config__.tag} {about}".rstrip()


def summary(standing: Standing) -> dict[str, Any]:
    """A job among others, for a script."""
    order = document(standing.document)
    return {
        "job": standing.job, "order": named(None if order is None else order.command), "phase": standing.phase,
        "why": standing.why, "created": standing.created, "expires": standing.expires, "taken": standing.taken,
        "counts": {state: standing.counts[state] for state in ORDER if state in standing.counts},
    }  # fmt: skip


def as_data(standing: Standing, total: int, executions: Mapping[str, JobExecution]) -> dict[str, Any]:
    """All of it, for a script."""
    order = document(standing.document)
    return {
        **summary(standing), "command": None if order is None else msgspec.to_builtins(order.command), "total": total,
        "things": {
            thing: {
                "status": each.status, "number": each.execution_number, "queued": each.queued_at,
                "started": each.started_at, "updated": each.last_updated_at, "details": each.status_details,
            }
            for thing, each in executions.items()
        },
    }  # fmt: skip


def rows(executions: Mapping[str, JobExecution], now: float) -> list[tuple[str, ...]]:
    """A line of a table for each thing: how it stands, for how long, at what, why."""
    return [
        (
            thing, each.status, str(each.execution_number), since(each.last_updated_at, now),
            plain(each.status_details.get("step", "")), plain(each.status_details.get("reason", "")) or _said(each),
        )
        for thing, each in executions.items()
    ]  # fmt: skip


def since(at: float, now: float) -> str:
    """How long ago, roughly: "12 s", "3 min", "5 h", "9 d"; "never" where it never was."""
    if not at:
        return "never"
    past = max(0.0, now - at)
    for unit, length, most in (("s", 1.0, 120.0), ("min", 60.0, 7200.0), ("h", 3600.0, 172_800.0)):
        if past < most:
            return f"{past / length:.0f} {unit}"
    return f"{past / 86_400.0:.0f} d"


def clock(at: float) -> str:
    """An instant, as the operator's clock has it: "2026-11-29 10:48:12"."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def _said(execution: JobExecution) -> str:
    told = {name: text for name, text in execution.status_details.items() if name not in ("step", "reason", "digest")}
    return plain(", ".join(f"{name} {text}" for name, text in told.items()))[:100]
