"""`cloud-bridge`: the endpoint, the embedded broker, a look at either, and the fleet's bundles, from a shell."""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
from collections.abc import Sequence

from edge_runtime.cli.shell import command_parser, run_command

PARTS = ("serve", "versions", "tune", "broker", "bench", "repository", "agent", "fleet")
"""Modules of this package: each adds the command of its name, and maybe others."""


def main(argv: Sequence[str] | None = None) -> int:
    """The command `cloud-bridge`."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s: %(message)s")
    words = sys.argv[1:] if argv is None else argv
    return run_command(parser(*words[:1]), argv)


def parser(command: str = "") -> argparse.ArgumentParser:
    """What it takes. Where the command is known to be one of the parts, that one alone: an agent needs none of what the
    endpoint imports."""
    made, commands = command_parser("cloud-bridge", "The cloud's side of the bridge, and what lies between.")
    for part in (command,) if command in PARTS else PARTS:
        importlib.import_module(f"{__name__}.{part}").add(commands)
    return made
