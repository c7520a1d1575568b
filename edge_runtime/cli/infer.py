"""`edge-runtime devices` and `run`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from edge_runtime import backends
from edge_runtime.cli import inputs, outputs
from edge_runtime.cli.shell import Commands, add_store, policy, resolve, seconds, subcommand, table
from edge_runtime.profile import PROFILE, load
from edge_runtime.routing.policy import Policy
from edge_runtime.runtime import Runtime


def add(commands: Commands) -> None:
    """Add these subcommands."""
    devices = subcommand(commands, "devices", "list the engines and devices found here", "edge-runtime devices --json")
    devices.add_argument("--json", action="store_true", help="print JSON")
    devices.set_defaults(command=_devices)

    run = subcommand(
        commands, "run", "answer one call",
        "edge-runtime run ppocr_det --input page.png\n"
        "  edge-runtime run silero_vad --input speech.wav --json\n"
        "  edge-runtime run ppocr_rec --input line.png --budget 500ms --cloud http://127.0.0.1:8000\n"
        "  edge-runtime run ppocr_rec --input image=line.npy --output outputs.npz\n\n" + inputs.HELP.rstrip(),
    )  # fmt: skip
    run.add_argument("bundle", metavar="BUNDLE", help="NAME or NAME@VERSION in the store, or a bundle's folder")
    run.add_argument(
        "--input", action="append", default=[], metavar="FILE|NAME=FILE.npy", help="what to hand over: see below"
    )
    run.add_argument("--text", help="hand over this text")
    run.add_argument("--class", type=int, dest="number", metavar="N", help="make up one of this class")
    run.add_argument("--budget", type=seconds, metavar="TIME", help="latency budget: 50ms, 0.2s (default: no limit)")
    run.add_argument(
        "--cloud", metavar="URL", action="append", default=[], help="cloud to ask: http://..., mqtt://...; may be repeated"
    )
    run.add_argument("--best-effort", action="store_true", help="a late answer is better than none")
    run.add_argument("--policy", type=Path, metavar="FILE.json", help="how to route: see edge-runtime replay --help")
    run.add_argument("--log", type=Path, metavar="FILE.jsonl", help="keep what routing decided, for edge-runtime replay")
    run.add_argument("--device", help="engine, or engine and device: openvino, onnx:CPU (default: the fastest measured)")
    run.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="write the outputs (.npz), or a picture or sound that was made (.png, .wav), there",
    )
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
    given = inputs.read(arguments.input, arguments.text, arguments.number, bundle.manifest)
    profile = load(arguments.store / PROFILE)  # a bundle's folder may stand alone; what was measured here is in the store
    routing = Policy() if arguments.policy is None else policy(arguments.policy)
    with Runtime(
        None, profile=profile, cloud=arguments.cloud, policy=routing, log=arguments.log, device=arguments.device
    ) as runtime:
        result = runtime.open(bundle).infer(given, budget=arguments.budget, best_effort=arguments.best_effort)
    if arguments.output is not None:
        outputs.save(result, arguments.output)
    print(outputs.as_json(result) if arguments.json else outputs.as_text(result))
    return 0 if result.met else 1
