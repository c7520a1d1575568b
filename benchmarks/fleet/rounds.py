"""A command to a whole fleet, beside the same conversation with nothing behind it: the same messages in the same order and
of the same sizes, by the same clients over the same connections. They take turns.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from benchmarks.fleet.bare import Held, Talked
from benchmarks.fleet.board import Noted
from benchmarks.fleet.device import GROUP
from benchmarks.fleet.herd import Setting
from benchmarks.fleet.script import Line
from benchmarks.fleet.stage import (
    PATIENCE,
    Asked,
    Herd,
    Operator,
    Usage,
    barely,
    brokered,
    controlled,
    herded,
    raise_limit,
    usage,
)
from cloud_bridge.fleet.controller import order
from cloud_bridge.fleet.events import Changed
from cloud_bridge.fleet.registry import Job, Registry
from cloud_bridge.fleet.spec import Group, Rollout
from cloud_bridge.protocol.fleet.commands import CollectLog, Command
from edge_runtime.errors import RunError

_GLANCE = 0.05


class Real(msgspec.Struct, frozen=True):
    """A command through the whole fleet: seconds from when it was ordered, the last device's each."""

    heard: float
    """It has come to a device."""
    acknowledged: float
    """The registry has a device's first word about it."""
    done: float
    """A device has carried it out."""
    ended: float
    """The registry has a device's last word."""
    accepted: float
    """A device knows that."""
    over: float
    """The rollout has ended: nothing is left to be done."""
    lost: int
    """Devices of which the registry lacks the first word or the last, or that have not heard that it has them."""
    twice: int
    """Devices whose word was counted more than once, or that carried it out more than once."""
    usage: Mapping[str, Usage]


class Bare(msgspec.Struct, frozen=True):
    """The same conversation with nothing behind it."""

    acknowledged: float
    ended: float
    """Everybody has said and heard the last word."""
    wrong: int
    usage: Mapping[str, Usage]


class Rounds(msgspec.Struct, frozen=True):
    """The raw values."""

    devices: int
    settled: float
    """Seconds until all were connected, and the controller had what each reports of itself: its birth and two shadows."""
    settling: Mapping[str, Usage]
    script: Sequence[Line]
    """What is said between one device and the controller."""
    real: Sequence[Real]
    bare: Sequence[Bare]
    short: Sequence[Bare]
    """The first two messages of it alone: the command, and an acknowledgement."""


class Stage(msgspec.Struct, frozen=True):
    """What rounds are held on."""

    herd: Herd
    bare: Asked
    registry: Registry
    operator: Operator
    things: tuple[str, ...]
    pids: Mapping[str, int]

    def use(self) -> Mapping[str, Usage]:
        """What each process has taken by now."""
        return {name: usage(pid) for name, pid in self.pids.items()}

    def since(self, before: Mapping[str, Usage]) -> Mapping[str, Usage]:
        """And since then."""
        return {name: used.since(before[name]) for name, used in self.use().items()}


def hold(folder: Path, devices: int, rounds: int, progress: Callable[[], object]) -> Rounds:
    """So many turns, after one that is not counted: its conversation is the script of the bare ones."""
    raise_limit(devices)
    operator = Operator(folder)
    things = tuple(f"device-{number:05}" for number in range(devices))
    path = folder / "fleet.db"
    with (
        brokered() as running, controlled(running, path) as controller, barely(running) as bare,
        herded(Setting(running.host, running.port, things, str(operator.public))) as herd, Registry(path) as registry,
    ):  # fmt: skip
        pids = {"broker": running.pid, "controller": controller, "bare controller": bare.pid, "devices": herd.pid}
        stage = Stage(herd, bare, registry, operator, things, pids)
        begin = stage.use()
        told = herd.do("connect", dict[str, float], timeout=PATIENCE)
        settling = stage.since(begin)
        progress()
        _, noted = _real(stage, "warm-up")
        real, whole, short = [], [], []
        for number in range(rounds):
            whole.append(_bare(stage, noted.script))
            short.append(_bare(stage, noted.script[:2]))
            real.append(_real(stage, f"round-{number}")[0])
            progress()
        herd.do("end", dict)
    return Rounds(devices, told["settled"], settling, noted.script, real, whole, short)


def give(
    stage_registry: Registry, operator: Operator, job: str, command: Command, rollout: Rollout
) -> float:  # fmt: skip
    """Order it: when that was, in UNIX seconds."""
    now = time.time()
    envelope = operator.sign(job, command, GROUP, now)
    order(stage_registry, Job(job, operator.document(envelope), envelope, rollout, now, now + 3600.0))
    return now


def over(registry: Registry, job: str, timeout: float = PATIENCE) -> str:
    """How a rollout has ended. Raises RunError where it does not."""
    until = time.monotonic() + timeout
    while job in registry.jobs.list(active=True):
        if time.monotonic() > until:
            raise RunError(f"{job} is not over after {timeout:g} s")
        time.sleep(_GLANCE)
    return registry.jobs.get(job).phase


def _real(stage: Stage, job: str) -> tuple[Real, Noted]:
    before = stage.use()
    stage.herd.do("begin", dict)
    began = give(stage.registry, stage.operator, job, CollectLog(), Rollout((Group("all", stage.things),)))
    over(stage.registry, job)
    ended = time.time()
    noted = stage.herd.do("wait", Noted, timeout=60.0)
    used = stage.since(before)
    lines = [line for line in stage.registry.jobs.log(job) if isinstance(line, Changed)]
    first, last = ([line for line in lines if line.status == status] for status in ("IN_PROGRESS", "SUCCEEDED"))
    said = Counter((line.thing, line.status) for line in lines)
    known = stage.registry.jobs.executions(job)
    whole = {thing for thing in stage.things if {(thing, "IN_PROGRESS"), (thing, "SUCCEEDED")} <= said.keys()}
    whole &= {thing for thing, each in known.items() if each.status == "SUCCEEDED"}
    lost = len(stage.things) - min(len(whole), noted.accepted)
    twice = max(len({thing for (thing, _), count in said.items() if count > 1}), noted.twice)
    found = Real(
        noted.last_heard - began, _last(first) - began, noted.last_done - began,
        _last(last) - began, noted.last_accepted - began, ended - began, lost, twice, used,
    )  # fmt: skip
    return found, noted


def _last(lines: Sequence[Changed]) -> float:
    return max((line.at for line in lines), default=float("nan"))


def _bare(stage: Stage, script: Sequence[Line]) -> Bare:
    before = stage.use()
    stage.herd.do("bare", dict, script=tuple(script))
    held = stage.bare.ask(Talked(stage.things, tuple(script)), Held)
    heard = stage.herd.do("bare-wait", dict[str, float], timeout=60.0)
    used = stage.since(before)
    ended = max(held.ended, heard["last"]) - held.began
    return Bare(held.acknowledged - held.began, ended, held.wrong + int(heard["wrong"]), used)
