"""`cloud-bridge fleet`: for operators. Each act has a module; what they share is in `shared`."""

from __future__ import annotations

from cloud_bridge.cli.fleet import control, enroll
from edge_runtime.cli.shell import Commands, subcommand


def add(commands: Commands) -> None:
    """Add the subcommand, and its own."""
    fleet = subcommand(
        commands, "fleet", "command devices by the thousand, and see what becomes of it",
        "cloud-bridge fleet control --broker mqtts://broker.example --registry fleet.db      the service",
    )  # fmt: skip
    acts = fleet.add_subparsers(metavar="ACT", required=True)
    for part in (control, enroll):
        part.add(acts)
