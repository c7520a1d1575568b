"""`edge-runtime list`, `install`, `activate` and `rollback`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from edge_runtime.bundles.store import Bundle, Store
from edge_runtime.cli.shell import Commands, add_store, subcommand, table
from edge_runtime.errors import InputError


def add(commands: Commands) -> None:
    """Add these subcommands."""
    shown = subcommand(commands, "list", "list the models of a store", "edge-runtime list --store store")
    shown.add_argument("--json", action="store_true", help="print JSON")
    shown.set_defaults(command=_list)
    install = subcommand(
        commands, "install", "install a bundle, verified by digest", "edge-runtime install ppocr_det-1.1.bundle"
    )
    install.add_argument("source", type=Path, metavar="SOURCE", help="a bundle's folder or .bundle file")
    install.add_argument("--no-activate", action="store_true", help="keep the version that is active now")
    install.set_defaults(command=_install)
    activate = subcommand(
        commands, "activate", "make an installed version the active one", "edge-runtime activate ppocr_det@1.1"
    )
    activate.add_argument("bundle", metavar="NAME@VERSION")
    activate.set_defaults(command=_activate)
    rollback = subcommand(commands, "rollback", "go back to the version active before", "edge-runtime rollback ppocr_det")
    rollback.add_argument("name", metavar="NAME")
    rollback.set_defaults(command=_rollback)
    for command in (install, activate, rollback):
        command.add_argument("--json", action="store_true", help="print JSON")
    for command in (shown, install, activate, rollback):
        add_store(command)


def _list(arguments: argparse.Namespace) -> int:
    store = Store(arguments.store)
    bundles = [store.bundle(name, version) for name in store.names() for version in store.versions(name)]
    rows = [
        {
            "name": b.manifest.name,
            "version": b.manifest.version,
            "active": store.active(b.manifest.name) == b.manifest.version,
            "task": b.manifest.task,
            "variants": [variant.name for variant in b.manifest.variants],
            "partner": b.manifest.partner,
            "licence": b.manifest.licence,
        }
        for b in bundles
    ]
    if arguments.json:
        print(json.dumps(rows, indent=2))
        return 0
    lines = [
        (
            r["name"],
            f"{r['version']}{' *' * bool(r['active'])}",
            ", ".join(b.name for b in bundle.manifest.variants),
            r["task"],
        )
        for r, bundle in zip(rows, bundles, strict=True)
    ]
    table(("MODEL", "VERSION", "VARIANTS", "TASK"), lines)
    return 0


def _install(arguments: argparse.Namespace) -> int:
    store = Store(arguments.store, create=True)
    bundle = store.install(arguments.source, activate=not arguments.no_activate)
    return _told(arguments, store, bundle, "installed" if arguments.no_activate else "installed and active")


def _activate(arguments: argparse.Namespace) -> int:
    name, _, version = arguments.bundle.partition("@")
    if not version:
        raise InputError("say which version: NAME@VERSION")
    store = Store(arguments.store)
    return _told(arguments, store, store.activate(name, version), "active")


def _rollback(arguments: argparse.Namespace) -> int:
    store = Store(arguments.store)
    return _told(arguments, store, store.rollback(arguments.name), "active")


def _told(arguments: argparse.Namespace, store: Store, bundle: Bundle, done: str) -> int:
    name, version = bundle.manifest.name, bundle.manifest.version
    if arguments.json:
        print(json.dumps({"name": name, "version": version, "active": store.active(name) == version}, indent=2))
    else:
        print(f"{name} {version} is {done}")
    return 0
