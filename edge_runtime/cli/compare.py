"""`edge-runtime compare` and `gate`: two reports, one against the other."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from edge_runtime.cli.shell import Commands, add_store, progress_bar, resolve, subcommand, write
from edge_runtime.errors import InputError

if TYPE_CHECKING:
    from edge_runtime.bench.report import Report
    from edge_runtime.profile import Candidate


def add(commands: Commands) -> None:
    """Add both subcommands."""
    compare = subcommand(
        commands, "compare", "compare two reports of `bench`: what became faster, what slower, what cannot be told",
        "edge-runtime compare before.json after.json --report changes.html",
    )  # fmt: skip
    compare.add_argument("before", type=Path, metavar="BEFORE.json")
    compare.add_argument("after", type=Path, metavar="AFTER.json")
    compare.add_argument("--json", action="store_true", help="print the comparison as JSON")
    compare.add_argument("--report", type=Path, metavar="FILE.html", help="write one self-contained page")
    compare.set_defaults(command=_compare)
    gate = subcommand(
        commands, "gate", "fail (exit 1) on a regression against a baseline that the noise cannot explain",
        "edge-runtime gate --baseline baseline.json current.json --max-regress 5%",
    )  # fmt: skip
    gate.add_argument(
        "current", nargs="?", type=Path, metavar="CURRENT.json",
        help="a report of `bench`; without it, what the baseline measured is measured now, in the same way",
    )  # fmt: skip
    gate.add_argument("--baseline", type=Path, required=True, metavar="FILE.json", help="the report to hold it against")
    gate.add_argument("--max-regress", type=share, default=0.05, metavar="SHARE", help="what is allowed (default: 5%%)")
    gate.add_argument("--json", action="store_true", help="print the decision as JSON")
    gate.add_argument("--report", type=Path, metavar="FILE.html", help="write the comparison as a page")
    gate.add_argument("--save", type=Path, metavar="FILE.json", help="keep what was measured now, as the next baseline")
    add_store(gate)
    gate.set_defaults(command=_gate)


def share(text: str) -> float:
    """A share on the command line: "5%", "0.05"."""
    try:
        value = float(text.removesuffix("%")) * (0.01 if text.endswith("%") else 1.0)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no share: write 5% or 0.05") from None
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no share of zero or more")
    return value


def _compare(arguments: argparse.Namespace) -> int:
    import msgspec

    from edge_runtime.bench import compare_page, report
    from edge_runtime.bench.compare import compare

    found = compare(report.load(arguments.before), report.load(arguments.after))
    print(msgspec.json.encode(found).decode() if arguments.json else compare_page.as_text(found))
    if arguments.report is not None:
        write(arguments.report, compare_page.render(found))
    return 0


def _gate(arguments: argparse.Namespace) -> int:
    import msgspec

    from edge_runtime.bench import compare_page, report
    from edge_runtime.bench.gate import gate

    baseline = report.load(arguments.baseline)
    if arguments.current is not None and arguments.save is not None:
        raise InputError("--save keeps what was measured now; with CURRENT.json nothing is measured")
    current = _again(baseline, arguments.store) if arguments.current is None else report.load(arguments.current)
    if arguments.save is not None:
        write(arguments.save, report.encode(current))
    found = gate(baseline, current, arguments.max_regress)
    print(msgspec.json.encode(found).decode() if arguments.json else compare_page.decided(found))
    if arguments.report is not None:
        write(arguments.report, compare_page.render(found.comparison))
    return 0 if found.passed else 1


def _again(baseline: Report, store: Path) -> Report:
    """What the baseline measured, measured now: the same bundles, engines and settings, for as long."""
    from edge_runtime.bench import harness
    from edge_runtime.bench.repeat import repeated

    bundles = [resolve(f"{name}@{version}", store) for name, version in baseline.models]
    wanted = {(e.variant, e.backend, e.device, e.settings) for e in baseline.entries}
    found = baseline.protocol

    def chosen(candidate: Candidate) -> bool:
        device = candidate.device
        return (candidate.variant.name, device.backend, device.name, candidate.settings) in wanted

    with progress_bar() as progress:
        return repeated(
            lambda tell: harness.bench(
                bundles, every_setting=True, chosen=chosen, runs=found.runs, seconds=found.seconds, seed=found.seed,
                command=baseline.command, progress=tell,
            ),
            found.repeat, progress,
        )  # fmt: skip
