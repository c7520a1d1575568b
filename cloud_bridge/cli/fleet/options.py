"""The options of orders: to whom, how fast, until when, with whose key; and what is meant by them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from cloud_bridge.cli.fleet.plan import Known, Pace, Targets
from cloud_bridge.cli.fleet.shared import add_registry
from cloud_bridge.fleet.spec import MOST, Rollout, read
from edge_runtime.cli.shell import count
from edge_runtime.errors import InputError

if TYPE_CHECKING:
    from cloud_bridge.fleet.registry import Registry

_UNITS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
PACES = ("groups", "success", "per_minute", "exponential", "in_flight", "stop_at", "timeout", "retries")


def add_targets(parser: argparse.ArgumentParser) -> None:
    """The options that say for whom it is."""
    whom = parser.add_argument_group("for whom")
    whom.add_argument("--thing", action="append", default=[], metavar="NAME", help="this one; again for more")
    whom.add_argument("--group", action="append", default=[], metavar="NAME", help="those of this group; again for more")
    whom.add_argument("--all", action="store_true", help="all that the registry knows")


def add_order(parser: argparse.ArgumentParser) -> None:
    """The options of every order."""
    add_targets(parser)
    pace = parser.add_argument_group("how fast")
    pace.add_argument(
        "--groups", type=listed, metavar="A,B,rest", help="A first, then B, then all others (default: all at once)"
    )
    pace.add_argument(
        "--success", type=percent, metavar="PERCENT",
        help="of a group that must have succeeded before the next one begins (default: 100)",
    )  # fmt: skip
    pace.add_argument("--per-minute", type=count, metavar="N", help="tell so many in a minute")
    pace.add_argument(
        "--exponential", type=exponential, metavar="BASE,FACTOR,EVERY",
        help="tell BASE in a minute, times FACTOR each time that EVERY more have succeeded: 10,2,20",
    )  # fmt: skip
    pace.add_argument("--in-flight", type=count, metavar="N", help="at most so many at once")
    pace.add_argument(
        "--stop-at", type=stop, metavar="PERCENT[,LEAST]",
        help="stop when so many percent have failed, once LEAST have ended (default of LEAST: 1)",
    )  # fmt: skip
    pace.add_argument(
        "--timeout", type=duration, metavar="TIME", help="who has not ended so long after he was told, failed"
    )
    pace.add_argument("--retries", type=count, metavar="N", help="tell who has failed again, so often")
    pace.add_argument("--rollout", type=Path, metavar="FILE", help="all of this, and for whom it is, as JSON")
    signed = parser.add_argument_group("the order")
    signed.add_argument(
        "--key", type=Path, action="append", required=True, metavar="FILE",
        help="the operator's private key; again where devices ask for several signatures",
    )  # fmt: skip
    signed.add_argument(
        "--expires", type=duration, default=86_400.0, metavar="TIME", help="it holds for so long: 90m, 12h (default: 1d)"
    )
    signed.add_argument("--id", metavar="NAME", help="what the job is called (default: made up)")
    add_registry(parser)
    parser.add_argument("--detach", action="store_true", help="give the order, and do not wait for its end")
    parser.add_argument("--json", action="store_true", help="print what came of it as JSON")


def targets(arguments: argparse.Namespace) -> Targets:
    """For whom it is."""
    return Targets(tuple(arguments.thing), tuple(arguments.group), arguments.all)


def pace(arguments: argparse.Namespace) -> Pace:
    """How fast it is to go."""
    return Pace(
        arguments.groups or (), arguments.success, arguments.per_minute, arguments.exponential, arguments.in_flight,
        arguments.stop_at, arguments.timeout, arguments.retries or 0,
    )  # fmt: skip


def written(arguments: argparse.Namespace) -> Rollout | None:
    """The rollout in a file, where one is given. Raises InputError."""
    if arguments.rollout is None:
        return None
    said = {name: getattr(arguments, name) for name in (*PACES, "thing", "group", "all")}
    given = [name for name, value in said.items() if value is not None and value is not False and value != []]
    if given:
        raise InputError(f"--rollout says it all: leave out --{given[0].replace('_', '-')}")
    try:
        with arguments.rollout.open("rb") as file:
            data = file.read(MOST + 1)
    except OSError as error:
        raise InputError(f"no rollout can be read at {arguments.rollout}: {error.strerror}") from error
    return read(data)


def fleet(registry: Registry) -> tuple[Known, ...]:
    """All things that a registry knows."""
    return tuple(Known(each.thing, each.groups, each.presence) for each in registry.devices.all())


def duration(text: str) -> float:
    """A time on the command line, in seconds: "90", "90s", "10m", "12h", "7d"."""
    unit = next((unit for unit in _UNITS if text.endswith(unit)), "")
    try:
        value = float(text.removesuffix(unit)) * _UNITS.get(unit, 1.0)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no time: write 90s, 10m, 12h or 7d") from None
    if not 0 < value <= 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is no time above zero")
    return value


def percent(text: str) -> float:
    """Percents on the command line: "95", "95%"."""
    try:
        value = float(text.removesuffix("%"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no percentage: write 95") from None
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError(f"{text!r} is none of 0 to 100 percent")
    return value


def listed(text: str) -> tuple[str, ...]:
    """Names on the command line: "canary,rest"."""
    return tuple(name.strip() for name in text.split(","))


def exponential(text: str) -> tuple[int, float, int]:
    """A rate that grows: "10,2,20"."""
    try:
        base, factor, every = text.split(",")
        return int(base), float(factor), int(every)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: write a minute's things, a factor, and a number, as 10,2,20") from None


def stop(text: str) -> tuple[float, int]:
    """When to stop: "20", "20,10"."""
    share, _, least = text.partition(",")
    return percent(share), count(least or "1")
