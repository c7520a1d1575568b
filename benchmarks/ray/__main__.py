"""The endpoint on Ray Serve, beside the endpoint in one process: MiniLM (int8) over HTTP, one client and sixteen,
in turns; and two nodes, of which one is killed in the middle of a load with a budget of a second for each call.

Clients, nodes and engines share this machine's processors: a second node adds no speed here, and takes none with it.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np

from benchmarks.convention import Bar, Options, Outcome, at_most, main
from benchmarks.endpoint.drill import served
from benchmarks.endpoint.load import closed
from benchmarks.endpoint.minilm import rows_of, sentences
from benchmarks.ray.drill import ANSWERED, REFUSED, Drill
from benchmarks.ray.nodes import Cluster, cluster
from cloud_bridge.protocol import oip
from edge_runtime.bundles.store import Store
from edge_runtime.remote import Call

CLIENTS = 16
DRILLED = 8
"""Clients of the drill."""

BUDGET = 1.0

ON_RAY = ("--engine", "ray", "--replicas", "2", "--ray-address")


class Turn(msgspec.Struct, frozen=True):
    """One turn's figures, of one of the two."""

    answer: float
    """Median seconds of an answer, one client."""
    many: float
    """Answers a second, sixteen clients."""


class Found(msgspec.Struct, frozen=True):
    """The raw values."""

    alone: tuple[Turn, ...]
    ray: tuple[Turn, ...]
    drill: Drill


def run(options: Options) -> Outcome:
    """All of it."""
    turns, seconds, before, after = (1, 0.5, 4.0, 12.0) if options.quick else (4, 4.0, 12.0, 25.0)
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "store", create=True)
        store.install(rows_of(options.store, Path(folder) / "minilm").folder)
        with cluster(2) as nodes, served(store.path, *ON_RAY, nodes.address) as (_, ray):
            with served(store.path) as (_, alone):
                found: list[tuple[Turn, Turn]] = []
                for number in range(turns):
                    options.progress(number, turns + 1)
                    found.append((_turn(alone, seconds), _turn(ray, seconds)))
            options.progress(turns, turns + 1)
            drill = _drill(ray, nodes, before, after)
    result = Found(tuple(one for one, _ in found), tuple(other for _, other in found), drill)
    return Outcome(_bars(drill), _rows(result), result)


def _turn(url: str, seconds: float) -> Turn:
    message = oip.encode_request(Call("minilm", sentences(1)))
    target = f"{url}/v2/models/minilm/infer"
    one = closed(target, message, clients=1, seconds=seconds)
    many = closed(target, message, clients=CLIENTS, seconds=seconds)
    return Turn(float(np.median(one.of(200))), many.rate())


def _drill(url: str, nodes: Cluster, before: float, after: float) -> Drill:
    message = oip.encode_request(Call("minilm", sentences(1)), budget=BUDGET)
    killer = threading.Timer(before, nodes.kill, (1,))
    began = time.perf_counter()
    killer.start()
    calls = closed(f"{url}/v2/models/minilm/infer", message, clients=DRILLED, seconds=before + after)
    started = time.perf_counter() - began - calls.wall  # the client's own start, before its first call
    killer.join()
    return Drill(calls, BUDGET, before - started)


def _bars(drill: Drill) -> list[Bar]:
    return [
        at_most("a node killed: calls neither answered nor refused in their budget", float(drill.wrong), "", 0.0),
        at_most("a node killed: throughput back after", drill.back, "s", 10.0),
    ]


def _rows(found: Found) -> list[str]:
    drill, at = found.drill, int(found.drill.killed)
    seconds = " ".join(map(str, drill.seconds[:at])), " ".join(map(str, drill.seconds[at:]))
    return [
        f"one process: one client {1e3 * _median(found.alone, lambda turn: turn.answer):.1f} ms, "
        f"sixteen {_median(found.alone, lambda turn: turn.many):.0f}/s",
        f"two replicas on Ray: one client {1e3 * _median(found.ray, lambda turn: turn.answer):.1f} ms, "
        f"sixteen {_median(found.ray, lambda turn: turn.many):.0f}/s",
        f"the drill: {drill.count(ANSWERED)} answered, {drill.count(REFUSED)} refused, {drill.wrong} neither; "
        f"{drill.before:.0f}/s before the kill",
        f"answers each second before the kill: {seconds[0]}; after it: {seconds[1]}",
    ]


def _median(turns: tuple[Turn, ...], figure: Callable[[Turn], float]) -> float:
    return float(np.median([figure(turn) for turn in turns]))


if __name__ == "__main__":
    main("ray", __doc__, run)
