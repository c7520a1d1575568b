"""`cloud-bridge fleet ping` and `status`: questions to a device that is online."""

from __future__ import annotations

import argparse
import time

import msgspec

from cloud_bridge.cli.fleet.progress import since
from cloud_bridge.cli.fleet.shared import plain
from cloud_bridge.cli.options import add_broker
from cloud_bridge.extra import required
from cloud_bridge.protocol.fleet import names
from cloud_bridge.protocol.fleet.rpc import Answer, DeviceStatus
from cloud_bridge.protocol.fleet.topics import RPC_ANSWER
from edge_runtime.bench.units import size
from edge_runtime.cli.shell import Commands, columns, seconds, subcommand


def add(acts: Commands) -> None:
    """Add the acts."""
    ping = subcommand(
        acts, "ping", "ask whether a device is there",
        "cloud-bridge fleet ping press-17 --broker mqtts://broker.example",
    )  # fmt: skip
    status = subcommand(
        acts, "status", "ask a device how it is: active versions, the job under way, what needs looking after",
        "cloud-bridge fleet status press-17 --broker mqtts://broker.example --json",
    )  # fmt: skip
    for act, method in ((ping, "ping"), (status, "status")):
        act.add_argument("thing", metavar="THING")
        add_broker(act)
        act.add_argument("--timeout", type=seconds, default=5.0, metavar="TIME", help="wait so long (default: 5s)")
        act.add_argument("--json", action="store_true", help="print JSON")
        act.set_defaults(command=_ask, method=method)


def _ask(arguments: argparse.Namespace) -> int:
    with required("a line to the broker"):
        from cloud_bridge.fleet.line import Line, ask

        thing = names.check(arguments.thing, "thing")
        line = Line(arguments.broker, [(RPC_ANSWER, {"thing": thing})])
    with line:
        line.connect()
        begin = time.monotonic()
        answer = ask(line, thing, arguments.method, arguments.timeout)
        taken = time.monotonic() - begin
    if arguments.json:
        told = msgspec.to_builtins(answer) | {"thing": thing, "seconds": taken}
        print(msgspec.json.format(msgspec.json.encode(told), indent=2).decode())
    else:
        print("\n".join(words(thing, answer, taken, time.time())))
    return 0


def words(thing: str, answer: Answer, taken: float, now: float) -> list[str]:
    """An answer that took so many seconds, as lines."""
    apart = answer.timestamp - now
    clock = f"; its clock is {abs(apart):.0f} s {'ahead' if apart > 0 else 'behind'}" if abs(apart) > taken + 2.0 else ""
    if not isinstance(answer, DeviceStatus):
        return [f"{thing} is there ({taken * 1e3:.0f} ms{clock})"]
    agent = f"agent {plain(answer.agent)}, for {since(now - answer.uptime, now)}"
    lines = [f"{thing} is there ({taken * 1e3:.0f} ms{clock}); {agent}"]
    models = [(name, each.version, each.digest[:12]) for name, each in answer.models.items()]
    lines += columns(("MODEL", "VERSION", "DIGEST"), models) if models else ["no model is active"]
    lines.append(f"job: {answer.job or 'none'}; {answer.waiting} messages wait; {size(answer.free)} are free on its disk")
    return [*lines, *(f"problem: {plain(each)}" for each in answer.problems)]
