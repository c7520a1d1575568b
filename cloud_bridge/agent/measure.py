"""What an agent has measured: whether a version gives the right outputs in time, benchmarks, tournaments. It imports
engines and is run in a process of its own: see `child`.
"""

from __future__ import annotations

import zlib
from contextlib import closing
from pathlib import Path

import msgspec
import numpy as np

from cloud_bridge.agent.work import LONGEST_BODY, Done
from cloud_bridge.protocol.fleet.commands import Activate, Benchmark, Deploy, Tune
from edge_runtime import backends
from edge_runtime.backends.base import Session
from edge_runtime.bench import report
from edge_runtime.bench.harness import bench, inputs_of
from edge_runtime.bench.measure import timed
from edge_runtime.bench.process import Limits
from edge_runtime.bundles import golden
from edge_runtime.bundles.bundle import Bundle
from edge_runtime.bundles.installed import Installed
from edge_runtime.engines import in_order, open_best
from edge_runtime.errors import InputError, RunError
from edge_runtime.objective import Objective
from edge_runtime.profile import CACHE, PROFILE, Tuned, distribution, load, save
from edge_runtime.tuning import compiled
from edge_runtime.tuning.meters import meter
from edge_runtime.tuning.tournament import tune as hold

DETAILS = 16
"""Details of a result, at most: what does not fit is in its body."""

RUNS, SECONDS = 300, 5.0
"""Of the latency that is held against a budget, whichever is reached first."""


def check(store: Installed, work: Activate | Deploy, device: str | None) -> Done:
    """Open the version as the runtime will, hold it against its golden outputs, then its latency against the budget. Raises
    RunError where it is over its tolerance or its budget, and as `open_best`."""
    bundle = store.bundle(work.model, work.version)
    loaded = open_best(bundle, load(store.path / PROFILE), device=device, caches=store.path / CACHE)
    with closing(loaded.session) as session:
        found = {"engine": str(loaded.candidate), **_compared(bundle, session, loaded.candidate.variant.tolerance)}
        if work.health.p99 is not None:
            found["p99"] = f"{_in_time(bundle, session, work.health.p99) * 1e3:.3g} ms"
    return Done(found)


def benchmark(store: Installed, work: Benchmark, device: str | None) -> Done:
    """The report of a benchmark of the active versions, on the device that is asked for."""
    bundles = [store.bundle(name) for name in work.models]
    chosen = [found for found in backends.devices() if found.fits(work.device or device)]
    command = f"edge-runtime bench {' '.join(work.models)}"
    found = bench(bundles, devices=chosen, runs=work.runs, seconds=work.seconds, command=command)
    failed = sum(entry.error is not None for entry in found.entries)
    return Done({"measured": str(len(found.entries) - failed), "failed": str(failed)}, _body(report.encode(found)))


def tune(store: Installed, work: Tune, device: str | None) -> Done:
    """A tournament for the active version of each model, the outcomes for the runtime to use."""
    found = [
        _hold(store, store.bundle(name), work.objective, work.device or device, Limits(start=work.timeout))
        for name in work.models
    ]
    won = {tuned.model: f"{tuned.winner.name}, p95 {tuned.winner.at(0.95) * 1e3:.3g} ms" for tuned in found[:DETAILS]}
    return Done(won, _body(msgspec.json.encode(found)))


def tune_deployed(store: Installed, work: Deploy, device: str | None) -> Done:
    """A tournament for a version that is being deployed, for what the model was tuned for before."""
    choice = load(store.path / PROFILE).choice(work.model, work.version)
    objective = Objective() if choice is None else choice.objective
    return Done({"tuned": _hold(store, store.bundle(work.model, work.version), objective, device, Limits()).winner.name})


def _hold(store: Installed, bundle: Bundle, objective: Objective, device: str | None, limits: Limits) -> Tuned:
    path, manifest = store.path / PROFILE, bundle.manifest
    devices = [found for found in backends.devices() if found.fits(device)]
    tuned = hold(bundle, objective=objective, devices=devices, limits=limits, meter=meter(objective))
    profile = load(path).updated(tuned=(tuned,))
    save(profile, path)
    winner = next(iter(in_order(manifest, profile, device))).candidate
    compiled.keep(bundle, winner, tuned.winner.key, path.parent / CACHE, limits)
    compiled.prune(path.parent / CACHE, profile.keys())
    return tuned


def _compared(bundle: Bundle, session: Session, tolerance: float | None) -> dict[str, str]:
    """How far it is from its golden outputs. Without any: whether it runs, and gives numbers."""
    signature = bundle.manifest.signature
    run = session.stream().run if signature.hidden_state else session.run
    if bundle.manifest.golden is not None:
        return {"distance": f"{golden.check(run, *golden.load(bundle), tolerance):.2g}"}
    outputs = run({**inputs_of(bundle, 0), **signature.zeros(bundle.manifest.sizes)})
    if not all(np.isfinite(array).all() for array in outputs.values() if array.dtype.kind == "f"):
        raise RunError("its outputs are no numbers")
    return {}


def _in_time(bundle: Bundle, session: Session, budget: float) -> float:
    """The 99th percentile of its latency in seconds. Raises RunError where that is over the budget."""
    inputs = inputs_of(bundle, 0)
    run = session.stream().run if bundle.manifest.signature.recurrent else session.run
    timed(lambda: run(inputs), 3, 0.2)
    taken = timed(lambda: run(inputs), RUNS, SECONDS).times
    p99 = distribution([each * 1e-9 for each in taken])[99]
    if p99 > budget:
        raise RunError(f"99 % of its runs take up to {p99 * 1e3:.3g} ms here; its budget is {budget * 1e3:.3g} ms")
    return p99


def _body(data: bytes) -> bytes:
    packed = zlib.compress(data, 9)
    if len(packed) > LONGEST_BODY:
        raise InputError(
            f"the result has {len(packed)} bytes compressed, and {LONGEST_BODY} travel: ask for fewer models or runs"
        )
    return packed


def run(folder: Path, work: Activate | Deploy | Benchmark | Tune, step: str, device: str | None) -> Done:
    """One of these, by the name of its step."""
    store = Installed(folder)
    if step == "check" and isinstance(work, Activate | Deploy):
        return check(store, work, device)
    if step == "benchmark" and isinstance(work, Benchmark):
        return benchmark(store, work, device)
    if step == "tune" and isinstance(work, Tune):
        return tune(store, work, device)
    if step == "tune" and isinstance(work, Deploy):
        return tune_deployed(store, work, device)
    raise InputError(f"{step} of {type(work).__name__} is nothing that is measured")
