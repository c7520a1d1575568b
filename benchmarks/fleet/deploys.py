"""A version deployed to a thousand devices, and bad ones that must not come through: real files all the way. Each device
has a store, a journal and a TUF state of its own on the disk; bundles come from a static server with ranges.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from benchmarks.fleet.herd import Setting, Standing
from benchmarks.fleet.rounds import give, over
from benchmarks.fleet.stage import (
    PATIENCE,
    Herd,
    Operator,
    Usage,
    brokered,
    controlled,
    deploy,
    herded,
    raise_limit,
    served,
    usage,
)
from benchmarks.tiny import tiny_bundle
from cloud_bridge.fleet.registry import Registry
from cloud_bridge.fleet.spec import Group, Rollout, Stop

OLD, NEW, WRONG, SLOW = "1.0", "2.0", "3.0", "4.0"
"""What is active at first; a good version; one whose outputs are wrong; a good one that is given no time."""

NO_TIME = 1e-9
"""Seconds: no engine is as fast."""

PERCENT = 10.0
"""Of what was executed: when the rollout of a bad version stops, once a twenty-fifth of the devices have tried; a tenth of
them are told at once."""


class Deployed(msgspec.Struct, frozen=True):
    """A version that came to all."""

    devices: int
    prepared: float
    """Seconds in which as many stores were made."""
    seconds: float
    states: Mapping[str, int]
    active: Mapping[str, int]
    """Devices by the version that is active then."""
    usage: Mapping[str, Usage]
    reasons: Sequence[str] = ()
    """Of those that failed, some."""


class Stopped(msgspec.Struct, frozen=True):
    """A version that must not come through."""

    name: str
    devices: int
    most: int
    """Devices that may have tried when it stops."""
    phase: str
    why: str
    seconds: float
    states: Mapping[str, int]
    activated: int
    """Devices that let it serve."""
    active: Mapping[str, int]
    trials: int
    reasons: Sequence[str]


class Deploys(msgspec.Struct, frozen=True):
    """The raw values."""

    deployed: Deployed
    stopped: Sequence[Stopped]


def hold(folder: Path, devices: int, bad: int, progress: Callable[[], object]) -> Deploys:
    """A good version to all, then two bad ones to so many of them."""
    raise_limit(3 * devices)
    operator = Operator(folder)
    digests = operator.publish({NEW: 1.0, WRONG: 2.0, SLOW: 1.0}, time.time())
    old = tiny_bundle(folder / f"tiny-{OLD}", version=OLD, adds=1.0)
    things, path = tuple(f"device-{number:05}" for number in range(devices)), folder / "fleet.db"
    with (
        brokered() as running, controlled(running, path) as controller, served(operator.repository) as (server, url),
        Registry(path) as registry,
    ):  # fmt: skip
        setting = Setting(
            running.host, running.port, things, str(operator.public), str(folder / "devices"), str(old.folder), url,
            str(operator.root),
        )  # fmt: skip
        begin = time.monotonic()
        with herded(setting) as herd:
            prepared = time.monotonic() - begin
            herd.do("connect", dict, timeout=PATIENCE)
            progress()
            pids = {"broker": running.pid, "controller": controller, "static server": server, "devices": herd.pid}
            deployed = _deploy(herd, registry, operator, things, digests[NEW], prepared, pids)
            progress()
            stopped = []
            for name, version, p99 in (("wrong outputs", WRONG, None), ("over its budget", SLOW, NO_TIME)):
                stopped.append(_stop(herd, registry, operator, things[:bad], name, version, digests[version], p99))
                progress()
            herd.do("end", dict)
    return Deploys(deployed, stopped)


def _deploy(
    herd: Herd, registry: Registry, operator: Operator, things: tuple[str, ...], digest: str, prepared: float,
    pids: Mapping[str, int],
) -> Deployed:  # fmt: skip
    before = {name: usage(pid) for name, pid in pids.items()}
    begin = give(registry, operator, "good", deploy(NEW, digest), Rollout((Group("all", things),)))
    over(registry, "good")
    seconds = time.time() - begin
    used = {name: usage(pid).since(before[name]) for name, pid in pids.items()}
    states, reasons = _ends(registry, "good")
    return Deployed(
        len(things), prepared, seconds, states, herd.do("standing", Standing).active, used, reasons
    )  # fmt: skip


def _stop(
    herd: Herd, registry: Registry, operator: Operator, things: tuple[str, ...], name: str, version: str, digest: str,
    p99: float | None,
) -> Stopped:  # fmt: skip
    job = f"bad-{version.partition('.')[0]}"
    least, at_once = max(1, len(things) // 25), max(1, len(things) // 10)
    rollout = Rollout((Group("all", things),), in_flight=at_once, stops=(Stop("FAILED", PERCENT, least),))
    begin = give(registry, operator, job, deploy(version, digest, p99), rollout)
    phase = over(registry, job)
    seconds = time.time() - begin
    states, reasons = _ends(registry, job)
    standing = herd.do("standing", Standing)
    return Stopped(
        name, len(things), least + at_once, phase, registry.jobs.get(job).why, seconds, states,
        standing.activated.get(version, 0), standing.active, standing.trials, reasons,
    )  # fmt: skip


def _ends(registry: Registry, job: str) -> tuple[Mapping[str, int], Sequence[str]]:
    """How many devices ended how, and the most frequent reasons."""
    known = registry.jobs.executions(job).values()
    reasons = Counter(each.status_details.get("reason", "")[:120] for each in known if each.status == "FAILED")
    return Counter(each.status for each in known), [reason for reason, _ in reasons.most_common(3)]
