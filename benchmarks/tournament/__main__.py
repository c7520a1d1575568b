"""The tournament held against engines left alone, and against an exhaustive search.

For each net of the zoo, and each of the thirteen shapes (`make shapes` builds them), the tournament's winner and every
engine at its defaults (on the fp32 model, by the engine's own public API, in a process of its own) are measured in turns,
idle and beside a busy neighbour; for the shapes also every candidate there is, in full; and the second start from what was
compiled.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Sequence
from math import exp, log
from pathlib import Path

import msgspec

from benchmarks.convention import Bar, Options, Outcome, at_least, at_most, main
from benchmarks.tournament.exhaustive import Searched, search
from benchmarks.tournament.rivals import ENGINES, Met, at_rate, meet
from benchmarks.tournament.starts import Starts, start
from edge_runtime.bench.units import duration
from edge_runtime.bundles.bundle import Bundle
from edge_runtime.bundles.store import Store
from edge_runtime.engines import in_order
from edge_runtime.errors import InputError
from edge_runtime.objective import Objective
from edge_runtime.profile import Profile, Tuned
from edge_runtime.tuning.tournament import tune

QUICK = ("digits_cnn", "language_lstm")
RATED, RATE = "shape_resnet8", 100.0
AIMS = {"onnx": 2.2, "openvino": 3.5, "tflite": 2.6}


class Row(msgspec.Struct, frozen=True):
    """One model, through all of it."""

    model: str
    tuned: Tuned
    met: Met
    starts: Starts
    searched: Searched | None = None


def run(options: Options) -> Outcome:
    """Measure each model and hold the whole against the aims."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # as installed: what pip has put there has its bytecode beside it
    bundles = _bundles(options)
    rows: list[Row] = []
    rated: dict[str, tuple[float, float]] = {}
    exhaustive = set(options.own.get("exhaustive") or ()) or {
        b.manifest.name for b in bundles if b.manifest.name.startswith("shape_")
    }
    with tempfile.TemporaryDirectory() as folder:
        for number, bundle in enumerate(bundles):
            options.progress(number, len(bundles))
            tuned = tune(bundle)
            winner = next(iter(in_order(bundle.manifest, Profile(tuned=(tuned,))))).candidate
            few = options.quick
            met = meet(bundle, winner, rounds=8 if few else 30, busy_rounds=3 if few else 10)
            starts = start(bundle, winner, tuned, Path(folder), repeats=3 if few else 9)
            searched = search(bundle, winner, confirming=25) if bundle.manifest.name in exhaustive and not few else None
            rows.append(Row(bundle.manifest.name, tuned, met, starts, searched))
            print(_line(rows[-1]), flush=True)
            if bundle.manifest.name == RATED:
                asked = tune(bundle, objective=Objective(rate=RATE))
                at_rest = next(iter(in_order(bundle.manifest, Profile(tuned=(asked,))))).candidate
                rated = at_rate(bundle, at_rest, rate=RATE, rounds=10, runs=100)
    return Outcome(_bars(rows, rated), _rows(rows, rated), {"models": rows, "at 100/s": rated})


def _bundles(options: Options) -> list[Bundle]:
    store, shapes = Store(options.store), options.own.get("shapes")
    only = tuple(options.own.get("only") or ()) or (QUICK if options.quick else ())
    found = [store.bundle(name) for name in store.names()]
    if shapes is not None and shapes.is_dir():
        built = Store(shapes)
        found += [built.bundle(name) for name in built.names()]
    elif not options.quick:
        raise InputError(f"there are no shapes at {shapes}: make shapes builds them")
    chosen = [b for b in found if not only or b.manifest.name in only]
    return [b for b in chosen if not b.manifest.signature.hidden_state]  # no engine left alone can begin such a state anew


def mean(values: Sequence[float]) -> float:
    """The geometric mean; NaN of nothing."""
    return exp(sum(map(log, values)) / len(values)) if values else float("nan")


