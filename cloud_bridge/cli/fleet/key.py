"""`cloud-bridge fleet key`: who commands."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from cloud_bridge.extra import required
from edge_runtime.cli.shell import Commands, subcommand


def add(acts: Commands) -> None:
    """Add the act."""
    key = subcommand(
        acts, "key", "make the key of an operator: FILE signs orders, FILE.pub goes to the devices that obey it",
        "cloud-bridge fleet key operator",
    )  # fmt: skip
    key.add_argument("file", type=Path, metavar="FILE", help="where the private half goes: for its owner alone to read")
    key.add_argument("--json", action="store_true", help="print JSON")
    key.set_defaults(command=_key)


def _key(arguments: argparse.Namespace) -> int:
    with required("signing jobs"):
        from cloud_bridge.signing import generate, public_path

        made = generate(arguments.file)
    public = public_path(arguments.file)
    if arguments.json:
        print(json.dumps({"keyid": made.keyid, "private": str(arguments.file), "public": str(public)}))
    else:
        print(f"{arguments.file} signs, keep it; {public} goes to the devices: cloud-bridge agent --keys {public}")
    return 0
