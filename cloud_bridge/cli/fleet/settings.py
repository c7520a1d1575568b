"""`cloud-bridge fleet budget` and `policy`: what is to hold on devices, be they there or not."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from cloud_bridge.cli.fleet import options, plan
from cloud_bridge.cli.fleet.shared import add_registry, open_registry, plain
from cloud_bridge.cli.options import add_broker
from cloud_bridge.extra import required
from cloud_bridge.fleet.wish import Budget, Fate, Routing, Wish, Wishes
from cloud_bridge.protocol.fleet import names, topics
from edge_runtime.bundles.manifest import check_name
from edge_runtime.cli.shell import Commands, policy, seconds, subcommand, table
from edge_runtime.errors import ProtocolError, RefusedError, UnreachableError

if TYPE_CHECKING:
    from cloud_bridge.fleet.line import Line

FEW = 20
"""Things that are listened to one by one; of more, all are."""

LONGEST = 3600.0
HEARD = (topics.SHADOW_UPDATE_ACCEPTED, topics.SHADOW_UPDATE_REJECTED, topics.SHADOW_GET_ACCEPTED)


def add(acts: Commands) -> None:
    """Add the acts."""
    budget = subcommand(
        acts, "budget", "let a model's calls on devices take no longer than this, where they name no budget of their own",
        "cloud-bridge fleet budget text-reader 50ms --group canary --broker mqtts://broker.example\n"
        "  cloud-bridge fleet budget text-reader none --thing press-17 --broker mqtts://broker.example",
    )  # fmt: skip
    budget.add_argument("model", metavar="MODEL")
    budget.add_argument(
        "seconds", type=_budget, metavar="TIME|none", help="50ms, 0.2s; none: no budget is desired any more"
    )
    budget.set_defaults(wish=lambda arguments: Budget(check_name(arguments.model), arguments.seconds))
    routing = subcommand(
        acts, "policy", "let devices route by this policy",
        "cloud-bridge fleet policy cheap.json --all --broker mqtts://broker.example\n"
        "  cloud-bridge fleet policy none --all --broker mqtts://broker.example\n\n"
        'A policy is a JSON object with what is to differ from the default: {"byte_price": 1e-6, "least_odds": 0.1}.',
    )  # fmt: skip
    routing.add_argument("file", metavar="FILE|none", help="none: no policy is desired any more, devices have their own")
    routing.set_defaults(wish=_routing)
    for act in (budget, routing):
        options.add_targets(act)
        add_broker(act)
        add_registry(act)
        act.add_argument(
            "--timeout", type=options.duration, default=10.0, metavar="TIME",
            help="wait so long until devices have it (default: 10s)",
        )  # fmt: skip
        act.add_argument("--detach", action="store_true", help="do not wait for devices, only for a controller")
        act.add_argument("--json", action="store_true", help="print JSON")
        act.set_defaults(command=_desire)


def _desire(arguments: argparse.Namespace) -> int:
    wish: Wish = arguments.wish(arguments)
    things = _things(arguments)
    with required("a line to the broker"):
        from cloud_bridge.fleet.line import Line

        named = [{"thing": thing} for thing in things] if len(things) <= FEW else [{}]
        hears = [(kind, {**each, "shadow": "config"}) for kind in HEARD for each in named]
        line = Line(arguments.broker, [*hears, *((topics.STATUS, each) for each in named)])
    wishes = Wishes(wish, things)
    with line:
        line.connect()
        _until(line, wishes, arguments.timeout, detach=arguments.detach)
    if len(wishes.at("asked")) == len(things):
        raise UnreachableError(
            f"no controller has answered within {arguments.timeout:g} s: start one with `cloud-bridge fleet control`"
        )
    told = [described(thing, fate) for thing, fate in wishes.fates.items()]
    if arguments.json:
        print(json.dumps(told, indent=2))
    else:
        table(("THING", "STAGE", "STATE", "WHY"), [tuple(each.values()) for each in told])
        if wishes.at("accepted"):
            print("what is accepted holds: a device has it when it is there")
    good = wishes.at("accepted", "reported") if arguments.detach else wishes.at("reported")
    return 0 if len(good) == len(things) else 1


def _things(arguments: argparse.Namespace) -> tuple[str, ...]:
    """Of things that are named the registry need not know."""
    targets = options.targets(arguments)
    if targets.things and not targets.groups and not targets.everybody:
        return tuple(dict.fromkeys(names.check(thing, "thing") for thing in targets.things))
    if targets == plan.Targets():
        plan.chosen(targets, ())
    with required("a fleet's registry"), open_registry(arguments) as registry:
        return tuple(each.thing for each in plan.chosen(targets, options.fleet(registry)))


def _until(line: Line, wishes: Wishes, timeout: float, *, detach: bool) -> None:
    """Say it, and hear what becomes of it, until it is so on all or the time is over."""
    from tqdm import tqdm

    from cloud_bridge.control.link import Down, Heard, Taken

    until = time.monotonic() + timeout
    said = wishes.begin()
    with tqdm(total=len(wishes.fates), desc="devices", leave=False, disable=None) as bar:
        while True:
            for kind, thing, message in said:
                line.say(kind, message, thing=thing, shadow="config")
            left = len(wishes.at("asked") if detach else wishes.at("asked", "accepted"))
            bar.update(len(wishes.fates) - left - bar.n)
            if not left or (event := line.hear(until)) is None:
                return
            said = []
            match event:
                case Heard():
                    said = _heard(line, wishes, event)
                case Taken(refused=why) if why:
                    raise RefusedError(f"the broker does not let this client change shadows: {why}", status=403)
                case Down(reason=why):
                    raise UnreachableError(f"{line.name}: {why}")


def _heard(line: Line, wishes: Wishes, event: Any) -> list[tuple[topics.Kind, str, msgspec.Struct]]:
    try:
        kind, found = line.tree.parse(event.topic)
        return wishes.heard(kind, found["thing"], event.payload)
    except ProtocolError as error:
        print(f"{event.topic}: {error}; it is passed over", file=sys.stderr)
        return []


def described(thing: str, fate: Fate) -> dict[str, str]:
    """What has become of it on one device."""
    return {"thing": thing, "stage": fate.stage, "state": fate.presence.state, "why": plain(fate.why)}


def _budget(text: str) -> float | None:
    if text == "none":
        return None
    if (found := seconds(text)) > LONGEST:
        raise argparse.ArgumentTypeError(f"{text!r} is over the hour that a budget may have")
    return found


def _routing(arguments: argparse.Namespace) -> Routing:
    return Routing(None if arguments.file == "none" else policy(Path(arguments.file)))
