"""`cloud-bridge`: the endpoint, the embedded broker, and a look at either, from a shell."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from cloud_bridge import cli_tune, cli_versions
from cloud_bridge.extra import required
from edge_runtime.cli.shell import command_parser, progress_bar, run_command, seconds, subcommand, table
from edge_runtime.errors import InputError

if TYPE_CHECKING:
    from cloud_bridge.endpoint.core import Core


def main(argv: Sequence[str] | None = None) -> int:
    """The command `cloud-bridge`."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s: %(message)s")
    return run_command(parser(), argv)


def parser() -> argparse.ArgumentParser:
    """What it takes."""
    made, commands = command_parser("cloud-bridge", "The cloud's side of the bridge, and what lies between.")
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
        "--engine", choices=("local", "ray"), default="local", help="what runs the models: this process, or Ray Serve"
    )
    serve.add_argument("--ray-address", metavar="ADDRESS", help="join this Ray cluster; else one starts here")
    serve.add_argument("--replicas", metavar="N[:MOST]", help="so many, or that range, on Ray (default: 1)")
    serve.add_argument("--json", action="store_true", help="announce readiness as one JSON line")
    serve.set_defaults(command=_serve)

    cli_versions.add(commands)
    cli_tune.add(commands)
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

    bench = subcommand(
        commands, "bench", "measure the way to an endpoint: what routing on this device starts from",
        "cloud-bridge bench http://cloud.example:8000 --store store\n"
        "  cloud-bridge bench mqtt://broker.example/site-7 --json",
    )  # fmt: skip
    bench.add_argument("url", metavar="URL")
    bench.add_argument("--rounds", type=int, default=20, metavar="N", help="probes of each size (default: %(default)s)")
    bench.add_argument(
        "--store",
        type=Path,
        metavar="DIR",
        help="time its models' partners, too, and keep what was found there for the runtimes of this device",
    )
    bench.add_argument("--json", action="store_true", help="print what was found, raw values and all, as JSON")
    bench.set_defaults(command=_bench)
    return made


def _serve(arguments: argparse.Namespace) -> int:
    if arguments.http is None and arguments.grpc is None and arguments.mqtt is None:
        raise InputError("say where to serve: --http :8000, --grpc :8001, --mqtt mqtt://127.0.0.1:1883, or several of them")
    if arguments.client_ca is not None and arguments.tls is None:
        raise InputError("--client-ca needs --tls CERT KEY")
    if arguments.engine != "ray" and (arguments.ray_address or arguments.replicas):
        raise InputError("--ray-address and --replicas need --engine ray")
    with required("cloud-bridge serve"):
        from cloud_bridge.endpoint.access import Access, Tls, read_keys
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


def _bench(arguments: argparse.Namespace) -> int:
    import msgspec

    from cloud_bridge.bench import measure, partners, work
    from cloud_bridge.client import connect
    from edge_runtime import links
    from edge_runtime.bundles.installed import Installed

    if arguments.rounds < 1:
        raise InputError("--rounds is one or more")
    path = None if arguments.store is None else arguments.store / links.LINKS
    known = links.Links() if path is None else links.load(path)  # what cannot be read is told before anything is measured
    calls = [] if arguments.store is None else partners(Installed(arguments.store))
    remote = connect(arguments.url)
    try:
        with progress_bar() as progress:
            found = measure(remote, arguments.rounds, progress)
            found = msgspec.structs.replace(found, worked=work(remote, calls, arguments.rounds, progress))
    finally:
        remote.close()
    if path is not None:
        links.save(known.updated(found), path)
    if arguments.json:
        print(msgspec.json.encode(found).decode())
        return 0
    timed = {f"{size / 1e3:g} kB": took for size, took in found.seconds.items()}
    timed |= {f"{model}, by itself": took for model, took in found.worked.items() if took}
    table(("SENT", "MEDIAN", "P95", "SLOWEST"), [(what, *_quantiles(took)) for what, took in timed.items()])
    for missing in sorted({call.model for call in calls} - found.worked.keys()):
        print(f"{missing}: not served there")
    print(f"{found.endpoint}: round trip {found.round_trip * 1e3:.1f} ms, {8e-6 / found.per_byte:.1f} Mbit/s")
    return 0


def _quantiles(seconds: Sequence[float]) -> Iterator[str]:
    ordered = sorted(seconds)
    for at in (len(ordered) // 2, min(len(ordered) - 1, int(0.95 * len(ordered))), -1):
        yield f"{ordered[at] * 1e3:.1f} ms"


if __name__ == "__main__":
    sys.exit(main())
