"""`edge-runtime tune` and `explain`: choosing by measurement, and saying why."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import msgspec

from edge_runtime.cli.shell import Commands, add_store, memory, progress_bar, resolve, seconds, subcommand, watts, write
from edge_runtime.engines import in_order
from edge_runtime.profile import CACHE, PROFILE, Tuned, load, save


def add(commands: Commands) -> None:
    """Add these subcommands."""
    tune = subcommand(
        commands, "tune", "find the fastest way to run bundles on this device, by measuring, and let the runtime use it",
        "edge-runtime tune ppocr_det silero_vad\n"
        "  edge-runtime tune ppocr_det --objective cpu --max-memory 100MB\n"
        "  edge-runtime tune silero_vad --rate 31 --busy --json",
    )  # fmt: skip
    tune.add_argument("bundle", nargs="+", metavar="BUNDLE", help="NAME or NAME@VERSION in the store, or a bundle's folder")
    tune.add_argument(
        "--objective", choices=("p50", "p95", "cpu", "energy"), default="p95",
        help="what is to be least: a percentile of latency, CPU time, or energy (default: p95, and of a tie the least CPU)",
    )  # fmt: skip
    tune.add_argument("--busy", action="store_true", help="measure beside a neighbour that keeps one core busy")
    tune.add_argument(
        "--rate", type=float, metavar="N", help="measure at so many inferences a second, not one right after the other"
    )
    tune.add_argument("--max-memory", type=memory, metavar="SIZE", help="at most so much for a loaded model: 100MB")
    tune.add_argument(
        "--watts",
        type=watts,
        metavar="IDLE,CORE",
        help="the power idle and of one busy core, where there is no meter",
    )
    tune.add_argument("--device", help="only this engine, or engine and device: openvino, onnx:CPU")
    tune.add_argument(
        "--timeout",
        type=seconds,
        default=120.0,
        metavar="TIME",
        help="to load a candidate and run it (default: 120s)",
    )
    tune.add_argument("--report", type=Path, metavar="FILE.html", help="write one self-contained page")
    tune.add_argument("--json", action="store_true", help="print JSON")
    _add_profile(tune)
    tune.set_defaults(command=_tune)
    explain = subcommand(
        commands, "explain", "say why a model runs as it does here", "edge-runtime explain ppocr_det --store store"
    )
    explain.add_argument("bundle", metavar="MODEL", help="NAME or NAME@VERSION in the store, or a bundle's folder")
    explain.add_argument("--json", action="store_true", help="print JSON")
    _add_profile(explain)
    explain.set_defaults(command=_explain)


def _add_profile(command: argparse.ArgumentParser) -> None:
    command.add_argument("--profile", type=Path, metavar="FILE", help="where it is kept (default: STORE/profile.json)")
    add_store(command)


def _tune(arguments: argparse.Namespace) -> int:
    from edge_runtime import backends
    from edge_runtime.bench.process import Limits
    from edge_runtime.objective import Objective
    from edge_runtime.tuning import compiled, page
    from edge_runtime.tuning.meters import meter
    from edge_runtime.tuning.tournament import tune
    from edge_runtime.tuning.words import explain

    bundles = [resolve(text, arguments.store) for text in arguments.bundle]
    path: Path = arguments.profile or arguments.store / PROFILE
    objective = Objective(arguments.objective, arguments.busy, arguments.max_memory, arguments.rate, arguments.watts)
    counted = meter(objective)
    save(load(path), path)  # what cannot be read or written is to be told now, not after minutes of measuring
    devices = [d for d in backends.devices() if d.fits(arguments.device)]
    outcomes: list[tuple[Tuned, str]] = []
    for number, bundle in enumerate(bundles):
        with progress_bar() as progress:

            def tell(what: str, share: float, name: str = bundle.manifest.name, before: int = number) -> None:
                progress(f"{name}: {what}", (before + share) / len(bundles))

            limits = Limits(start=arguments.timeout)
            tuned = tune(bundle, objective=objective, devices=devices, limits=limits, meter=counted, progress=tell)
        profile = load(path).updated(tuned=(tuned,))
        save(profile, path)
        winner = next(iter(in_order(bundle.manifest, profile))).candidate
        kept = compiled.keep(bundle, winner, tuned.winner.key, path.parent / CACHE, limits)
        compiled.prune(path.parent / CACHE, profile.keys())
        outcomes.append((tuned, kept))
        if not arguments.json:
            print("\n".join(explain(tuned)), f"{kept[:1].upper()}{kept[1:]}.", "", sep="\n")
    if arguments.report is not None:
        write(arguments.report, page.render([tuned for tuned, _ in outcomes]))
    if arguments.json:
        print(json.dumps([{**msgspec.to_builtins(tuned), "compiled": kept} for tuned, kept in outcomes], indent=2))
    else:
        print(f"the runtime will use what was chosen: {path}")
    return 0


def _explain(arguments: argparse.Namespace) -> int:
    from edge_runtime.tuning.words import explain

    bundle = resolve(arguments.bundle, arguments.store)
    manifest = bundle.manifest
    profile = load(arguments.profile or arguments.store / PROFILE)
    first = next(iter(in_order(manifest, profile)), None)
    tuned = profile.choice(manifest.name, manifest.version)
    if arguments.json:
        told = {
            "model": manifest.name, "version": manifest.version, "runs": None if first is None else str(first.candidate),
            "reason": None if first is None else first.reason, "stale": [] if first is None else first.stale,
            "tuned": None if tuned is None else msgspec.to_builtins(tuned),
        }  # fmt: skip
        print(json.dumps(told, indent=2))
    elif tuned is not None and first is not None:
        print("\n".join(explain(tuned, first.stale)))
        if str(first.candidate) != tuned.winner.name:
            print(f"Here and now it runs as {first.candidate}: {first.reason}.")
    elif first is not None:
        print(f"{manifest.name} {manifest.version} runs as {first.candidate}: {first.reason}.")
    else:
        print(f"{manifest.name} {manifest.version} does not run here: no engine that takes its variants is installed.")
    return 0 if first is not None else 4
