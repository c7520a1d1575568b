"""`edge-runtime`: the device from a shell."""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """The command `edge-runtime`."""
    from edge_runtime.cli import compare, infer, measure, optimize, replay, store, tune  # here: `shell` is others' too
    from edge_runtime.cli.shell import command_parser, run_command

    parser, commands = command_parser("edge-runtime", "Run models on this device, inside a latency budget.")
    for part in (infer, store, measure, compare, tune, optimize, replay):
        part.add(commands)
    return run_command(parser, argv)
