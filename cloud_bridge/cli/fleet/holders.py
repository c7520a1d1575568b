"""What is told of certificates, and to those who hold them."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from edge_runtime.cli.shell import table

if TYPE_CHECKING:
    from cloud_bridge.fleet.enrolment import Enrolled, Enrolment

DAY = 86_400.0

SOON = 60
"""Days before a certificate ends in which every act says so."""

SOME = 5
"""Of so many, by name."""


class Handed(msgspec.Struct, frozen=True):
    """What was made for a name, and what its holder runs with it; nothing for the broker."""

    name: str
    role: str
    ends: float
    folder: str
    run: tuple[str, ...]


def tell_handed(arguments: argparse.Namespace, enrolment: Enrolment, made: Iterable[tuple[str, Path]]) -> None:
    """Print what was made, and for whom."""
    newest, at = {each.name: each for each in enrolment.newest()}, arguments.at.rstrip("/")
    told = [
        Handed(name, newest[name].role, newest[name].ends, str(path), _run(enrolment, newest[name].role, name, at))
        for name, path in made
    ]
    if arguments.json:
        print(msgspec.json.format(msgspec.json.encode(told), indent=2).decode())
    for each in () if arguments.json else told:
        print(f"{each.name} ({each.role}, until {_date(each.ends)}): {each.folder}")
        if each.run:
            print(f"  copy it to {at} there, delete it here, and run there\n  {shlex.join(each.run)}")
    warn_of_ends(arguments.folder, enrolment)


def tell_enrolled(arguments: argparse.Namespace, enrolled: Sequence[Enrolled]) -> None:
    """Print who has a certificate, and until when."""
    if arguments.json:
        print(msgspec.json.format(msgspec.json.encode(enrolled), indent=2).decode())
        return
    rows = [(e.name, e.role, "revoked" if e.revoked else _date(e.ends), e.serial) for e in enrolled]
    table(("NAME", "ROLE", "UNTIL", "SERIAL"), rows)


def ending(enrolment: Enrolment, days: int) -> list[Enrolled]:
    """Those whose last certificate ends within so many days."""
    return [each for each in enrolment.newest() if each.ends < time.time() + days * DAY]


def warn_of_ends(folder: Path, enrolment: Enrolment) -> None:
    """Say what ends soon, if anything does."""
    names = [each.name for each in ending(enrolment, SOON)]
    if names:
        more = f" (and {len(names) - SOME} more)" if len(names) > SOME else ""
        renew = f"cloud-bridge fleet enroll renew {folder} {' '.join(names[:SOME])}{more}"
        print(f"these end within {SOON} days: {renew}", file=sys.stderr)


def warn_of_broker(folder: Path) -> None:
    """Say that the broker has to be told."""
    print(f"the broker does not know yet: copy {folder}/broker there again, and restart it", file=sys.stderr)


def _run(enrolment: Enrolment, role: str, name: str, at: str) -> tuple[str, ...]:
    url = enrolment.url(role, at)
    match role:
        case "device":
            where = ("--store", "/var/lib/edge/store", "--keys", "/etc/edge/operators")
            return ("cloud-bridge", "agent", "--broker", url, "--thing", name, *where)
        case "controller":
            return ("cloud-bridge", "fleet", "control", "--broker", url, "--registry", "/var/lib/edge/fleet.db")
        case "worker":
            return ("cloud-bridge", "serve", "/var/lib/edge/store", "--mqtt", url)
        case "operator":
            host, port = enrolment.settings.broker[0], str(enrolment.settings.listeners.control)
            files = ("--cafile", f"{at}/ca.pem", "--cert", f"{at}/cert.pem", "--key", f"{at}/key.pem")
            asked = ("-v", "-t", f"{enrolment.settings.root}/things/+/status")
            return ("mosquitto_sub", "-V", "5", "-h", host, "-p", port, *files, *asked)
    return ()


def _date(unix: float) -> str:
    return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%d")
