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
from edge_runtime.engines import Candidate, in_order
from edge_runtime.errors import EdgeError, InputError
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


class Found(msgspec.Struct, frozen=True):
    """The raw values."""

    models: tuple[Row, ...] = ()
    rated: dict[str, tuple[float, float]] = {}
    """CPU seconds of an inference and its p95 in seconds, at a fixed rate."""
    failed: dict[str, str] = {}


class _Record(msgspec.Struct, frozen=True):
    """The file that the convention writes, as far as it is read here."""

    details: Found


def run(options: Options) -> Outcome:
    """Measure each model and hold the whole against the aims."""
    if (earlier := options.own.get("recount")) is not None:
        return _counted(_read(earlier))
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # as installed: what pip has put there has its bytecode beside it
    bundles = _bundles(options)
    found = Found()
    shapes = {bundle.manifest.name for bundle in bundles if bundle.manifest.name.startswith("shape_")}
    exhaustive = set(options.own.get("exhaustive") or shapes)
    with tempfile.TemporaryDirectory() as folder:
        for number, bundle in enumerate(bundles):
            options.progress(number, len(bundles))
            name = bundle.manifest.name
            try:
                row = _row(bundle, Path(folder), name in exhaustive and not options.quick, few=options.quick)
                rated = _rated(bundle) if name == RATED else {}
            except EdgeError as error:
                found = msgspec.structs.replace(found, failed={**found.failed, name: str(error)})
                print(f"{name}: {error}", flush=True)
                continue
            found = msgspec.structs.replace(found, models=(*found.models, row), rated=rated or found.rated)
            print(_line(row), flush=True)
    return _counted(found)


def _row(bundle: Bundle, folder: Path, exhaustive: bool, *, few: bool) -> Row:
    """One model, through all of it."""
    tuned = tune(bundle)
    winner = _winner(bundle, tuned)
    met = meet(bundle, winner, rounds=8 if few else 30, busy_rounds=3 if few else 10)
    starts = start(bundle, winner, tuned, folder, repeats=3 if few else 9)
    searched = search(bundle, winner, confirming=25) if exhaustive else None
    return Row(bundle.manifest.name, tuned, met, starts, searched)


def _rated(bundle: Bundle) -> dict[str, tuple[float, float]]:
    """CPU seconds and p95 at a fixed rate, of who won at that rate and of ONNX Runtime left alone."""
    tuned = tune(bundle, objective=Objective(rate=RATE))
    return at_rate(bundle, _winner(bundle, tuned), rate=RATE, rounds=10, runs=100)


def _winner(bundle: Bundle, tuned: Tuned) -> Candidate:
    return next(iter(in_order(bundle.manifest, Profile(tuned=(tuned,))))).candidate


def _read(path: Path) -> Found:
    """The raw values of an earlier run. Raises InputError."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Record).details
    except (OSError, msgspec.MsgspecError) as error:
        raise InputError(f"{path} is no outcome of this benchmark: {error}") from error


def _counted(found: Found) -> Outcome:
    return Outcome(_bars(found), _rows(found), found)


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


def _bars(found: Found) -> list[Bar]:
    rows = found.models
    bars = [at_most("models that could not be measured", len(found.failed), "", 0)]
    for backend, (name, _) in ENGINES.items():
        over = [a.p50.value for row in rows for a in row.met.against if a.engine == backend]
        bars.append(at_least(f"tuned over {name}'s default, geometric mean of {len(over)}", mean(over), "x", AIMS[backend]))
    best = [(row, rival) for row in rows if (rival := row.met.best()) is not None]
    over = [rival.p50.value for _, rival in best]
    bars.append(at_least("tuned over the best engine's default that gives the golden outputs", mean(over), "x", 1.6))
    wrong = [r for r in rows if r.met.tolerance is not None and not (r.met.distance or 0.0) <= r.met.tolerance]
    bars.append(at_most("winners that fail their golden outputs", len(wrong), "", 0))
    slower = [row.model for row, a in best if a.p95.high is not None and a.p95.high < 1.0 and a.p50.value < 1.0]
    bars.append(at_most("slower than that default beyond noise", len(slower), "models", 0))
    busy = [1 / rival.busy.value for _, rival in best if rival.busy is not None]
    bars.append(at_most("p95 beside a busy neighbour over the best engine's default", mean(busy), "x", 0.8))
    bars.append(at_most("second start over the engine's own", mean([row.starts.ratio.value for row in rows]), "x", 1.0))
    return bars + _regret_bars(rows) + _rate_bars(found.rated)


def _regret_bars(rows: Sequence[Row]) -> list[Bar]:
    searched = [(row, row.searched) for row in rows if row.searched is not None]
    if not searched:
        return []
    regrets = [max(1.0, s.regret.value) for _, s in searched]
    share = sum(row.tuned.seconds for row, _ in searched) / sum(s.seconds for _, s in searched)
    return [
        at_most(f"regret against an exhaustive search, of {len(searched)}", 100 * (mean(regrets) - 1), "%", 2),
        at_most("the worst", 100 * (max(regrets) - 1), "%", 5),
        at_most("time of the tournaments over the searches'", 100 * share, "%", 20),
    ]


def _rate_bars(rated: dict[str, tuple[float, float]]) -> list[Bar]:
    if not rated:
        return []
    (tuned, tuned_p95), (default, default_p95) = rated["tuned"], rated["ONNX Runtime left alone"]
    return [
        at_most(f"ResNet-8 at {RATE:g}/s: CPU over ONNX Runtime's default", tuned / default, "x", 0.15),
        at_most("the same: p95 over ONNX Runtime's default", tuned_p95 / default_p95, "x", 1.2),
    ]


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


def _rows(found: Found) -> list[str]:
    lines = [f"{'model':24} {'p50':>8} over the defaults of {', '.join(name for name, _ in ENGINES.values())}"]
    lines += [_line(row) for row in found.models]
    lines += [f"  {row.model}: {who} does not run it: {why}" for row in found.models for who, why in row.met.failed.items()]
    for backend, (name, _) in ENGINES.items():
        far = [(r.model, a.distance) for r in found.models for a in r.met.against if a.engine == backend and not a.right]
        if far:
            told = ", ".join(f"{model} {distance:.2g}" for model, distance in far)
            lines.append(f"{name} left alone misses the golden outputs of {len(far)} models: {told}")
    every = [a.p50.value for row in found.models if (a := row.met.best(right=False)) is not None]
    lines.append(f"tuned over the best engine's default, whether its outputs are right or not: {mean(every):.3f}x")
    for who, (cpu, p95) in found.rated.items():
        lines.append(f"at {RATE:g}/s, {who}: {duration(cpu)} of CPU an inference, p95 {duration(p95)}")
    return lines


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--shapes", type=Path, default=Path("build/shapes"), metavar="DIR", help="the thirteen (%(default)s)"
    )
    parser.add_argument("--recount", type=Path, metavar="FILE", help="hold an earlier run's raw values against the aims")
    parser.add_argument("--only", nargs="+", metavar="MODEL", help="these models alone")
    parser.add_argument("--exhaustive", nargs="+", metavar="MODEL", help="search these in full (default: the shapes)")


if __name__ == "__main__":
    main("tournament", __doc__, run, add=_options)
