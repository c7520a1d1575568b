"""What the acts of `cloud-bridge fleet` share: where the broker and the registry are."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from edge_runtime.errors import InputError

if TYPE_CHECKING:
    from cloud_bridge.fleet.registry import Registry


def add_registry(parser: argparse.ArgumentParser) -> None:
    """The option that says where the fleet is kept."""
    parser.add_argument(
        "--registry", default="fleet.db", metavar="FILE",
        help="where the fleet is kept: a file, or postgresql+psycopg://USER@HOST/NAME (default: ./fleet.db)",
    )  # fmt: skip


def open_registry(arguments: argparse.Namespace, *, create: bool = False) -> Registry:
    """The registry that was named. Raises InputError where there is none, unless one is to be made."""
    from cloud_bridge.fleet.registry import Registry

    where = arguments.registry
    if not create and "://" not in where and not Path(where).exists():
        raise InputError(
            f"there is no registry {where}: name the one that `cloud-bridge fleet control --registry` keeps the fleet in"
        )
    return Registry(where)


def plain(text: str) -> str:
    """What a device says, for a terminal: on one line, and nothing in it that would command the terminal."""
    return "".join(each if each.isprintable() else " " for each in text)
