"""`cloud-bridge repository`: bundles, signed for devices that trust nobody who carries them."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from edge_runtime.cli.shell import Commands, count, subcommand, table

if TYPE_CHECKING:
    from cloud_bridge.artifacts.repository import Repository

SOON = 30 * 86400.0
"""Seconds before the root or the list of bundles expires in which `publish` says so."""

ROLES = ("root", "targets", "snapshot", "timestamp")


def add(commands: Commands) -> None:
    """Add the subcommand, and its own."""
    repository = subcommand(
        commands, "repository", "sign bundles for devices, and put them where any static server serves them",
        "cloud-bridge repository init repository --keys keys\n"
        "  cloud-bridge repository add repository text-1.1.bundle --keys keys\n"
        "  cloud-bridge repository publish repository --keys keys      and every day, from cron\n"
        "  cloud-bridge repository rotate repository timestamp --keys keys",
    )  # fmt: skip
    acts = repository.add_subparsers(metavar="ACT", required=True)
    init = subcommand(
        acts, "init", "make an empty repository, and the keys that sign it",
        "cloud-bridge repository init repository --keys keys\n"
        "  cloud-bridge repository init repository --keys keys --root-keys 5 --threshold 3",
    )  # fmt: skip
    init.add_argument("--root-keys", type=count, default=3, metavar="N", help="keys of the root (default: 3)")
    init.add_argument(
        "--threshold", type=count, default=2, metavar="N", help="of these, how many it takes to replace a key (default: 2)"
    )
    init.set_defaults(command=_init)
    added = subcommand(
        acts, "add", "take bundles in, which devices see once they are published",
        "cloud-bridge repository add repository text-1.1.bundle store/vision/2.0 --keys keys",
    )  # fmt: skip
    added.set_defaults(command=_add)
    publish = subcommand(
        acts, "publish", "sign what is current anew, with the online keys: for a while, so do it every day",
        "cloud-bridge repository publish repository --keys keys",
    )  # fmt: skip
    publish.set_defaults(command=_publish)
    rotate = subcommand(
        acts, "rotate", "replace a role's keys, lost or not, by new ones",
        "cloud-bridge repository rotate repository timestamp --keys keys\n"
        "  cloud-bridge repository rotate repository root --keys keys",
    )  # fmt: skip
    rotate.set_defaults(command=_rotate)
    for act in (init, added, publish, rotate):
        act.add_argument("repository", type=Path, metavar="REPOSITORY", help="the folder that a server serves")
        act.add_argument("--keys", type=Path, required=True, metavar="DIR", help="where the private keys lie: no server's")
        act.add_argument("--json", action="store_true", help="print JSON")
    added.add_argument("bundles", type=Path, nargs="+", metavar="BUNDLE", help="a bundle's folder or .bundle file")
    rotate.add_argument("role", choices=ROLES, metavar="ROLE", help=", ".join(ROLES))


def _opened(arguments: argparse.Namespace) -> Repository:
    from cloud_bridge.artifacts.repository import Repository  # here: only this command needs what it needs

    return Repository(arguments.repository, arguments.keys)


def _init(arguments: argparse.Namespace) -> int:
    repository = _opened(arguments)
    repository.init(time.time(), root_keys=arguments.root_keys, threshold=arguments.threshold)
    return _told(arguments, repository)


def _add(arguments: argparse.Namespace) -> int:
    repository = _opened(arguments)
    added = [repository.add(bundle, time.time()) for bundle in arguments.bundles]
    if arguments.json:
        print(json.dumps([msgspec.to_builtins(bundle) for bundle in added], indent=2))
        return 0
    table(("BUNDLE", "VERSION", "DIGEST"), [(bundle.name, bundle.version, bundle.digest) for bundle in added])
    print(f"devices see them after: cloud-bridge repository publish {arguments.repository} --keys {arguments.keys}")
    return 0


def _publish(arguments: argparse.Namespace) -> int:
    repository = _opened(arguments)
    repository.publish(time.time())
    return _told(arguments, repository)


def _rotate(arguments: argparse.Namespace) -> int:
    repository = _opened(arguments)
    gone = repository.rotate(arguments.role, time.time())
    status = _told(arguments, repository)
    if left := [str(path) for path in gone if path.exists()]:
        print(f"nobody trusts these keys any more, delete them: {' '.join(left)}", file=sys.stderr)
    return status


def _told(arguments: argparse.Namespace, repository: Repository) -> int:
    """How it stands, and what is to be renewed soon."""
    standing, bundles = repository.standing(), repository.bundles()
    if arguments.json:
        found = {"roles": standing, "bundles": bundles}
        print(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
    else:
        rows = [(r.role, r.version, r.expires, f"{r.threshold} of {len(r.keys)}") for r in standing]
        table(("ROLE", "VERSION", "EXPIRES", "KEYS"), rows)
        print(f"{len(bundles)} bundle{'s' * (len(bundles) != 1)}")
    for role in repository.expiring(time.time() + SOON):
        renew = f"cloud-bridge repository rotate {arguments.repository} {role} --keys {arguments.keys}"
        print(f"what the {role} signed expires soon: {renew}", file=sys.stderr)
    return 0
