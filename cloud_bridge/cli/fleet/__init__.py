"""`cloud-bridge fleet`: for operators. Each group of acts has a module; what they share is in `shared` and `options`."""

from __future__ import annotations

from cloud_bridge.cli.fleet import ask, control, devices, enroll, jobs, key, orders, settings, watch
from edge_runtime.cli.shell import Commands, subcommand


def add(commands: Commands) -> None:
    """Add the subcommand, and its own."""
    fleet = subcommand(
        commands, "fleet", "command devices by the thousand, and see what becomes of it",
        "cloud-bridge fleet key operator                                                     who commands\n"
        "  cloud-bridge fleet control --broker mqtts://broker.example --registry fleet.db      the service\n"
        "  cloud-bridge fleet deploy text-reader 1.3 --group canary --key operator --repository repository/\n"
        "  cloud-bridge fleet budget text-reader 50ms --all --broker mqtts://broker.example\n"
        "  cloud-bridge fleet watch --broker mqtts://broker.example",
    )  # fmt: skip
    acts = fleet.add_subparsers(metavar="ACT", required=True)
    for part in (key, enroll, control, devices, orders, jobs, settings, ask, watch):
        part.add(acts)
