"""The real runtime, endpoint and broker over a link made from recordings, HTTP and MQTT, beside the simulator.

As root, device and cloud are in network namespaces of their own, with two TUN devices between them: the kernel's TCP, with
its slow start and its losses, runs over the recorded rates and round trips. Otherwise, or with --proxy, a proxy on loopback
lets the bytes through at that pace. Each link is driven over both transports; MLPerf LoadGen's Server scenario judges the
budgets on the one that both answer most evenly; then what can break is broken. It takes 20 s a link, and 5 minutes.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.convention import Bar, Options, Outcome, at_least, at_most, main
from benchmarks.link.cloud import Cloud
from benchmarks.link.drill import Trouble, drill
from benchmarks.link.emulator import emulated, lacking
from benchmarks.link.ends import TRANSPORTS, Between
from benchmarks.link.found import Found, Row, Shares, Verdict
from benchmarks.link.nets import bundle, timed
from benchmarks.link.page import render
from benchmarks.link.proxy import proxied
from benchmarks.link.stage import Stage
from benchmarks.routing.cells import router
from benchmarks.routing.generate import links_of
from benchmarks.routing.links import LinkTrace
from benchmarks.routing.world import FAST_LOCAL, Cell, build
from edge_runtime.bundles.store import Store
from edge_runtime.routing.policy import Policy
from edge_runtime.routing.simulator import Simulator
from edge_runtime.routing.world import World

BUDGET, SIZE = 0.2, 150_000
QUERIES, RATE = 700, 10.0
"""Of LoadGen: its early stopping wants 662 for a 99th percentile."""

POLICY = Policy(local_worth=0.70, cloud_worth=0.80)


def run(options: Options) -> Outcome:
    """Every link over both transports, the judge, the troubles."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that links and processes go with it
    between, how = _between(options.own["proxy"])
    links = links_of(options.own["trace_dir"])[: 1 if options.quick else None]
    calls = 60 if options.quick else options.own["calls"]
    rows: list[Row] = []
    verdicts: list[Verdict] = []
    troubles: list[Trouble] = []
    with tempfile.TemporaryDirectory() as folder:
        stage = _stage(Path(folder), between)
        pairs = [(link, transport) for link in links for transport in TRANSPORTS]
        for number, (link, transport) in enumerate(pairs):
            options.progress(number, len(pairs))
            rows.append(_row(stage, link, transport, calls))
            print(rows[-1], flush=True)
        if not options.quick:
            mixed = min(rows, key=lambda row: abs(row.measured.cloud - 0.5)).link  # on which both have to answer
            for transport in TRANSPORTS:
                verdicts.append(_judge(stage, next(link for link in links if link.name == mixed), transport))
                print(verdicts[-1], flush=True)
            for trouble in drill(stage):
                troubles.append(trouble)
                print(trouble, flush=True)
    found = Found(how, calls, BUDGET, SIZE, tuple(rows), tuple(verdicts), tuple(troubles))
    bars = _bars(found)
    if (html := options.own["html"]) is not None:
        html.parent.mkdir(parents=True, exist_ok=True)
        html.write_text(render(found, bars, {link.name: link for link in links}))
    return Outcome(bars, [], found)


def _between(proxy: bool) -> tuple[Between, str]:
    """How the link is made, and that in words."""
    if proxy:
        return proxied, "a proxy on loopback that lets the bytes through at the recorded pace"
    if why := lacking():
        print(f"no link between network namespaces can be made here ({why}): a proxy on loopback takes its place")
        return _between(proxy=True)
    return emulated, "two network namespaces with a TUN device each, and the kernel's TCP between them"


def _stage(folder: Path, between: Between) -> Stage:
    device = timed(folder / "nets", "worker", SIZE, FAST_LOCAL)
    store = Store(folder / "store", create=True)
    # The cloud is another machine: its runs must not take the time of the device's.
    store.install(bundle(folder / "cloud", "worker", SIZE, rounds=1).folder)
    return Stage(between, folder, store.path, device.folder, POLICY)


def _row(stage: Stage, link: LinkTrace, transport: str, calls: int) -> Row:
    cell = Cell(link.name, "poisson", BUDGET, SIZE, FAST_LOCAL)
    world = build(cell, link, calls)
    offset = world.links["cloud"].offset
    with stage.between(link, offset, stage.where) as ends, Cloud(ends, stage.store, transport) as cloud:
        drive = stage.drive(ends, cloud.url, world.arrivals, BUDGET)
    measured = _shares([call.target for call in drive.calls], ends.carried.up)
    return Row(link.name, offset, transport, measured, _simulated(world), drive)


def _simulated(world: World) -> Shares:
    """What the simulator makes of the same calls."""
    found = Simulator(world, router(world, POLICY)).run()
    sent = sum(outcome.sent for outcome in found.outcomes) + found.probed
    return _shares([outcome.target for outcome in found.outcomes], sent)


def _shares(targets: Sequence[str], sent: float) -> Shares:
    """`targets` tells who answered each call in time, "none" where nobody did; `sent` bytes went."""
    calls = len(targets)
    return Shares(1.0 - targets.count("none") / calls, targets.count("cloud") / calls, sent / (calls * SIZE))


def _judge(stage: Stage, link: LinkTrace, transport: str) -> Verdict:
    """MLPerf LoadGen decides when to call, and whether answers came in time."""
    with stage.between(link, 0.0, stage.where) as ends, Cloud(ends, stage.store, transport) as cloud:
        drive = stage.drive(ends, cloud.url, (0.0,) * QUERIES, BUDGET, judge=RATE)
    assert drive.judged is not None  # noqa: S101  (it was asked for)
    return Verdict(link.name, transport, drive.judged)


def _bars(found: Found) -> list[Bar]:
    away = max(abs(row.measured.met - row.simulated.met) for row in found.rows)
    bars = [
        at_least("budgets met, worst link and transport", 100 * min(row.measured.met for row in found.rows), "%", 99),
        at_most("hit rate away from the simulator's, the most", 100 * away, "points", 1),
    ]
    if found.verdicts:
        valid = sum(verdict.judged.valid for verdict in found.verdicts)
        bars.append(at_least("runs that MLPerf LoadGen calls VALID", valid, "", len(found.verdicts)))
    if found.troubles:
        met = min(trouble.met for trouble in found.troubles)
        bars.append(at_least("budgets met while the worst trouble comes and goes", 100 * met, "%", 100))
        back = max(float("inf") if t.back is None else t.back for t in found.troubles if t.ends)
        bars.append(at_most("from the end of the trouble to the cloud's next answer, the longest", back, "s", 2))
    return bars


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--trace-dir", type=Path, metavar="DIR", help="recorded links (default: made up from a seed)")
    parser.add_argument("--calls", type=int, default=100, metavar="N", help="over each link (default: %(default)s)")
    parser.add_argument("--proxy", action="store_true", help="a proxy on loopback, also where a better link could be made")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write the report as a page")


if __name__ == "__main__":
    main("link", __doc__, run, add=_options)
