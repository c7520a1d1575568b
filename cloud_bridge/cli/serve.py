"""`cloud-bridge serve`: the endpoint."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from cloud_bridge.extra import required
from edge_runtime.cli.shell import Commands, subcommand
from edge_runtime.errors import InputError

if TYPE_CHECKING:
    from cloud_bridge.endpoint.core import Core


def add(commands: Commands) -> None:
    """Add the subcommand."""
    serve = subcommand(
        commands, "serve", "serve the models of a store over HTTP, gRPC and MQTT",
        "cloud-bridge serve store --http :8000 --grpc :8001 --mqtt mqtt://127.0.0.1:1883\n"
        "  cloud-bridge serve store --http 0.0.0.0:8443 --tls cert.pem key.pem --keys keys.txt\n"
        "  cloud-bridge serve store --http :8000 --engine ray --ray-address 10.0.0.5:6379 --replicas 2:8",
    )  # fmt: skip
    serve.add_argument("store", type=Path, metavar="STORE")
    serve.add_argument(
        "--http", metavar="[HOST]:PORT", help="listen there; without a host, on 127.0.0.1; port 0 takes a free one"
    )
    serve.add_argument("--grpc", metavar="[HOST]:PORT", help="listen there for gRPC, in the same way")
    serve.add_argument("--keys", type=Path, metavar="FILE", help="keys of those who may ask over HTTP or gRPC, one a line")
    serve.add_argument(
        "--tls", type=Path, nargs=2, metavar=("CERT", "KEY"), help="serve HTTPS, and gRPC over TLS, with these PEM files"
    )
    serve.add_argument("--client-ca", type=Path, metavar="CA", help="clients need a certificate of this authority")
    serve.add_argument("--insecure", action="store_true", help="on a network, too, anybody may ask")
    serve.add_argument("--control", action="store_true", help="whoever may ask may also load and unload models")
    serve.add_argument("--trace", metavar="URL", help="send OpenTelemetry spans there (OTLP over HTTP): http://HOST:4318")
    serve.add_argument("--mqtt", metavar="URL", help="work for devices on this broker: mqtt://host:1883/ROOT")
    serve.add_argument(
        "--pool",
        metavar="NAME",
        help="who shares the requests over MQTT; where devices are strangers, a secret (default: workers)",
    )
    serve.add_argument(
        "--engine", choices=("local", "ray"), default="local", help="what runs the models: this process, or Ray Serve"
    )
    serve.add_argument("--ray-address", metavar="ADDRESS", help="join this Ray cluster; else one starts here")
    serve.add_argument("--replicas", metavar="N[:MOST]", help="so many, or that range, on Ray (default: 1)")
    serve.add_argument("--json", action="store_true", help="announce readiness as one JSON line")
    serve.set_defaults(command=_serve)


def _serve(arguments: argparse.Namespace) -> int:
    if arguments.http is None and arguments.grpc is None and arguments.mqtt is None:
        raise InputError("say where to serve: --http :8000, --grpc :8001, --mqtt mqtt://127.0.0.1:1883, or several of them")
    if arguments.pool is not None and arguments.mqtt is None:
        raise InputError("--pool is of those who work over MQTT: it needs --mqtt URL")
    if arguments.client_ca is not None and arguments.tls is None:
        raise InputError("--client-ca needs --tls CERT KEY")
    if arguments.engine != "ray" and (arguments.ray_address or arguments.replicas):
        raise InputError("--ray-address and --replicas need --engine ray")
    with required("cloud-bridge serve"):
        from cloud_bridge.endpoint.access import Access, Tls, read_keys
        from cloud_bridge.endpoint.mqtt import POOL
        from cloud_bridge.endpoint.serve import serve

        access = Access(
            () if arguments.keys is None else read_keys(arguments.keys),
            None if arguments.tls is None else Tls(arguments.tls[0], arguments.tls[1], arguments.client_ca),
            arguments.insecure,
        )
        core = _on_ray(arguments) if arguments.engine == "ray" else None
        return serve(
            arguments.store,
            http=arguments.http,
            grpc=arguments.grpc,
            mqtt=arguments.mqtt,
            pool=POOL if arguments.pool is None else arguments.pool,
            access=access,
            announce_json=arguments.json,
            control=arguments.control,
            trace=arguments.trace,
            core=core,
        )


def _on_ray(arguments: argparse.Namespace) -> Callable[[], AbstractContextManager[Core]]:
    if arguments.control or arguments.trace:
        raise InputError("--control and --trace are of an endpoint in one process: leave them out with --engine ray")
    from cloud_bridge.endpoint.ray import replicas
    from cloud_bridge.endpoint.scale import Range

    within = None if arguments.replicas is None else Range.parse(arguments.replicas)
    return partial(replicas, arguments.store, address=arguments.ray_address, within=within)
