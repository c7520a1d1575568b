"""`edge-runtime optimize`: smaller and faster variants, those that are right."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from edge_runtime.bundles.store import Bundle
from edge_runtime.cli.shell import Commands, add_store, progress_bar, resolve, subcommand
from edge_runtime.errors import InputError
from edge_runtime.signature import sizes_of
from edge_runtime.values import Array

if TYPE_CHECKING:
    from edge_runtime.backends.base import Session
    from edge_runtime.optimize import Data, Gate, Outcome, Trial

MAX_DROP = 0.01
TOLERANCE = 0.1


def add(commands: Commands) -> None:
    """Add this subcommand."""
    optimize = subcommand(
        commands, "optimize", "make a bundle with int8 and OpenVINO variants, those that are right",
        "edge-runtime optimize my_model/ --calibrate samples/ --max-drop 0.01 --out my_model-int8/",
    )  # fmt: skip
    optimize.add_argument(
        "model", metavar="MODEL", help="NAME or NAME@VERSION in the store, a bundle's folder, or an .onnx or .tflite file"
    )
    optimize.add_argument(
        "--calibrate", type=Path, required=True, metavar="DATA",
        help="an .npz file, or a folder of them, with arrays named as the model's inputs, and `label`, the right class of "
        "each sample, where it is known; the last quarter judges",
    )  # fmt: skip
    optimize.add_argument("--out", type=Path, required=True, metavar="DIR", help="write the bundle there")
    optimize.add_argument(
        "--max-drop", type=float, metavar="SHARE",
        help=f"how far the accuracy may drop below fp32's, by `label` or --accuracy (default: {MAX_DROP})",
    )  # fmt: skip
    optimize.add_argument(
        "--accuracy", metavar="MODULE:FUNCTION",
        help="a Python function (session, samples) -> accuracy, 0 to 1, to judge by instead of labels",
    )  # fmt: skip
    optimize.add_argument(
        "--tolerance", type=float,
        help=f"without labels: largest difference from fp32, relative to its largest value (default: {TOLERANCE})",
    )  # fmt: skip
    optimize.add_argument("--only", action="append", default=[], metavar="VARIANT", help="make only this one; repeat")
    optimize.add_argument(
        "--prune", type=float, default=0.0, metavar="SHARE",
        help="first set this share of each node's weights, the smallest, to zero (pruned-onnx)",
    )  # fmt: skip
    optimize.add_argument(
        "--exclude", action="append", default=[], metavar="NODE*", help="leave such nodes in fp32, in all formats; repeat"
    )
    optimize.add_argument("--version", help="the new bundle's (default: the old one, with +int8)")
    optimize.add_argument("--json", action="store_true", help="print JSON")
    add_store(optimize)
    optimize.set_defaults(command=_optimize)


def _optimize(arguments: argparse.Namespace) -> int:
    from edge_runtime import optimize as made

    with _bundle(arguments.model, arguments.store) as (bundle, bare), progress_bar() as progress:
        data = made.load_data(arguments.calibrate, bundle.manifest.signature.inputs)
        bundle = _sized(bundle, data.samples[0]) if bare else bundle
        calibration, judged = data.hold_out()
        said = f"{len(judged.samples)} held-out samples of {len(data.samples)}"
        outcome = made.optimize(
            bundle, calibration.samples, _gate(arguments, bundle, judged, said),
            out=arguments.out, version=arguments.version or f"{bundle.manifest.version}+int8", only=arguments.only,
            quantization=made.Quantization(exclude=tuple(arguments.exclude), prune=arguments.prune),
            progress=lambda done, total: progress("optimizing", done / total),
        )  # fmt: skip
    if arguments.json:
        # msgspec writes null where there is no figure; NaN and infinity are no JSON.
        told = {"variants": _rows(outcome.trials), "originals": _rows(outcome.originals)}
        print(msgspec.json.format(msgspec.json.encode({"admitted": outcome.admitted, **told}), indent=2).decode())
    else:
        _tell(outcome)
        print(f"written to {arguments.out}" if outcome.admitted else "nothing was admitted: nothing was written")
    return 0 if outcome.admitted else 1


@contextmanager
def _bundle(text: str, store: Path) -> Iterator[tuple[Bundle, bool]]:
    """The bundle that MODEL names, and whether it was made of a bare file, for as long as it is needed."""
    from edge_runtime.optimize import SUFFIXES, bundle_of

    if Path(text).suffix not in SUFFIXES or Path(text).is_dir():
        yield resolve(text, store), False
        return
    with tempfile.TemporaryDirectory(prefix="bundle-") as folder:
        yield bundle_of(Path(text), Path(folder)), True


def _sized(bundle: Bundle, sample: dict[str, Array]) -> Bundle:
    """With the sizes of the first sample as the typical ones."""
    manifest = bundle.manifest
    sizes = sizes_of(manifest.signature.inputs, sample)
    return Bundle(msgspec.structs.replace(manifest, sizes=sizes), bundle.folder)


def _gate(arguments: argparse.Namespace, bundle: Bundle, judged: Data, said: str) -> Gate:
    """By the user's function, by labels, or by agreement with fp32."""
    from edge_runtime import optimize as made

    max_drop = MAX_DROP if arguments.max_drop is None else arguments.max_drop
    if arguments.accuracy is None and judged.labels is None:
        if arguments.max_drop is not None:
            raise InputError(
                f"there is no accuracy to hold --max-drop against: {arguments.calibrate} has no array {made.LABEL!r}, and "
                "--accuracy was not given. Give one of them, or --tolerance in the place of --max-drop"
            )
        return made.agreement(judged.samples, _or(arguments.tolerance, TOLERANCE), said, judged.digest)
    if arguments.tolerance is not None:
        raise InputError("--tolerance is for data without labels: with them, or with --accuracy, give --max-drop")
    if arguments.accuracy is None:
        return made.retention(made.by_labels(bundle, judged, said), max_drop)
    function, samples = _function(arguments.accuracy), _with_labels(judged)
    measure = made.Measure(arguments.accuracy, said, lambda session: function(session, samples), judged.digest)
    return made.retention(measure, max_drop)


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


