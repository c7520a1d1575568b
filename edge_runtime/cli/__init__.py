"""`edge-runtime`: the device from a shell."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from edge_runtime.cli import infer, measure, store
from edge_runtime.cli.shell import run_command


def main(argv: Sequence[str] | None = None) -> int:
    """The command `edge-runtime`."""
    parser = argparse.ArgumentParser(prog="edge-runtime", description="Run models on this device, inside a latency budget.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for part in (infer, store, measure):
        part.add(commands)
    return run_command(parser, argv)
