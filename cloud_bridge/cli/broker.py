"""`cloud-bridge broker` and `health`: a broker here, and whether somebody is there."""

from __future__ import annotations

import argparse
import json
from time import monotonic

from edge_runtime.cli.shell import Commands, seconds, subcommand


def add(commands: Commands) -> None:
    """Add these subcommands."""
    broker = subcommand(commands, "broker", "run an MQTT 5 broker", "cloud-bridge broker --port 1883")
    broker.add_argument("--host", default="127.0.0.1")
    broker.add_argument("--port", type=int, default=1883, help="0 takes a free one (default: 1883)")
    broker.add_argument(
        "--kind", choices=("mosquitto", "iotcore"), help="default: mosquitto when it is on PATH, else iotcore"
    )
    broker.add_argument("--json", action="store_true", help="announce readiness as one JSON line")
    broker.set_defaults(command=_broker)

    health = subcommand(
        commands, "health", "ask whether an endpoint takes calls", "cloud-bridge health http://127.0.0.1:8000"
    )
    health.add_argument("url", metavar="URL")
    health.add_argument("--timeout", type=seconds, default=3.0, metavar="TIME", help="wait so long (default: 3s)")
    health.add_argument("--json", action="store_true", help="print JSON")
    health.set_defaults(command=_health)


def _broker(arguments: argparse.Namespace) -> int:
    from cloud_bridge.broker import run

    return run(arguments.host, arguments.port, kind=arguments.kind, announce_json=arguments.json)


def _health(arguments: argparse.Namespace) -> int:
    from cloud_bridge.client import connect

    remote = connect(arguments.url)
    start = monotonic()
    try:
        healthy = remote.health(arguments.timeout)
    finally:
        remote.close()
    taken = monotonic() - start
    if arguments.json:
        print(json.dumps({"url": remote.name, "healthy": healthy, "seconds": taken}))
    else:
        print(f"{remote.name}: {'takes calls' if healthy else 'no answer'} ({taken * 1e3:.0f} ms)")
    return 0 if healthy else 5