def _with_labels(judged: Data) -> list[dict[str, Any]]:
    """What a user's function is given: the inputs of each sample, and its label under that name, if it has one."""
    if judged.labels is None:
        return list(judged.samples)
    return [{**sample, "label": label} for sample, label in zip(judged.samples, judged.labels, strict=True)]


def _function(text: str) -> Callable[[Session, Sequence[dict[str, Any]]], float]:
    """The function that MODULE:FUNCTION names; a module is looked for in this folder too."""
    module, _, name = text.partition(":")
    if not module or not name:
        raise InputError(f"--accuracy {text}: write MODULE:FUNCTION")
    sys.path.insert(0, "")
    try:
        found: Any = getattr(import_module(module), name)
    except (Exception, SystemExit) as error:
        raise InputError(f"--accuracy {text} cannot be loaded: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove("")
    if not callable(found):
        raise InputError(f"--accuracy {text} is a {type(found).__name__}: name a function")
    return found  # type: ignore[no-any-return]  # what it is called with is told in the help


def _rows(trials: Sequence[Trial]) -> list[dict[str, Any]]:
    return [
        {
            **msgspec.to_builtins(trial),
            "admitted": trial.admitted,
            "verdicts": [{**msgspec.to_builtins(verdict), "admitted": verdict.admitted} for verdict in trial.verdicts],
        }
        for trial in trials
    ]


def _tell(outcome: Outcome) -> None:
    for trial in outcome.originals:
        for verdict in trial.verdicts:
            told = verdict.trouble or f"{verdict.accuracy.metric} {verdict.accuracy.value:.4g}"
            print(f"{trial.variant} on {verdict.engine}: {told}")
    for trial in outcome.trials:
        print(trial)
