"""`edge-runtime bench`: measuring."""

from __future__ import annotations

import argparse
from pathlib import Path

from edge_runtime.bundles.store import Bundle
from edge_runtime.cli import scenarios
from edge_runtime.cli.shell import Commands, add_store, count, progress_bar, resolve, seconds, subcommand, watts, write


def add(commands: Commands) -> None:
    """Add this subcommand."""
    bench = subcommand(
        commands, "bench", "measure bundles on every engine, device and variant found here",
        "edge-runtime bench ppocr_det silero_vad --report out.html --json out.json --profile",
    )  # fmt: skip
    bench.add_argument(
        "bundle", nargs="+", metavar="BUNDLE", help="NAME or NAME@VERSION in the store, or a bundle's folder"
    )
    bench.add_argument("--runs", type=int, default=400, help="runs of each candidate, unless its time is up (default: 400)")
    bench.add_argument("--seconds", type=seconds, default=2.0, metavar="TIME", help="time of each candidate (default: 2s)")
    bench.add_argument("--every-setting", action="store_true", help="with all settings of each engine worth measuring")
    bench.add_argument("--device", help="only this engine, or engine and device: openvino, onnx:CPU")
    bench.add_argument("--report", type=Path, metavar="FILE.html", help="write one self-contained page")
    bench.add_argument("--json", type=Path, metavar="FILE.json", help="write all that was measured, raw values kept")
    bench.add_argument("--markdown", type=Path, metavar="FILE.md", help="write its tables for a README or a pull request")
    bench.add_argument("--csv", type=Path, metavar="FILE.csv", help="write a row for each candidate, for a spreadsheet")
    bench.add_argument(
        "--watts", type=watts, metavar="IDLE,CORE",
        help="the power idle and of one busy core, to count energy by where there is no meter (RAPL)",
    )  # fmt: skip
    bench.add_argument(
        "--repeat", type=count, default=1, metavar="N",
        help="do all of it so often, each time in fresh processes: what differs from start to start is seen (default: 1)",
    )  # fmt: skip
    bench.add_argument(
        "--profile", nargs="?", type=Path, const=Path(), metavar="FILE",
        help="let the runtime use what was measured (default: STORE/profile.json)",
    )  # fmt: skip
    scenarios.add(bench)
    add_store(bench)
    bench.set_defaults(command=_bench)


def _bench(arguments: argparse.Namespace) -> int:
    from edge_runtime import backends, profile
    from edge_runtime.bench import energy, harness, html, markdown, report, tabular
    from edge_runtime.bench.repeat import repeated

    bundles: list[Bundle] = [resolve(text, arguments.store) for text in arguments.bundle]
    chosen = [d for d in backends.devices() if d.fits(arguments.device)]
    command = f"edge-runtime bench {' '.join(arguments.bundle)}"
    with progress_bar() as progress:
        if arguments.scenario:
            found = scenarios.report(bundles, arguments, command, progress)
        else:
            found = repeated(
                lambda tell: harness.bench(
                    bundles, devices=chosen, every_setting=arguments.every_setting, runs=arguments.runs,
                    seconds=arguments.seconds, meter=energy.here(arguments.watts), command=command, progress=tell,
                ),
                arguments.repeat, progress,
            )  # fmt: skip
    print("\n".join(scenarios.lines(found.scenarios)) if arguments.scenario else report.as_text(found))
    forms = ((arguments.json, report.encode), (arguments.report, html.render), (arguments.markdown, markdown.render),
             (arguments.csv, tabular.render))  # fmt: skip
    for path, form in forms:
        if path is not None:
            write(path, form(found))
    if arguments.scenario:
        return 0 if all(run.judged.valid for run in found.scenarios) else 1
    if arguments.profile is not None:
        path = arguments.store / profile.PROFILE if arguments.profile == Path() else arguments.profile
        profile.save(profile.load(path).updated(harness.measurements(found, bundles)), path)
        print(f"the runtime will use what was measured: {path}")
    return 0 if any(entry.error is None for entry in found.entries) else 4
