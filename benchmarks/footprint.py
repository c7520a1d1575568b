"""What the runtime costs a process before it does anything: import time, resident memory, and the first inference.

Each figure is of a fresh process, and the processes take turns: numpy alone, numpy and edge_runtime, and for each engine
the first inference of basic-pitch through the engine's own API and through the runtime. The time of a first inference runs
from opening the model to having the answer, the engine's import included in both; importing Runtime is the other
figure. Memory is the resident set when the answer is there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np

from benchmarks.convention import Bar, Options, Outcome, at_most, main
from edge_runtime import backends
from edge_runtime.bench.statistics import paired_ratio
from edge_runtime.bundles.store import Store

MODEL = "basic_pitch"

START = """
import json, sys, time
import numpy as np
def resident():
    pages = int(open("/proc/self/statm").read().split()[1])
    return pages * 4096
started = time.perf_counter()
"""
DONE = """
print(json.dumps({"seconds": time.perf_counter() - started, "memory": resident()}))
"""
IMPORTS = {"numpy": "", "edge_runtime": "from edge_runtime import Runtime"}  # the names alone load nothing

RAW = {
    "onnx": """
import onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
session.run(None, {session.get_inputs()[0].name: np.zeros((1, 43844, 1), np.float32)})
""",
    "openvino": """
import openvino
compiled = openvino.Core().compile_model(sys.argv[1], "CPU", {"PERFORMANCE_HINT": "LATENCY"})
compiled(np.zeros((1, 43844, 1), np.float32))
""",
    "tflite": """
from ai_edge_litert.interpreter import Interpreter
interpreter = Interpreter(sys.argv[1])
interpreter.allocate_tensors()
interpreter.set_tensor(interpreter.get_input_details()[0]["index"], np.zeros((1, 43844, 1), np.float32))
interpreter.invoke()
[interpreter.get_tensor(output["index"]) for output in interpreter.get_output_details()]
""",
}
RUNTIME = """
from edge_runtime import Profile, Runtime
started = time.perf_counter()
runtime = Runtime(sys.argv[2], profile=Profile(), device=sys.argv[3])
model = runtime.model(sys.argv[4])
model.infer({"audio": np.zeros((1, 43844, 1), np.float32)})
"""


def run(options: Options) -> Outcome:
    """Measure, print, and hold against the aims."""
    repeats = 7 if options.quick else 25
    bundle = Store(options.store).bundle(MODEL)
    scripts: dict[str, list[str]] = {name: [START + text + DONE] for name, text in IMPORTS.items()}
    for device in backends.devices():
        if device.name == "CPU":
            format_ = "tflite" if device.backend == "tflite" else "onnx"
            variant = next(v for v in bundle.manifest.variants if v.format == format_ and v.precision == "fp32")
            arguments = [str(bundle.artifact(variant)), str(options.store), device.backend, MODEL]
            scripts[f"raw {device.backend}"] = [START + RAW[device.backend] + DONE, *arguments]
            scripts[f"runtime {device.backend}"] = [START + RUNTIME + DONE, *arguments]
    # As installed: a package that pip has put there has its bytecode beside it.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    seen: dict[str, list[dict[str, float]]] = {name: [] for name in scripts}
    for done in range(repeats + 1):  # the first round only warms the page cache, and writes the bytecode
        for name, command in scripts.items():
            started = [sys.executable, "-c", *command]
            printed = subprocess.run(started, check=True, capture_output=True, env=environment).stdout  # noqa: S603
            if done:
                seen[name].append(json.loads(printed))
        options.progress(done + 1, repeats + 1)
    return _outcome(seen)


def _outcome(seen: dict[str, list[dict[str, float]]]) -> Outcome:
    """The figures as lines, and the aims."""
    lines = [f"{'process':20} {'seconds':>9} {'memory MiB':>11}"]
    for name, runs in seen.items():
        seconds, memory = _medians(runs)
        lines.append(f"{name:20} {seconds:9.4f} {memory / 2**20:11.1f}")
    imported = _medians(seen["edge_runtime"])[0] - _medians(seen["numpy"])[0]
    bars: list[Bar] = [at_most("import of Runtime over numpy's", imported * 1e3, "ms", 30.0)]
    for name in seen:
        if name.startswith("runtime "):
            engine = name.removeprefix("runtime ")
            for what, unit in (("seconds", "time"), ("memory", "memory")):
                ratio = paired_ratio([run[what] for run in seen[name]], [run[what] for run in seen[f"raw {engine}"]])
                lines.append(
                    f"first inference over raw {engine}, {unit}: {ratio.value:.3f}x [{ratio.low:.3f}, {ratio.high:.3f}]"
                )
                bars.append(at_most(f"first inference over raw {engine}, {unit}", ratio.value, "x", 1.05))
    return Outcome(bars, lines, seen)


def _medians(runs: list[dict[str, float]]) -> tuple[float, float]:
    return float(np.median([run["seconds"] for run in runs])), float(np.median([run["memory"] for run in runs]))


if __name__ == "__main__":
    main("footprint", __doc__, run)
