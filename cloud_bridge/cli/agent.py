"""`cloud-bridge agent`: the device's part of a fleet."""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path

from cloud_bridge.cli.options import add_broker
from cloud_bridge.extra import required
from edge_runtime.cli.shell import Commands, add_store, count, memory, seconds, subcommand, told_to_end


def add(commands: Commands) -> None:
    """Add the subcommand."""
    agent = subcommand(
        commands, "agent", "obey a fleet's commands on this device, until Ctrl-C or SIGTERM",
        "cloud-bridge agent --broker mqtts://broker.example --thing press-17 --keys operator.pub\n"
        "  cloud-bridge agent --broker 'mqtts://broker.example?ca=ca.pem&cert=cert.pem&key=key.pem' \\\n"
        "      --thing press-17 --group canary --keys keys/ --threshold 2 --store /var/lib/edge/store \\\n"
        "      --artifacts https://artifacts.example --root-metadata root.json",
    )  # fmt: skip
    add_broker(agent)
    agent.add_argument("--thing", required=True, metavar="NAME", help="this device's name: its client id on the broker")
    add_store(agent)
    agent.add_argument(
        "--keys", type=Path, required=True, action="append", metavar="PATH",
        help="a public key of who may command it, or a folder of them (*.pub); again for more",
    )  # fmt: skip
    agent.add_argument(
        "--threshold", type=count, default=1, metavar="N", help="so many of these have to sign a job (default: 1)"
    )
    agent.add_argument("--group", action="append", default=[], metavar="NAME", help="it is one of these; again for more")
    agent.add_argument("--artifacts", metavar="URL", help="where bundles come from: a repository on a static server")
    agent.add_argument("--root-metadata", type=Path, metavar="FILE", help="the repository's root.json: whom it trusts")
    agent.add_argument("--aws", action="store_true", help="jobs and shadows below $aws/things, as AWS IoT Core has them")
    agent.add_argument("--log", type=Path, metavar="FILE", help="the decision log that the application's runtime writes")
    agent.add_argument("--device", metavar="NAME", help="the engine, or engine and device, that models are held to")
    agent.add_argument(
        "--telemetry",
        type=seconds,
        default=60.0,
        metavar="TIME",
        help="tell figures each so long (default: 60s)",
    )
    agent.add_argument(
        "--keep", type=count, default=1, metavar="N",
        help="versions of a model that stay beside the active one after a deploy (default: 1, the one before)",
    )  # fmt: skip
    agent.add_argument(
        "--fetch-limit", type=seconds, default=6 * 3600.0, metavar="TIME",
        help="give up a bundle that is not there after so long (default: 21600s); the next try goes on from there",
    )  # fmt: skip
    agent.add_argument(
        "--fetch-rate", type=memory, metavar="SIZE", help="so much of a bundle in a second, at most: 200kB (default: all)"
    )
    agent.add_argument("--spare", type=memory, metavar="SIZE", help="of the disk, stays free (default: 64 MiB)")
    agent.add_argument("--state", type=Path, metavar="DIR", help="where its journal lies (default: STORE/.agent)")
    agent.add_argument("--json", action="store_true", help="announce readiness as one JSON line")
    agent.set_defaults(command=_agent)


def _agent(arguments: argparse.Namespace) -> int:
    logging.getLogger("cloud_bridge.agent").setLevel(logging.INFO)
    with required("an agent"):
        from cloud_bridge.agent.agent import Agent  # here: only this command needs what it needs

        agent = Agent(
            arguments.broker, store=arguments.store, thing=arguments.thing, keys=arguments.keys,
            threshold=arguments.threshold, groups=arguments.group, artifacts=arguments.artifacts,
            root_metadata=arguments.root_metadata, aws=arguments.aws, log=arguments.log, device=arguments.device,
            state=arguments.state, telemetry=arguments.telemetry, keep=arguments.keep, fetch_limit=arguments.fetch_limit,
            fetch_rate=arguments.fetch_rate, spare=arguments.spare,
        )  # fmt: skip
    ended = told_to_end()
    with agent:
        ready = {"ready": True, "thing": agent.thing, "session": agent.session}
        print(json.dumps(ready) if arguments.json else f"{agent.thing} obeys; Ctrl-C ends it", flush=True)
        ended.wait()
    return 0
