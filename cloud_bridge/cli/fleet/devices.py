"""`cloud-bridge fleet devices`, `add`, `remove`: who is out there."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_args

from cloud_bridge.cli.fleet.progress import since
from cloud_bridge.cli.fleet.shared import add_registry, open_registry, plain
from cloud_bridge.extra import required
from cloud_bridge.protocol.fleet.presence import State
from cloud_bridge.protocol.fleet.shadow import MODELS
from edge_runtime.cli.shell import Commands, subcommand, table

if TYPE_CHECKING:
    from cloud_bridge.fleet.registry import Device

STATES = ("unknown", *get_args(State))


def add(acts: Commands) -> None:
    """Add the acts."""
    devices = subcommand(
        acts, "devices", "list who is out there: state, since when, groups, agent, active versions",
        "cloud-bridge fleet devices --group canary --state ready",
    )  # fmt: skip
    devices.add_argument("--group", metavar="NAME", help="those of this group")
    devices.add_argument("--state", choices=STATES, help="those that are in this state")
    devices.set_defaults(command=_devices)
    added = subcommand(
        acts, "add", "enter things that have not connected yet, or put things into groups",
        "cloud-bridge fleet add press-17 press-18 --group canary",
    )  # fmt: skip
    added.set_defaults(command=_add)
    removed = subcommand(
        acts, "remove", "forget things and their shadows, or take things out of groups",
        "cloud-bridge fleet remove press-17\n"
        "  cloud-bridge fleet remove press-17 --group canary",
    )  # fmt: skip
    removed.set_defaults(command=_remove)
    for act in (added, removed):
        act.add_argument("things", nargs="+", metavar="THING")
        act.add_argument("--group", action="append", default=[], metavar="NAME", help="this group; again for more")
    for act in (devices, added, removed):
        add_registry(act)
        act.add_argument("--json", action="store_true", help="print JSON")


def _devices(arguments: argparse.Namespace) -> int:
    with required("a fleet's registry"), open_registry(arguments) as registry:
        found = registry.devices.all(group=arguments.group, state=arguments.state)
        reported = registry.overview.reported(MODELS)
    told = [described(device, reported.get(device.thing, {})) for device in found]
    if arguments.json:
        print(json.dumps(told, indent=2))
        return 0
    table(("THING", "STATE", "SINCE", "GROUPS", "AGENT", "ACTIVE"), rows(told, time.time()))
    return 0


def _add(arguments: argparse.Namespace) -> int:
    with required("a fleet's registry"), open_registry(arguments, create=True) as registry:
        registry.devices.add(arguments.things, arguments.group)
    return _told(arguments, len(set(arguments.things)), "are in " + (", ".join(arguments.group) or "the registry"))


def _remove(arguments: argparse.Namespace) -> int:
    things = sorted(set(arguments.things))
    with required("a fleet's registry"), open_registry(arguments) as registry:
        if arguments.group:
            ended = registry.devices.leave(things, arguments.group)
            return _told(arguments, ended, f"memberships of {', '.join(arguments.group)} are ended")
        gone = [thing for thing in things if registry.devices.remove(thing)]
    status = _told(arguments, len(gone), "things are forgotten, until they connect again")
    return status if len(gone) == len(things) else 1


def _told(arguments: argparse.Namespace, count: int, what: str) -> int:
    print(json.dumps({"count": count}) if arguments.json else f"{count} {what}")
    return 0


def described(device: Device, models: Mapping[str, object]) -> dict[str, Any]:
    """A device, for a script. `models` is what it has reported since its birth of which versions are active."""
    birth = device.presence.birth
    active = models.get("active")
    return {
        "thing": device.thing, "state": device.presence.state, "seen": device.seen or None, "groups": list(device.groups),
        "agent": "" if birth is None else birth.agent,
        "active": dict(active) if isinstance(active, Mapping) else {} if birth is None else dict(birth.models),
    }  # fmt: skip


def rows(told: Sequence[Mapping[str, Any]], now: float) -> list[tuple[str, ...]]:
    """A line of a table for each."""
    return [
        (
            each["thing"], each["state"], since(each["seen"] or 0.0, now), ",".join(each["groups"]), plain(each["agent"]),
            plain(" ".join(f"{model} {version}" for model, version in each["active"].items())),
        )
        for each in told
    ]  # fmt: skip
