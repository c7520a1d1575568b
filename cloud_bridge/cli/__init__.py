"""`cloud-bridge`: the endpoint, the embedded broker, a look at either, and the fleet's bundles, from a shell."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence

from cloud_bridge.cli import agent, bench, broker, fleet, repository, serve, tune, versions
from edge_runtime.cli.shell import command_parser, run_command


def main(argv: Sequence[str] | None = None) -> int:
    """The command `cloud-bridge`."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s: %(message)s")
    return run_command(parser(), argv)


def parser() -> argparse.ArgumentParser:
    """What it takes."""
    made, commands = command_parser("cloud-bridge", "The cloud's side of the bridge, and what lies between.")
    for part in (serve, versions, tune, broker, bench, repository, agent, fleet):
        part.add(commands)
    return made
