"""`edge-runtime devices` and `run`."""

from __future__ import annotations

import argparse
import json
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edge_runtime import backends
from edge_runtime.bundles.store import Bundle
from edge_runtime.cli.shell import Commands, add_store, resolve, seconds, subcommand, table
from edge_runtime.errors import InputError
from edge_runtime.runtime import Runtime
from edge_runtime.tuning.profile import PROFILE, load
from edge_runtime.values import Array, Result


def add(commands: Commands) -> None:
    """Add these subcommands."""
    devices = subcommand(commands, "devices", "list the engines and devices found here", "edge-runtime devices --json")
    devices.add_argument("--json", action="store_true", help="print JSON")
    devices.set_defaults(command=_devices)

    run = subcommand(
        commands, "run", "answer one call",
        "edge-runtime run ppocr_rec --input image=line.npy --budget 500ms --cloud http://127.0.0.1:8000",
    )  # fmt: skip
    run.add_argument("bundle", metavar="BUNDLE", help="NAME or NAME@VERSION in the store, or a bundle's folder")
    run.add_argument(
        "--input", action="append", default=[], metavar="NAME=FILE.npy|FILE.npz", help="an input; repeat for more"
    )
    run.add_argument("--budget", type=seconds, metavar="TIME", help="latency budget: 50ms, 0.2s (default: no limit)")
    run.add_argument("--cloud", metavar="URL", help="cloud to ask: http://..., mqtt://...")
    run.add_argument("--device", help="engine, or engine and device: openvino, onnx:CPU (default: the fastest measured)")
    run.add_argument("--output", type=Path, metavar="FILE.npz", help="write the outputs there")
    run.add_argument("--json", action="store_true", help="print JSON")
    add_store(run)
    run.set_defaults(command=_run)


def _devices(arguments: argparse.Namespace) -> int:
    found = backends.devices()
    if arguments.json:
        rows = [{"backend": d.backend, "device": d.name, "engine": d.engine, "description": d.description} for d in found]
        print(json.dumps(rows, indent=2))
        return 0
    table(("DEVICE", "ENGINE", "HARDWARE"), [(str(d), d.engine, d.description) for d in found])
    missing = sorted(set(backends.NAMES) - {d.backend for d in found})
    for name in missing:
        print(f"{name}: not installed here (pip install 'edge-runtime[{name}]')")
    return 0 if found else 4


def _run(arguments: argparse.Namespace) -> int:
    bundle = resolve(arguments.bundle, arguments.store)
    inputs = read_inputs(arguments.input, bundle)
    profile = load(arguments.store / PROFILE)  # a bundle's folder may stand alone; what was measured here is in the store
    with Runtime(None, profile=profile, cloud=arguments.cloud, device=arguments.device) as runtime:
        result = runtime.open(bundle).infer(inputs, budget=arguments.budget)
    if arguments.output is not None:
        try:
            np.savez(arguments.output, allow_pickle=False, **result.outputs)
        except OSError as error:
            raise InputError(f"the outputs could not be written: {error}") from error
    print(json.dumps(_as_json(result), indent=2) if arguments.json else _as_text(result))
    return 0 if result.met else 1


def read_inputs(given: Sequence[str], bundle: Bundle) -> dict[str, Array]:
    """The arrays that --input names. Raises InputError when a file is no array or cannot be read."""
    inputs: dict[str, Array] = {}
    for text in given:
        name, separator, file = text.partition("=")
        try:
            loaded: Any = np.load(file if separator else text, allow_pickle=False)
            inputs.update({name: loaded} if isinstance(loaded, np.ndarray) else dict(loaded))
        except (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
            raise InputError(f"--input {text}: {error}") from error
        if isinstance(loaded, np.ndarray) != bool(separator):
            raise InputError(f"--input {text}: write NAME=FILE.npy for one array, or FILE.npz for named ones")
    if not inputs:
        wanted = ", ".join(f"{s.name} {s.dtype} [{', '.join(map(str, s.shape))}]" for s in bundle.manifest.signature.inputs)
        raise InputError(f"no --input was given; {bundle.manifest.name} takes {wanted}")
    return inputs


def _as_json(result: Result) -> dict[str, Any]:
    fields = ("target", "engine", "device", "variant", "elapsed", "budget", "met", "reason")
    attempts = [
        {"target": a.target, "started": a.started, "seconds": a.seconds, "outcome": a.outcome} for a in result.attempts
    ]
    outputs = {name: {"dtype": str(a.dtype), "shape": list(a.shape)} for name, a in result.outputs.items()}
    return {**{field: getattr(result, field) for field in fields}, "attempts": attempts, "outputs": outputs}


def _as_text(result: Result) -> str:
    budget = "" if result.budget is None else f" of {result.budget * 1e3:.0f} ms ({'met' if result.met else 'MISSED'})"
    lines = [
        f"{result.target}: {result.variant} on {result.engine} {result.device}, {result.elapsed * 1e3:.1f} ms{budget}",
        f"why: {result.reason}",
    ]
    for name, array in result.outputs.items():
        numeric = array.size and array.dtype != object
        span = f", {array.min():.4g} to {array.max():.4g}" if numeric else ""
        lines.append(f"{name}: {array.dtype} {list(array.shape)}{span}")
    return "\n".join(lines)