def _bars(rows: Sequence[Row], rated: dict[str, tuple[float, float]]) -> list[Bar]:
    bars = []
    for backend, (name, _) in ENGINES.items():
        over = [a.p50.value for row in rows for a in row.met.against if a.engine == backend]
        bars.append(at_least(f"tuned over {name}'s default, geometric mean of {len(over)}", mean(over), "x", AIMS[backend]))
    best = [(row, found) for row in rows if (found := row.met.best()) is not None]
    bars.append(at_least("tuned over the best engine's default", mean([a.p50.value for _, a in best]), "x", 1.6))
    wrong = [r for r in rows if r.met.tolerance is not None and not (r.met.distance or 0.0) <= r.met.tolerance]
    bars.append(at_most("winners that fail their golden outputs", len(wrong), "", 0))
    slower = [row.model for row, a in best if a.p95.high is not None and a.p95.high < 1.0 and a.p50.value < 1.0]
    bars.append(at_most("slower than the best engine's default beyond noise", len(slower), "models", 0))
    busy = [1 / a.busy.value for _, a in best if a.busy is not None]
    bars.append(at_most("p95 beside a busy neighbour over the best engine's default", mean(busy), "x", 0.8))
    bars.append(at_most("second start over the engine's own", mean([row.starts.ratio.value for row in rows]), "x", 1.0))
    searched = [(row, row.searched) for row in rows if row.searched is not None]
    if searched:
        regrets = [max(1.0, s.regret.value) for _, s in searched]
        bars.append(at_most("regret against an exhaustive search, geometric mean", 100 * (mean(regrets) - 1), "%", 2))
        bars.append(at_most("the worst", 100 * (max(regrets) - 1), "%", 5))
        share = sum(row.tuned.seconds for row, _ in searched) / sum(s.seconds for _, s in searched)
        bars.append(at_most("time of the tournaments over the searches'", 100 * share, "%", 20))
    if rated:
        (tuned, tuned_p95), (default, default_p95) = rated["tuned"], rated["ONNX Runtime left alone"]
        bars.append(at_most("ResNet-8 at 100/s: CPU over ONNX Runtime's default", tuned / default, "x", 0.15))
        bars.append(at_most("the same: p95 over ONNX Runtime's default", tuned_p95 / default_p95, "x", 1.2))
    return bars


def _line(row: Row) -> str:
    over = {a.engine: f"{a.p50.value:5.2f}x" for a in row.met.against}
    best = row.met.best()
    lead = "-" if best is None else f"{best.p50.value:.2f}x p95 {best.p95.value:.2f}x"
    busy = "-" if best is None or best.busy is None else f"{1 / best.busy.value:.2f}x"
    regret = "" if row.searched is None else (
        f"  regret {100 * (row.searched.regret.value - 1):+.1f} % of {row.searched.pick}"
        f" ({row.tuned.seconds:.0f} of {row.searched.seconds:.0f} s)"
    )  # fmt: skip
    return (
        f"{row.model:24} {duration(row.met.winner_p50):>8} {' '.join(over.get(e, '    - ') for e in ENGINES)}  best {lead}"
        f"  busy {busy}  start {row.starts.ratio.value:.2f}x  {row.tuned.seconds:.0f} s  {row.met.winner}{regret}"
    )


def _rows(rows: Sequence[Row], rated: dict[str, tuple[float, float]]) -> list[str]:
    lines = [f"{'model':24} {'p50':>8} over the defaults of {', '.join(name for name, _ in ENGINES.values())}"]
    lines += [_line(row) for row in rows]
    lines += [f"  {row.model}: {who} does not run it: {why}" for row in rows for who, why in row.met.failed.items()]
    lines += [
        f"at 100/s, {who}: {duration(cpu)} of CPU an inference, p95 {duration(p95)}" for who, (cpu, p95) in rated.items()
    ]
    return lines


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--shapes", type=Path, default=Path("build/shapes"), metavar="DIR", help="the thirteen (%(default)s)"
    )
    parser.add_argument("--only", nargs="+", metavar="MODEL", help="these models alone")
    parser.add_argument("--exhaustive", nargs="+", metavar="MODEL", help="search these in full (default: the shapes)")


if __name__ == "__main__":
    main("tournament", __doc__, run, add=_options)
