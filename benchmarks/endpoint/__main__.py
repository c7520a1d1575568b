"""What the endpoint makes of the engine that it runs: MiniLM (int8, 32 tokens) over HTTP, one client and sixteen, beside
the same engine alone; what a round trip takes; and three times more calls than it can answer, each with a budget of 200 ms.

The engine alone, and the endpoint with one client and with sixteen, take turns; the ratios are of each turn's figures.
Clients, endpoint and engine share this machine's processors.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import perf_counter

import msgspec
import numpy as np

from benchmarks.convention import Bar, Options, Outcome, at_least, at_most, main
from benchmarks.endpoint.alone import alone
from benchmarks.endpoint.drill import GRACE, Drilled, drill, served
from benchmarks.endpoint.load import closed, opened
from benchmarks.endpoint.minilm import rows_of, sentences
from benchmarks.tiny import SHAPE, tiny_bundle
from cloud_bridge.client import connect
from cloud_bridge.protocol import oip
from edge_runtime.bundles.store import Store
from edge_runtime.remote import Call

BATCHES = (1, 2, 4, 8, 16, 32)
CLIENTS = 16
BUDGET = 0.2


class Turn(msgspec.Struct, frozen=True):
    """One turn's figures: rows a second, and seconds."""

    alone: dict[int, float]
    """Rows of a run -> rows a second."""
    run: float
    """Median seconds of a run of one row."""
    one: float
    """Rows a second, one client."""
    answer: float
    """Median seconds of its answers."""
    many: float
    """Rows a second, sixteen clients."""

    @property
    def best(self) -> float:
        """Rows a second of the engine's best batch."""
        return max(self.alone.values())


class Overload(msgspec.Struct, frozen=True):
    """Three times more calls than can be answered."""

    offered: float
    """Calls a second."""
    capacity: float
    """Answers a second with sixteen clients and no budget."""
    within: float
    """Answers a second inside their budgets."""
    refused: tuple[float, ...]
    """Seconds that refusals took."""
    late: int
    """Answers that came after their budgets."""


class Found(msgspec.Struct, frozen=True):
    """The raw values."""

    turns: tuple[Turn, ...]
    round_trips: tuple[float, ...]
    overload: Overload
    drilled: Drilled


def run(options: Options) -> Outcome:
    """All of it, the parts that are compared in turns."""
    turns, seconds = (2, 1.0) if options.quick else (5, 4.0)
    with tempfile.TemporaryDirectory() as folder:
        where = Path(folder)
        bundle = rows_of(options.store, where / "minilm")
        store = Store(where / "store", create=True)
        store.install(bundle.folder)
        store.install(tiny_bundle(where / "tiny").folder)
        with served(store.path) as (_, url), alone(bundle.folder) as engine:
            found = []
            for number in range(turns):
                options.progress(number, turns + 3)
                found.append(_turn(url, engine, seconds))
            options.progress(turns, turns + 3)
            trips = _round_trips(url, 300 if options.quick else 3000)
            options.progress(turns + 1, turns + 3)
            overload = _overload(url, float(np.median([turn.many for turn in found])), 3 * seconds)
        options.progress(turns + 2, turns + 3)
        message = oip.encode_request(Call("minilm", sentences(1)))
        drilled = drill(store.path, "/v2/models/minilm/infer", message, CLIENTS, seconds)
    result = Found(tuple(found), tuple(trips), overload, drilled)
    return Outcome(_bars(result), _rows(result), result)


def _turn(url: str, engine: Callable[[int, float], tuple[float, float]], seconds: float) -> Turn:
    target = f"{url}/v2/models/minilm/infer"
    message = oip.encode_request(Call("minilm", sentences(1)))
    figures = {rows: engine(rows, seconds / len(BATCHES)) for rows in BATCHES}
    one = closed(target, message, clients=1, seconds=seconds)
    many = closed(target, message, clients=CLIENTS, seconds=seconds)
    rates = {rows: rate for rows, (rate, _) in figures.items()}
    return Turn(rates, figures[1][1], one.rate(), float(np.median(one.of(200))), many.rate())


def _round_trips(url: str, count: int) -> list[float]:
    """Of the smallest model, with our client."""
    remote = connect(url)
    call = Call("tiny", {"x": np.zeros(SHAPE, np.float32)})
    took = []
    for _ in range(count):
        start = perf_counter()
        remote.send(call, deadline=float("inf")).result(10.0)
        took.append(perf_counter() - start)
    remote.close()
    return took


def _overload(url: str, capacity: float, seconds: float) -> Overload:
    message = oip.encode_request(Call("minilm", sentences(1)), budget=BUDGET)
    offered = 3 * capacity
    found = opened(f"{url}/v2/models/minilm/infer", message, rate=offered, seconds=seconds)
    late = sum(t > BUDGET for t in found.of(200))
    return Overload(
        len(found.seconds) / found.wall, capacity, found.rate(BUDGET), tuple(found.of(429, 503, 504)), late
    )  # fmt: skip


def _bars(found: Found) -> list[Bar]:
    over, drilled = found.overload, found.drilled
    refused = 1e3 * float(np.quantile(over.refused, 0.99)) if over.refused else float("nan")
    return [
        at_least("sixteen clients over the engine's best batch", _median(t.many / t.best for t in found.turns), "x", 0.90),
        at_most("one client over a run of the engine", 1e3 * _median(t.answer - t.run for t in found.turns), "ms", 1.0),
        at_most("round trip of the smallest model", 1e3 * float(np.median(found.round_trips)), "ms", 0.4),
        at_least("overload: answers inside their budgets over capacity", over.within / over.capacity, "x", 0.9),
        at_most("overload: a refusal takes (p99)", refused, "ms", 10.0),
        at_most("overload: answers after their budgets", float(over.late), "", 0.0),
        at_most("SIGTERM under load: calls without an answer", float(drilled.unanswered), "", 0.0),
        at_most("SIGTERM under load: exit status", float(drilled.status), "", 0.0),
        at_most("SIGTERM under load: the end takes", drilled.ending, "s", GRACE),
        at_most("SIGKILL: from the start to the first answer", drilled.again, "s", 3.0),
    ]


def _rows(found: Found) -> list[str]:
    turns, over, drilled = found.turns, found.overload, found.drilled
    alone = ", ".join(f"{rows}: {_median(t.alone[rows] for t in turns):.0f}" for rows in BATCHES)
    return [
        f"the engine alone, rows a second by rows a run: {alone}",
        f"one client {_median(t.one for t in turns):.0f}/s, sixteen {_median(t.many for t in turns):.0f}/s",
        f"overload: {over.offered:.0f}/s offered, {over.within:.0f}/s inside their budgets, {len(over.refused)} refused",
        f"{drilled.answered} calls had an answer until the endpoint that was told to stop had ended",
    ]


def _median(values: Iterator[float] | Sequence[float]) -> float:
    return float(np.median(list(values)))


if __name__ == "__main__":
    main("endpoint", __doc__, run)
