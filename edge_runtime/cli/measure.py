"""`edge-runtime bench` and `optimize`: measuring, and quantizing."""

from __future__ import annotations

import argparse
from pathlib import Path

import msgspec

from edge_runtime.bundles.store import Bundle
from edge_runtime.cli.shell import Commands, add_store, progress_bar, resolve, seconds, subcommand, write


def add(commands: Commands) -> None:
    """Add these subcommands."""
    bench = subcommand(
        commands, "bench", "measure bundles on every engine, device and variant found here",
        "edge-runtime bench ppocr_det silero_vad --report out.html --json out.json --profile",
    )  # fmt: skip
    bench.add_argument(
        "bundle", nargs="+", metavar="BUNDLE", help="NAME or NAME@VERSION in the store, or a bundle's folder"
    )
    bench.add_argument("--runs", type=int, default=400, help="runs of each candidate, unless its time is up (default: 400)")
    bench.add_argument("--seconds", type=seconds, default=2.0, metavar="TIME", help="time of each candidate (default: 2s)")
    bench.add_argument("--device", help="only this engine, or engine and device: openvino, onnx:CPU")
    bench.add_argument("--report", type=Path, metavar="FILE.html", help="write one self-contained page")
    bench.add_argument("--json", type=Path, metavar="FILE.json", help="write all that was measured, raw values kept")
    bench.add_argument(
        "--profile", nargs="?", type=Path, const=Path(), metavar="FILE",
        help="let the runtime use what was measured (default: STORE/profile.json)",
    )  # fmt: skip
    add_store(bench)
    bench.set_defaults(command=_bench)

    optimize = subcommand(
        commands, "optimize", "make a bundle with int8 variants (ONNX, TFLite), those that are right",
        "edge-runtime optimize my_model/ --calibrate samples/ --out my_model-int8/",
    )  # fmt: skip
    optimize.add_argument("bundle", metavar="BUNDLE", help="NAME or NAME@VERSION in the store, or a bundle's folder")
    optimize.add_argument(
        "--calibrate", type=Path, required=True, metavar="DATA",
        help="an .npz file, or a folder of them, with arrays named as the model's inputs; the last quarter judges",
    )  # fmt: skip
    optimize.add_argument("--out", type=Path, required=True, metavar="DIR", help="write the bundle there")
    optimize.add_argument("--version", help="the new bundle's (default: the old one, with +int8)")
    optimize.add_argument(
        "--tolerance",
        type=float,
        default=0.1,
        help="largest difference from fp32, relative to its largest value (default: 0.1)",
    )
    optimize.add_argument(
        "--exclude", action="append", default=[], metavar="NODE*", help="leave such nodes in fp32, in both formats; repeat"
    )
    optimize.add_argument("--json", action="store_true", help="print JSON")
    add_store(optimize)
    optimize.set_defaults(command=_optimize)


def _bench(arguments: argparse.Namespace) -> int:
    from edge_runtime import backends
    from edge_runtime.bench import harness, html, report
    from edge_runtime.tuning import profile

    bundles: list[Bundle] = [resolve(text, arguments.store) for text in arguments.bundle]
    chosen = [d for d in backends.devices() if arguments.device in (None, d.backend, str(d))]
    with progress_bar() as progress:
        found = harness.bench(
            bundles, devices=chosen, runs=arguments.runs, seconds=arguments.seconds,
            command=f"edge-runtime bench {' '.join(arguments.bundle)}", progress=progress,
        )  # fmt: skip
    print(report.as_text(found))
    if arguments.json is not None:
        write(arguments.json, report.encode(found))
    if arguments.report is not None:
        write(arguments.report, html.render(found))
    if arguments.profile is not None:
        path = arguments.store / profile.PROFILE if arguments.profile == Path() else arguments.profile
        profile.save(profile.load(path).updated(harness.measurements(found, bundles)), path)
        print(f"the runtime will use what was measured: {path}")
    return 0 if any(entry.error is None for entry in found.entries) else 4


def _optimize(arguments: argparse.Namespace) -> int:
    from edge_runtime import optimize as made

    bundle = resolve(arguments.bundle, arguments.store)
    samples = made.load_samples(arguments.calibrate, bundle.manifest.signature.inputs)
    calibration, judged = made.hold_out(samples)
    data = f"{len(judged)} held-out samples of {len(samples)}"
    with progress_bar() as progress:
        outcome = made.optimize(
            bundle, calibration, made.agreement(judged, arguments.tolerance, data), out=arguments.out,
            version=arguments.version or f"{bundle.manifest.version}+int8",
            quantization=made.Quantization(exclude=tuple(arguments.exclude)),
            progress=lambda done, total: progress("quantizing", done / total),
        )  # fmt: skip
    if arguments.json:
        rows = [
            {
                **msgspec.to_builtins(trial),
                "admitted": trial.admitted,
                "verdicts": [{**msgspec.to_builtins(verdict), "admitted": verdict.admitted} for verdict in trial.verdicts],
            }
            for trial in outcome.trials
        ]
        # msgspec writes null where there is no figure; NaN and infinity are no JSON.
        text = msgspec.json.encode({"admitted": outcome.admitted, "variants": rows})
        print(msgspec.json.format(text, indent=2).decode())
    else:
        for trial in outcome.trials:
            print(trial)
        print(f"written to {arguments.out}" if outcome.admitted else "nothing was admitted: nothing was written")
    return 0 if outcome.admitted else 1
