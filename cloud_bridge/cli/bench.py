"""`cloud-bridge bench`: the way to an endpoint, measured."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from edge_runtime.cli.shell import Commands, progress_bar, subcommand, table
from edge_runtime.errors import InputError


def add(commands: Commands) -> None:
    """Add the subcommand."""
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
