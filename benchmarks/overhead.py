"""What `model.infer()` costs over the engine's own call, on the same loaded session, for the smallest models there can be.

The raw call is the fastest that the engine's public Python API has: ONNX Runtime's `run`; for OpenVINO and LiteRT copying
the input into the engine's tensor, running, and copying the output out, since an answer must outlive the next call. Both
are measured in turns, call by call; the difference is of the medians of each round.

Then the same for a model that may be asked of a cloud, whose endpoint cannot be reached: each call is planned, takes its
turn on the device and is learnt from. And `plan()` by itself, in a router that sends some calls and keeps others.
"""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import numpy as np

from benchmarks.convention import Options, Outcome, at_most, main
from benchmarks.routing.generate import link
from benchmarks.routing.world import FAST_LOCAL, Cell, build
from benchmarks.tiny import SHAPE, tiny_bundle
from edge_runtime import Runtime
from edge_runtime.backends import devices
from edge_runtime.bench.measure import called, measure
from edge_runtime.bench.statistics import paired_ratio
from edge_runtime.routing.policy import Plan, Request
from edge_runtime.routing.router import Router
from edge_runtime.routing.simulator import Simulator
from edge_runtime.values import Array

AIM, ROUTED_AIM, PLAN_AIM = 5.0, 10.0, 50.0
"""Microseconds."""


def run(options: Options) -> Outcome:
    """Measure each backend found here."""
    bars, rows, details = [], [], {}
    x = np.zeros(SHAPE, np.float32)
    found = [device for device in devices() if device.name == "CPU"]
    with tempfile.TemporaryDirectory() as folder:
        bundle = tiny_bundle(Path(folder) / "tiny")
        for number, device in enumerate(found):
            with Runtime(None, device=str(device)) as runtime:
                model = runtime.open(bundle)
                assert model.loaded is not None  # noqa: S101  (it has no partner)
                inputs = {"x": x}
                cases = [
                    called("raw", RAW[device.backend](model.loaded.session, x)),
                    called("session", partial(model.loaded.session.run, inputs)),
                    called("infer", partial(model.infer, inputs)),
                    called("infer with a budget", partial(model.infer, inputs, budget=1.0)),
                ]
                seconds = 1.0 if options.quick else 6.0
                samples = measure(cases, runs=10**6, seconds=seconds, progress=lambda *_: None)
            options.progress(number + 1, len(found))
            # A case that has its fill sits the last rounds out; those rounds compare nothing.
            whole = [i for i in range(len(samples[0].rounds)) if all(sample.rounds[i] for sample in samples)]
            medians = [[float(np.median(sample.rounds[i])) for i in whole] for sample in samples]
            over = [float(np.median(np.subtract(row, medians[0]))) / 1e3 for row in medians]
            ratio = paired_ratio(medians[3], medians[0])
            raw = float(np.median(medians[0])) / 1e3
            rows.append(
                f"{device.backend:9} raw {raw:6.2f} us   session.run +{over[1]:.2f}   infer +{over[2]:.2f}   "
                f"infer(budget) +{over[3]:.2f} us   ratio {ratio.value:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]"
            )
            bars.append(at_most(f"infer(budget) over raw {device.backend}", over[3], "us", AIM))
            details[device.backend] = {
                "engine": device.engine,
                "raw_us": raw,
                "over_us": over[1:],
                "round_medians_ns": medians,
            }
    routed, beyond = _routed(options.quick)
    planned = _planned(2_000 if options.quick else 50_000)
    p50, p99 = (float(np.quantile(planned, share)) / 1e3 for share in (0.5, 0.99))
    rows.append(f"routed, answered here: +{beyond:.2f} us over session.run   plan(): median {p50:.1f} us, p99 {p99:.1f} us")
    bars.append(at_most("a routed local answer over session.run", beyond, "us", ROUTED_AIM))
    bars.append(at_most("plan(), p99", p99, "us", PLAN_AIM))
    return Outcome(bars, rows, {**details, "routed": routed, "plan_ns": planned[:: max(1, len(planned) // 1000)]})


def _routed(quick: bool) -> tuple[dict[str, list[float]], float]:
    """Medians of rounds in nanoseconds, and the median of their differences in microseconds."""
    inputs = {"x": np.zeros(SHAPE, np.float32)}
    with tempfile.TemporaryDirectory() as folder, socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # taken, and nobody listens: every call there is refused
        bundle = tiny_bundle(Path(folder) / "tiny", partner="tiny")
        with Runtime(None, cloud=f"http://127.0.0.1:{held.getsockname()[1]}", device="onnx:CPU") as runtime:
            model = runtime.open(bundle)
            assert model.loaded is not None  # noqa: S101  (it has a variant)
            cases = [
                called("session", partial(model.loaded.session.run, inputs)),
                called("routed", partial(model.infer, inputs, budget=1.0)),
            ]
            samples = measure(cases, runs=10**6, seconds=1.0 if quick else 6.0, progress=lambda *_: None)
    rounds = min(len(sample.rounds) for sample in samples)
    medians = [[float(np.median(s.rounds[i])) for i in range(rounds) if s.rounds[i]] for s in samples]
    whole = min(map(len, medians))
    over = float(np.median(np.subtract(medians[1][:whole], medians[0][:whole]))) / 1e3
    return {"session_ns": medians[0], "routed_ns": medians[1]}, over


def _planned(calls: int) -> list[int]:
    """Nanoseconds of each `plan()`, over a link that is sometimes good enough."""
    trace = link("lte-drive", 0)
    world = build(Cell(trace.name, "poisson", 0.2, 150_000, FAST_LOCAL), trace, calls)
    router = Router()
    for event in world.known:
        router.know(event)
    took: list[int] = []
    plan = router.plan

    def timed(call: int, request: Request, now: float) -> Plan:
        start = perf_counter_ns()
        made = plan(call, request, now)
        took.append(perf_counter_ns() - start)
        return made

    router.plan = timed  # type: ignore[method-assign]
    Simulator(world, router).run()
    return took


def _raw_onnx(session: Any, x: Array) -> Callable[[], object]:
    engine = session._engine
    return lambda: engine.run(["y"], {"x": x})


def _raw_openvino(session: Any, x: Array) -> Callable[[], object]:
    request = session._program._places[0].request.own
    view, out = request.get_input_tensor(0).data, request.get_output_tensor(0).data

    def call() -> Array:
        np.copyto(view, x)
        request.infer(share_outputs=True)
        copied: Array = out.copy()
        return copied

    return call


def _raw_tflite(session: Any, x: Array) -> Callable[[], object]:
    interpreter = session._interpreter
    interpreter.allocate_tensors()
    source, sink = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]

    def call() -> object:
        interpreter.set_tensor(source, x)
        interpreter.invoke()
        return interpreter.get_tensor(sink)

    return call


RAW = {"onnx": _raw_onnx, "openvino": _raw_openvino, "tflite": _raw_tflite}

if __name__ == "__main__":
    main("overhead", __doc__, run)
