"""`cloud-bridge fleet watch`: what happens, as it happens, from the broker."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, get_args

import msgspec
from msgspec import UNSET

from cloud_bridge.cli.fleet.shared import plain
from cloud_bridge.cli.options import add_broker
from cloud_bridge.extra import required
from cloud_bridge.protocol.fleet import jobs, names, shadow, topics
from cloud_bridge.protocol.fleet.presence import Status
from cloud_bridge.protocol.fleet.telemetry import Figures
from cloud_bridge.protocol.fleet.topics import Kind
from cloud_bridge.protocol.fleet.wire import decode
from edge_runtime.bench.units import size
from edge_runtime.cli.shell import Commands, subcommand
from edge_runtime.errors import ProtocolError

About: TypeAlias = Literal["presence", "jobs", "shadows", "figures"]
ABOUT: tuple[About, ...] = get_args(About)

HEARD: Mapping[Kind, About] = {
    topics.STATUS: "presence", topics.CONTROLLER_STATUS: "presence", topics.NOTIFY_NEXT: "jobs",
    topics.JOB_UPDATE: "jobs", topics.SHADOW_UPDATE: "shadows", topics.TELEMETRY: "figures",
}  # fmt: skip
"""What is listened to, and what it is about."""

Event: TypeAlias = dict[str, Any]


def add(acts: Commands) -> None:
    """Add the act."""
    watch = subcommand(
        acts, "watch", "tell what happens as it happens, until Ctrl-C: who comes and goes, jobs, shadows, figures",
        "cloud-bridge fleet watch --broker mqtts://broker.example --only presence,jobs\n"
        "  cloud-bridge fleet watch --broker mqtts://broker.example --thing press-17 --json",
    )  # fmt: skip
    add_broker(watch)
    watch.add_argument("--thing", action="append", default=[], metavar="NAME", help="of this one; again for more")
    watch.add_argument("--only", type=about, default=ABOUT, metavar="WHAT", help=f"of {','.join(ABOUT)} (default: all)")
    watch.add_argument("--json", action="store_true", help="print one JSON line for each event")
    watch.set_defaults(command=_watch)


def about(text: str) -> tuple[str, ...]:
    """What is to be told, on the command line: "presence,jobs"."""
    chosen = tuple(text.split(","))
    if unknown := [each for each in chosen if each not in ABOUT]:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(ABOUT)}")
    return chosen


def filters(things: tuple[str, ...], only: tuple[str, ...]) -> list[tuple[Kind, Mapping[str, str]]]:
    """The kinds of messages to listen to, with the names in their topics."""
    whose: list[dict[str, str]] = [{"thing": thing} for thing in things] or [{}]
    return [
        (kind, each if "thing" in kind.names else {})
        for kind, what in HEARD.items() if what in only and (not things or "thing" in kind.names)
        for each in whose[: None if "thing" in kind.names else 1]
    ]  # fmt: skip


def _watch(arguments: argparse.Namespace) -> int:
    with required("a line to the broker"):
        from cloud_bridge.control.link import Down, Heard, Up
        from cloud_bridge.fleet.line import Line

        things = tuple(names.check(thing, "thing") for thing in arguments.thing)
        line = Line(arguments.broker, filters(things, arguments.only))
    try:
        with line:
            line.connect()
            while True:
                match line.hear(time.monotonic() + 3600.0):
                    case Heard(topic=topic, payload=payload, retained=retained):
                        _tell(line, topic, payload, retained, as_json=arguments.json)
                    case Down(reason=why):
                        print(f"{line.name}: {why}; it is waited for", file=sys.stderr)
                    case Up():
                        print(f"{line.name} is there again; what happened meanwhile is not told", file=sys.stderr)
    except KeyboardInterrupt:
        return 0


def _tell(line: Any, topic: str, payload: bytes, retained: bool, *, as_json: bool) -> None:
    try:
        kind, found = line.tree.parse(topic)
        event = read(kind, found, payload, time.time(), retained=retained)
    except ProtocolError as error:
        print(plain(f"{topic}: {error}; it is passed over"), file=sys.stderr)
        return
    if event is not None:
        print(json.dumps(event) if as_json else words(event), flush=True)


def read(kind: Kind, found: Mapping[str, str], payload: bytes, now: float, *, retained: bool = False) -> Event | None:
    """What a message tells, for a script; None where that is nothing. `retained`: it was so before anybody listened. Raises
    ProtocolError."""
    event: Event = {"at": now, "about": HEARD[kind], "thing": found.get("thing", "")}
    match kind:
        case topics.STATUS | topics.CONTROLLER_STATUS:
            status = decode(payload, Status)
            told = {"state": status.state, "groups": list(status.groups), "models": status.models, "agent": status.agent}
            who = {} if kind is topics.STATUS else {"thing": None, "controller": status.session}
            return event | who | {name: value for name, value in told.items() if value} | {"before": retained}
        case topics.NOTIFY_NEXT:
            job = jobs.decode_next(payload).execution
            return None if job is None else event | {"job": job.job_id, "status": job.status, "details": job.status_details}
        case topics.JOB_UPDATE:
            update = decode(payload, jobs.Update)
            return event | {"job": found["job"], "status": update.status, "details": update.status_details or {}}
        case topics.SHADOW_UPDATE:
            state = decode(payload, shadow.Update).state
            sides = {"desired": state.desired, "reported": state.reported}
            return event | {"shadow": found["shadow"]} | {side: each for side, each in sides.items() if each is not UNSET}
        case topics.TELEMETRY:
            return event | {"name": found["name"], "figures": msgspec.to_builtins(decode(payload, Figures))}
    return None


def words(event: Event) -> str:
    """An event as a line for a person."""
    at = time.strftime("%H:%M:%S", time.localtime(event["at"]))
    return plain(f"{at}  {event['thing'] or event.get('controller') or '':<16}  {_words(event)}")


def _words(event: Event) -> str:
    match event:
        case {"about": "presence"}:
            more = [f"{model} {version}" for model, version in event.get("models", {}).items()]
            more += [f"group {group}" for group in event.get("groups", ())]
            return f"{'is' if event['before'] else 'became'} {event['state']}" + (f": {', '.join(more)}" if more else "")
        case {"about": "jobs"}:
            told = {**event["details"]}
            step, why = told.pop("step", ""), told.pop("reason", "")
            rest = why or ", ".join(f"{name} {text}" for name, text in told.items() if name != "digest")
            return f"{event['job']} {event['status']}" + f" at {step}" * bool(step) + f": {rest}" * bool(rest)
        case {"about": "shadows"}:
            sides = [f"{side} {json.dumps(event[side])}" for side in ("desired", "reported") if side in event]
            return f"shadow {event['shadow']}: {', '.join(sides)}"
        case _:
            return _figures(event["figures"])


def _figures(figures: Mapping[str, Any]) -> str:
    told = [
        f"load {figures['load']:.2f}" if "load" in figures else "",
        f"{size(figures['memory'])} of memory" if "memory" in figures else "",
        f"{size(figures['free'])} of disk" if "free" in figures else "",
        f"{figures['temperature']:.0f} °C" if "temperature" in figures else "",
        f"{figures['waiting']} waiting" if figures.get("waiting") else "",
    ]
    return ", ".join(each for each in told if each) or "is up"
