"""`cloud-bridge fleet control`: the service that answers devices and steps rollouts."""

from __future__ import annotations

import argparse
import json
import logging

from cloud_bridge.cli.fleet.shared import add_registry
from cloud_bridge.cli.options import add_broker
from cloud_bridge.extra import required
from edge_runtime.cli.shell import Commands, subcommand, told_to_end


def add(acts: Commands) -> None:
    """Add the act."""
    control = subcommand(
        acts, "control", "answer devices and carry rollouts out, until Ctrl-C or SIGTERM; run as many as you like",
        "cloud-bridge fleet control --broker 'mqtts://broker.example?ca=ca.pem&cert=control.pem&key=control.key' \\\n"
        "      --registry /var/lib/edge/fleet.db",
    )  # fmt: skip
    add_broker(control)
    add_registry(control)
    control.add_argument("--json", action="store_true", help="announce readiness as one JSON line")
    control.set_defaults(command=_control)


def _control(arguments: argparse.Namespace) -> int:
    logging.getLogger("cloud_bridge").setLevel(logging.INFO)
    with required("a controller"):
        from cloud_bridge.fleet.service import Service  # here: only this command needs what it needs

        service = Service(arguments.broker, registry=arguments.registry)
    ended = told_to_end()
    with service:
        ready = {"ready": True, "name": service.name}
        print(json.dumps(ready) if arguments.json else f"{service.name} commands; Ctrl-C ends it", flush=True)
        ended.wait()
    return 0
