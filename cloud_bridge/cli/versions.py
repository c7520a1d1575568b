"""`cloud-bridge versions`: which versions an endpoint serves, and how calls are shared among them."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import msgspec

from cloud_bridge.endpoint.versions import ANY, FILE, Rule, Rules, parse_serve, parse_traffic, read, write
from edge_runtime.bundles.store import Store
from edge_runtime.cli.shell import Commands, subcommand, table
from edge_runtime.errors import InputError


def add(commands: Commands) -> None:
    """Add the subcommand."""
    versions = subcommand(
        commands, "versions", "show or set which versions of a model are served, and how calls are shared among them",
        "cloud-bridge versions store\n"
        "  cloud-bridge versions store text --serve latest:2\n"
        "  cloud-bridge versions store text --traffic 1.0=95 1.1=5    a canary: every twentieth call\n"
        "  cloud-bridge versions store text --traffic active          all calls to the active version again",
    )  # fmt: skip
    versions.add_argument("store", type=Path, metavar="STORE")
    versions.add_argument("name", nargs="?", metavar="NAME")
    versions.add_argument(
        "--serve",
        metavar="WHICH",
        help="all, latest, latest:N, or V,V: versions that may be asked for, beside the active one",
    )
    versions.add_argument(
        "--traffic", nargs="+", metavar="VERSION=WEIGHT", help="shares of the calls that name no version; or active"
    )
    versions.add_argument("--json", action="store_true", help="print JSON")
    versions.set_defaults(command=_versions)


def _versions(arguments: argparse.Namespace) -> int:
    store = Store(arguments.store)
    names = store.names() if arguments.name is None else (arguments.name,)
    rules = read(store.path / FILE)
    if arguments.serve is not None or arguments.traffic is not None:
        if arguments.name is None:
            raise InputError("say of which model: cloud-bridge versions STORE NAME --serve ... --traffic ...")
        rules = {**rules, arguments.name: _changed(store, arguments, rules.get(arguments.name, ANY))}
        write(store.path / FILE, rules)
    rows = [_row(store, name, rules) for name in names]
    if arguments.json:
        print(json.dumps(rows, indent=2))
        return 0
    table(("MODEL", "ACTIVE", "SERVED", "TRAFFIC"), [tuple(map(_shown, row.values())) for row in rows])
    return 0


def _changed(store: Store, arguments: argparse.Namespace, rule: Rule) -> Rule:
    """The rule as it was asked for; InputError where it names what is not installed."""
    serve = rule.serve if arguments.serve is None else parse_serve(arguments.serve)
    traffic = rule.traffic if arguments.traffic is None else parse_traffic(arguments.traffic)
    for version in (*traffic, *(serve if isinstance(serve, tuple) else ())):
        store.bundle(arguments.name, version)
    return msgspec.structs.replace(rule, serve=serve, traffic=traffic)


def _row(store: Store, name: str, rules: Rules) -> dict[str, object]:
    rule = rules.get(name, ANY)
    installed, active = store.versions(name), store.active(name)
    if not installed:
        store.bundle(name)  # it says what is installed
    total = sum(rule.traffic.values())
    shares = {version: weight / total for version, weight in rule.traffic.items()} or {active or "none": 1.0}
    return {"model": name, "active": active, "served": rule.served(installed, active), "traffic": shares}


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{version} {share:.1%}" for version, share in value.items())
    return ", ".join(value) if isinstance(value, tuple) else str(value or "none")
