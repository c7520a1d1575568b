"""The device's side of the emulated link, a process in its own namespace: the real runtime, calls at their scheduled times.

`python -m benchmarks.link.edge ORDER.json`; what became of every call goes to the file that the order names.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import msgspec
import numpy as np

from edge_runtime.bench.loadgen import judged
from edge_runtime.bench.scenarios import Judged, Server
from edge_runtime.bundles.store import read_bundle
from edge_runtime.errors import BudgetError
from edge_runtime.routing.policy import Policy
from edge_runtime.runtime import Runtime
from edge_runtime.values import Result


class Order(msgspec.Struct, frozen=True):
    """What to do."""

    bundle: str
    url: str
    arrivals: tuple[float, ...]
    """Seconds from the start, increasing."""
    budget: float
    policy: Policy
    outcome: str
    log: str
    judge: float | None = None
    """Calls a second with which MLPerf LoadGen's Server scenario drives the runtime, in place of the arrivals."""


class Came(msgspec.Struct, frozen=True):
    """What became of one call."""

    at: float
    target: str
    elapsed: float
    """Seconds from the call to its answer, as its caller saw them."""
    met: bool
    reason: str


class Drive(msgspec.Struct, frozen=True):
    """All calls of one order."""

    calls: tuple[Came, ...]
    cpu: float
    """Seconds of processor time of the device's process."""
    jumped: float = 0.0
    """Seconds by which its wall clock was away from where it should have been, at most."""
    judged: Judged | None = None
    """What LoadGen says."""


def drive(order: Order) -> Drive:
    """Make the calls, each on a thread of its own, at its scheduled instant."""
    bundle = read_bundle(Path(order.bundle))
    spec = bundle.manifest.signature.inputs[0]
    inputs = {spec.name: np.random.default_rng(0).random(spec.sized({}), np.float32)}
    under_way: list[tuple[float, Future[Result]]] = []
    jumped = 0.0
    with Runtime(None, cloud=order.url, policy=order.policy, log=order.log) as runtime:
        model = runtime.open(bundle)
        runtime.remotes[0].health(10.0)
        if order.judge is not None:
            return _judged(order, lambda: model.infer(inputs, budget=order.budget), order.judge)
        start, began = time.monotonic() + 0.2, time.time() + 0.2
        print(began, flush=True)
        for at in order.arrivals:
            time.sleep(max(0.0, start + at - time.monotonic()))
            jumped = max(jumped, abs(time.time() - began - (time.monotonic() - start)))
            under_way.append((at, model.submit(inputs, budget=order.budget)))
        calls = tuple(_came(at, future, order.budget) for at, future in under_way)
    return Drive(calls, time.process_time(), jumped)


def _judged(order: Order, call: Callable[[], object], rate: float) -> Drive:
    """LoadGen's Server: Poisson arrivals, latency from the scheduled time, VALID if 99 % are within the budget."""
    scenario = Server(queries=len(order.arrivals), rate=rate, latency=order.budget, percentile=0.99)
    return Drive((), time.process_time(), judged=judged(call, scenario, workers=8))


def _came(at: float, future: Future[Result], budget: float) -> Came:
    try:
        result = future.result()
    except BudgetError as error:
        return Came(at, "none", budget, False, str(error))
    return Came(at, result.target if result.met else "none", result.elapsed, result.met, result.reason)


if __name__ == "__main__":
    wanted = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Order)
    Path(wanted.outcome).write_bytes(msgspec.json.encode(drive(wanted)))
