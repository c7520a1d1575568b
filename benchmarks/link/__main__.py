"""The real runtime, endpoint and broker over an emulated link that replays recordings, HTTP and MQTT, beside the simulator.

Device and cloud are in network namespaces of their own, with two TUN devices between them (root is needed): the kernel's
TCP, with its slow start and its losses, runs over the recorded rates and round trips.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np

from benchmarks.convention import Bar, Options, Outcome, at_least, at_most, main
from benchmarks.link.cloud import Cloud
from benchmarks.link.drill import Trouble, drill
from benchmarks.link.edge import Drive, Order
from benchmarks.link.emulator import emulated, inside, lacking
from benchmarks.link.nets import bundle, timed
from benchmarks.routing.generate import generated
from benchmarks.routing.links import LinkTrace, read
from benchmarks.routing.world import FAST_LOCAL, Cell, build
from edge_runtime.bench.scenarios import Judged
from edge_runtime.bundles.store import Store
from edge_runtime.errors import InputError
from edge_runtime.routing.events import Ruled
from edge_runtime.routing.policy import Policy
from edge_runtime.routing.router import Router
from edge_runtime.routing.simulator import Simulator

BUDGET, SIZE = 0.2, 150_000
TRANSPORTS = ("http", "mqtt")
QUERIES, RATE = 700, 10.0
"""Of LoadGen: its early stopping wants 662 for a 99th percentile."""

POLICY = Policy(local_worth=0.70, cloud_worth=0.80)


class Row(msgspec.Struct, frozen=True):
    """One link over one transport: shares of the calls."""

    link: str
    transport: str
    calls: int
    met: float
    cloud: float
    simulated: float
    """In time, by the simulator in the same cell."""
    simulated_cloud: float
    slowest: float
    drive: Drive


class Found(msgspec.Struct, frozen=True):
    """The raw values."""

    rows: tuple[Row, ...]
    troubles: tuple[Trouble, ...]
    judged: dict[str, Judged]
    """By transport, what MLPerf LoadGen says."""


def run(options: Options) -> Outcome:
    """Every link over both transports."""
    if (why := lacking()) is not None and why:
        raise InputError(f"no link can be emulated here: {why}")
    folder = options.own["trace_dir"]
    links = generated() if folder is None else read(folder)
    calls = 60 if options.quick else options.own["calls"]
    if options.quick:
        links = links[:1]
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as where:
        made = timed(Path(where) / "nets", "worker", SIZE, FAST_LOCAL)
        store = Store(Path(where) / "store", create=True)
        # The cloud is another machine: its runs must not take the time of the device's.
        store.install(bundle(Path(where) / "cloud", "worker", SIZE, rounds=1).folder)
        for number, (link, transport) in enumerate((link, t) for link in links for t in TRANSPORTS):
            options.progress(number, 2 * len(links))
            rows.append(_row(link, transport, Path(where), store.path, made.folder, calls))
            print(_told(rows[-1]), flush=True)
        judges = (
            {} if options.quick else {t: _judge(links[-1], t, Path(where), store.path, made.folder) for t in TRANSPORTS}
        )
        for transport, verdict in judges.items():
            told = "VALID" if verdict.valid else f"INVALID: {' '.join(verdict.reasons)}"
            print(
                f"MLPerf LoadGen, Server, {links[-1].name}, {transport}: p99 {verdict.figure * 1e3:.0f} ms, {told}",
                flush=True,
            )
        troubles: list[Trouble] = []
        for trouble in () if options.quick else drill(store.path, made.folder, Path(where), POLICY, 0.5):
            troubles.append(trouble)
            print(_troubled(trouble), flush=True)
    return Outcome(_bars(rows, troubles, judges), [], Found(tuple(rows), tuple(troubles), judges))


def _row(link: LinkTrace, transport: str, where: Path, store: Path, bundle: Path, calls: int) -> Row:
    cell = Cell(link.name, "poisson", BUDGET, SIZE, FAST_LOCAL)
    world = build(cell, link, calls)
    outcome, log = where / "outcome.json", where / "decisions.jsonl"
    log.unlink(missing_ok=True)
    offset = world.links["cloud"].offset
    with emulated(link, offset, where) as (edge, cloud), Cloud(cloud, store, transport) as there:
        order = Order(str(bundle), there.url, world.arrivals, BUDGET, POLICY, str(outcome), str(log))
        (where / "order.json").write_bytes(msgspec.json.encode(order))
        _finish(inside(edge, sys.executable, "-m", "benchmarks.link.edge", str(where / "order.json")))
    drive = msgspec.json.decode(outcome.read_bytes(), type=Drive)
    router = Router()
    router.know(Ruled(0.0, POLICY))
    for event in world.known:
        router.know(event)
    simulated = Simulator(world, router).run().outcomes
    return Row(
        link.name, transport, calls, _share(c.met for c in drive.calls), _share(c.target == "cloud" for c in drive.calls),
        _share(o.target != "none" for o in simulated), _share(o.target == "cloud" for o in simulated),
        max(c.elapsed for c in drive.calls), drive,
    )  # fmt: skip


def _judge(link: LinkTrace, transport: str, where: Path, store: Path, bundle: Path) -> Judged:
    outcome = where / "outcome.json"
    with emulated(link, 0.0, where) as (edge, cloud), Cloud(cloud, store, transport) as there:
        log = str(where / "judge.jsonl")
        order = Order(str(bundle), there.url, (0.0,) * QUERIES, BUDGET, POLICY, str(outcome), log, judge=RATE)
        (where / "order.json").write_bytes(msgspec.json.encode(order))
        _finish(inside(edge, sys.executable, "-m", "benchmarks.link.edge", str(where / "order.json")))
    judged = msgspec.json.decode(outcome.read_bytes(), type=Drive).judged
    assert judged is not None  # noqa: S101  (it was asked for)
    return judged


def _finish(process: subprocess.Popen[str]) -> None:
    process.communicate()
    if process.returncode:
        raise OSError(f"the device's process ended with status {process.returncode}")


def _share(flags: Iterator[bool]) -> float:
    return float(np.mean(list(flags)))


def _told(row: Row) -> str:
    return (
        f"{row.link:45} {row.transport}  met {row.met:7.2%} (simulated {row.simulated:7.2%})  cloud {row.cloud:6.1%} "
        f"(simulated {row.simulated_cloud:6.1%})  slowest {row.slowest * 1e3:.0f} ms"
    )


def _troubled(trouble: Trouble) -> str:
    back = "never" if trouble.back is None else f"{trouble.back:.2f} s after"
    told = f"{trouble.name:20} {trouble.transport}  met {trouble.met:7.2%}  {trouble.local} answered here"
    return f"{told}  the cloud is back {back}"


def _bars(rows: Sequence[Row], troubles: Sequence[Trouble], judges: dict[str, Judged]) -> list[Bar]:
    away = max((abs(row.met - row.simulated) for row in rows), default=float("nan"))
    bars = [
        at_least("budgets met, worst link and transport", 100 * min(row.met for row in rows), "%", 99),
        at_most("hit rate away from the simulator's, the most", 100 * away, "points", 1),
    ]
    if judges:
        bars.append(
            at_least("runs that MLPerf LoadGen calls VALID", sum(j.valid for j in judges.values()), "", len(judges))
        )
    if troubles:
        back = [float("inf") if t.back is None else t.back for t in troubles if t.name != "name look-up hangs"]
        bars += [
            at_least("budgets met while the worst trouble comes and goes", 100 * min(t.met for t in troubles), "%", 100),
            at_most("from the end of the trouble to the cloud's next answer, the longest", max(back), "s", 2),
        ]
    return bars


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--trace-dir", type=Path, metavar="DIR", help="recorded links (default: made up from a seed)")
    parser.add_argument("--calls", type=int, default=300, metavar="N", help="over each link (default: %(default)s)")


if __name__ == "__main__":
    main("link", __doc__, run, add=_options)
