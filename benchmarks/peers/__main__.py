"""Our endpoint beside servers that are not ours: Triton (by pytriton), MLServer and Ray Serve, unmodified, each batching,
on the same engine with the same options and the same file: MiniLM (int8, 32 tokens), for one client and for sixteen.

All are started once, and their answers held against the engine's own. Then they take turns, in another order each round,
while the others are held still; the ratios are of each round's figures. The client is the same for all and takes little of
the processors, which it shares with the server. `make peers` makes the environments that the servers need.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec
import numpy as np

from benchmarks.convention import Bar, Options, Outcome, at_least, main
from benchmarks.endpoint.alone import alone
from benchmarks.endpoint.minilm import VARIANT, rows_of
from benchmarks.peers import answers
from benchmarks.peers.contenders import MLSERVER, OURS, RAY, TRITON, TUNED, Contender, entries
from benchmarks.peers.server import Server
from edge_runtime.bench.statistics import Ratio, paired_ratio
from edge_runtime.bundles.store import Store
from edge_runtime.errors import RefusedError, UnreachableError
from edge_runtime.host import cores_allowed

CLIENTS = 16
BATCHES = (1, 2, 4, 8, 16, 32)
AIMS = {TRITON: 1.35, MLSERVER: 1.6, RAY: 2.5}
"""Answers a second of our endpoint over theirs, sixteen clients."""


class Rate(msgspec.Struct, frozen=True):
    """Answers a second."""

    server: str
    way: str
    one: float
    """One client."""
    many: float
    """Sixteen."""
    work: float
    """Seconds of processor time that the server took for each answer to one of sixteen."""


class Round(msgspec.Struct, frozen=True):
    """What was found side by side."""

    alone: dict[int, float]
    """Rows of a run of the engine without a server -> rows a second."""
    rates: tuple[Rate, ...]


class Found(msgspec.Struct, frozen=True):
    """The raw values."""

    rounds: tuple[Round, ...]
    cosines: dict[str, dict[str, float]]
    """Server and way -> client -> the least cosine of an answer to the right one."""
    load: tuple[float, float, float]
    """The machine's load averages as it began."""


def run(options: Options) -> Outcome:
    """Start all, look at their answers, and let them take turns."""
    count, seconds = (2, 0.5) if options.quick else (9, 2.0)
    load, order = os.getloadavg(), np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        bundle = rows_of(options.store, folder / "minilm")
        store = Store(folder / "store", create=True)
        store.install(bundle.folder)
        file = bundle.artifact(bundle.manifest.variants[0])
        taking = entries(store.path, file, folder, options.own.get("tuned"))
        servers = [stack.enter_context(Server(entry.program, folder / f"{entry.name}.log")) for entry in taking]
        steps, rounds = len(taking) + count, []
        own, contenders, cosines = answers.by(bundle, VARIANT), [], {}
        for step, (entry, server) in enumerate(zip(taking, servers, strict=True)):
            options.progress(step, steps)
            right = answers.fp32(options.store) if entry.name == TUNED else own
            for way in entry.ways(server.ready()):
                contenders.append(Contender(entry.name, server, way))
                cosines[f"{entry.name} ({way.name})"] = answers.cosines(contenders[-1], right)
        engine = stack.enter_context(alone(bundle.folder))
        for step in range(count):
            options.progress(len(taking) + step, steps)
            rounds.append(_round([contenders[i] for i in order.permutation(len(contenders))], engine, seconds))
        for server in servers:
            server.stop()
    found = Found(tuple(rounds), cosines, load)
    return Outcome(bars(found), rows(found), found)


def _round(contenders: Sequence[Contender], engine: Callable[[int, float], tuple[float, float]], seconds: float) -> Round:
    best = {size: engine(size, seconds / len(BATCHES))[0] for size in BATCHES}
    return Round(best, tuple(_rate(contender, seconds) for contender in contenders))


def _rate(contender: Contender, seconds: float) -> Rate:
    name, way = contender.name, contender.way
    try:
        with contender.server.awake():
            before = contender.server.worked()
            many = way.load(CLIENTS, seconds)
            worked = contender.server.worked() - before
            one = way.load(1, seconds)
    except RuntimeError as error:
        raise UnreachableError(f"{name} ({way.name}) was asked for a while, and went away: {error}") from error
    if refused := set(many.statuses + one.statuses) - {200}:
        raise RefusedError(f"{name} ({way.name}) refused calls under load, with status {min(refused)}", status=min(refused))
    return Rate(name, way.name, one.rate(), many.rate(), worked / len(many.statuses))


def bars(found: Found) -> list[Bar]:
    """What is aimed at."""
    ours = _many(found, OURS)
    engine = [max(one.alone.values()) for one in found.rounds]
    held = [at_least("sixteen clients over the engine's best batch", paired_ratio(ours, engine).value, "x", 0.90)]
    held += [
        at_least(f"sixteen clients over {name}", paired_ratio(ours, _many(found, name)).value, "x", aim)
        for name, aim in AIMS.items()
    ]
    if tuned := _many(found, TUNED):
        held.append(at_least(f"tuned over {TRITON}", paired_ratio(tuned, _many(found, TRITON)).value, "x", 3.0))
    return held


def _many(found: Found, server: str) -> list[float]:
    """Answers a second of sixteen clients, each round, the way that is best for the server; [] if it takes no part."""
    ways = dict.fromkeys(rate.way for rate in found.rounds[0].rates if rate.server == server)
    return max((_of(found, server, way, "many") for way in ways), key=np.median, default=[])


def _of(found: Found, server: str, way: str, field: str) -> list[float]:
    return [getattr(r, field) for one in found.rounds for r in one.rates if (r.server, r.way) == (server, way)]


def rows(found: Found) -> list[str]:
    """What is printed: each server and way, and how near its answers were."""
    ours = _many(found, OURS)
    medians = {size: np.median([one.alone[size] for one in found.rounds]) for size in found.rounds[0].alone}
    engine = ", ".join(f"{size}: {median:.0f}" for size, median in medians.items())
    said = [
        f"load average as it began: {found.load[0]:.1f} on {cores_allowed()} processors",
        f"the engine alone, rows a second by rows a run: {engine}",
    ]
    for name, way in sorted({(rate.server, rate.way) for rate in found.rounds[0].rates}):
        one, many, work = (float(np.median(_of(found, name, way, field))) for field in ("one", "many", "work"))
        ratio = "" if name == OURS else f"; ours over it {_told(paired_ratio(ours, _of(found, name, way, 'many')))}"
        said.append(
            f"{name}, {way}: one client {one:.0f}/s, sixteen {many:.0f}/s at {1e3 * work:.1f} ms of processor time{ratio}"
        )
    for name, clients in found.cosines.items():
        said.append(f"{name} answers rightly: " + ", ".join(f"{client} {least:.4f}" for client, least in clients.items()))
    return said


def _told(ratio: Ratio) -> str:
    sure = "" if ratio.low is None else f" ({ratio.low:.2f} to {ratio.high:.2f})"
    return f"{ratio.value:.2f}x{sure}"


def _add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--tuned", type=Path, metavar="STORE",
        help="a store in which it was measured how minilm runs best: it is served too, held against fp32's embeddings",
    )  # fmt: skip


if __name__ == "__main__":
    main("peers", __doc__, run, add=_add)
