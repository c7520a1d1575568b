"""The zoo's claims: every variant runs and agrees on every engine, int8 was let in only where it does not hurt, the heavy
partners are more accurate, streams are exact, a device installs nothing of the toolchain, and all can be made anew.

Accuracies are measured here and now, on the held-out data, from the bundles of the store. What `make zoo` took and found is
read from its report. --quick measures the models whose data is small, and builds no environments.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import monotonic

import msgspec
import numpy as np

from benchmarks.convention import Bar, Options, Outcome, at_least, at_most, main
from edge_runtime.bench.inputs import seeded_inputs
from edge_runtime.bundles import golden
from edge_runtime.bundles.bundle import Bundle
from edge_runtime.bundles.store import Store
from edge_runtime.engines import open_candidate
from edge_runtime.errors import EdgeError, InputError
from models import recipe as recipes
from models.make import everywhere, one_by_one, own_calibration
from models.zoo import POINT, Report

PARTNERS = {"digits": ("digits_cnn", "digits_vit", 1.5), "language": ("language_lstm", "language_attention", 3.0)}
"""Task -> light, heavy, and the points of accuracy that the heavy one is ahead."""
STEPS = 1000
ENGINES = ("tflite", "onnx", "openvino")
TOOLCHAIN = ("torch", "nncf", "onnx", "litert-torch", "ai-edge-quantizer", "jax", "scipy", "opencv-python-headless")
"""Packages that a device must not be given."""
MAKE_ZOO = 40.0
QUICK_MEASURES = 15.0
"""Seconds for measuring accuracies with --quick: the models with little data come first, and the rest is left out."""


class _Ran(msgspec.Struct, frozen=True):
    """A variant on an engine."""

    model: str
    variant: str
    precision: str
    engine: str
    distance: float
    tolerance: float | None
    trouble: str = ""

    @property
    def right(self) -> bool:
        return not self.trouble and self.tolerance is not None and self.distance <= self.tolerance


class _Judged(msgspec.Struct, frozen=True):
    """A variant's accuracy, measured here: the worst of the engines."""

    model: str
    variant: str
    precision: str
    accuracy: float
    drop: float
    limit: float


def run(options: Options) -> Outcome:
    """Measure, print, and hold against the aims."""
    store, packages = Store(options.store), Path(options.own["packages"])
    bundles = [store.bundle(name) for name in recipes.names()]
    ran = [row for bundle in bundles for row in _agreement(bundle)]
    options.progress(1, 4)
    judged = _accuracies(bundles, packages, QUICK_MEASURES if options.quick else float("inf"))
    options.progress(2, 4)
    streams = {bundle.manifest.name: _streams(bundle) for bundle in bundles if bundle.manifest.signature.state}
    options.progress(3, 4)
    installed = {} if options.quick else {engine: _installed(engine) for engine in ENGINES}
    options.progress(4, 4)
    remade = _remade(options.own["rebuilt"])
    bars = [*_agreement_bars(ran), *_accuracy_bars(judged), *_stream_bars(streams), *_install_bars(installed)]
    bars += _remade_bars(remade)
    details = {"ran": ran, "judged": judged, "streams": streams, "installed": installed, "zoo": remade}
    return Outcome(bars, _lines(ran, judged, streams, installed), details)


def _agreement(bundle: Bundle) -> Iterator[_Ran]:
    """Every variant on every engine that claims its format, against the golden outputs."""
    known = golden.load(bundle)
    for candidate in everywhere(bundle):
        variant, engine = candidate.variant, candidate.device.engine
        row = _Ran(bundle.manifest.name, variant.name, variant.precision, engine, float("nan"), variant.tolerance)
        try:
            session = open_candidate(bundle, candidate)
            distance = golden.distance(one_by_one(session), *known)
            session.close()
        except EdgeError as error:
            yield msgspec.structs.replace(row, trouble=str(error))
        else:
            yield msgspec.structs.replace(row, distance=distance)


def _accuracies(bundles: Sequence[Bundle], packages: Path, seconds: float) -> list[_Judged]:
    """Every variant's accuracy on the held-out data, of the models that have such data."""
    start, rows = monotonic(), []
    partners = {name for light, heavy, _ in PARTNERS.values() for name in (light, heavy)}
    for bundle in sorted(bundles, key=lambda b: (b.manifest.name not in partners, sum(f.size for f in b.manifest.files))):
        if monotonic() - start > seconds:
            break
        rows += _judge(bundle, packages, fp32_only=seconds < float("inf") and bundle.manifest.name in partners)
    return rows


def _judge(bundle: Bundle, packages: Path, *, fp32_only: bool) -> list[_Judged]:
    recipe = recipes.load(bundle.manifest.name)
    own = own_calibration(recipe)
    if own is None or not hasattr(own, "measure"):
        return []
    limit = 0.0 if recipe.int8 is None else recipe.int8.tolerance
    measure, found = own.measure(packages), dict[tuple[str, str], float]()
    for candidate in everywhere(bundle):
        if not (fp32_only and candidate.variant.precision != "fp32"):
            session = open_candidate(bundle, candidate)
            found[candidate.variant.name, candidate.device.backend] = measure.of(session)
            session.close()
    first = next(variant for variant in bundle.manifest.variants if variant.precision == "fp32")
    reference = found[first.name, first.format]
    rows = []
    for variant in bundle.manifest.variants:
        figures = [value for (name, _), value in found.items() if name == variant.name]
        if figures:
            worst = min(figures)
            rows.append(_Judged(recipe.name, variant.name, variant.precision, worst, reference - worst, limit))
    return rows


def _streams(bundle: Bundle) -> dict[str, float]:
    """A thousand steps streamed, against the same run by hand on the same engine, and against the first engine's (fp32)."""
    found: dict[str, float] = {}
    first: list[dict[str, np.ndarray]] | None = None
    signature, sizes = bundle.manifest.signature, bundle.manifest.sizes
    steps = [seeded_inputs(signature.stateless_inputs, sizes, seed) for seed in range(STEPS)]
    for candidate in everywhere(bundle):
        session = open_candidate(bundle, candidate)
        stream, state = session.stream(), signature.zeros(sizes)
        streamed = [stream.run(step) for step in steps]
        by_hand = []
        for step in steps:
            outputs = session.run({**step, **state})
            state = {pair.input: outputs[pair.output] for pair in signature.state}
            by_hand.append(outputs)
        session.close()
        label = f"{candidate.variant.name} on {candidate.device.engine}"
        found[label] = max(_distance(one, other) for one, other in zip(streamed, by_hand, strict=True))
        if candidate.variant.precision == "fp32":
            first = first or streamed
            found[f"{label}, across"] = max(_distance(one, other) for one, other in zip(first, streamed, strict=True))
    return found


def _distance(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> float:
    return max(float(np.abs(array.astype(np.float64) - other[name]).max()) for name, array in one.items())


def _installed(engine: str) -> dict[str, object]:
    """What a device gets that installs the project with one engine, in a fresh environment: packages and megabytes."""
    root = Path(__file__).parents[1]
    with tempfile.TemporaryDirectory(prefix="install-") as room:
        python = Path(room, "bin", "python")
        _run([sys.executable, "-m", "venv", room])
        bare = _megabytes(Path(room))
        _run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"{root}[{engine}]"])
        listed = json.loads(_run([str(python), "-m", "pip", "list", "--format", "json", "--disable-pip-version-check"]))
        names = sorted(row["name"].lower() for row in listed if row["name"].lower() not in ("pip", "setuptools"))
        return {"megabytes": round(_megabytes(Path(room)) - bare, 1), "packages": names}


def _run(command: list[str]) -> bytes:
    done = subprocess.run(command, capture_output=True, check=False)  # noqa: S603
    if done.returncode:
        raise InputError(f"{' '.join(command[:5])} failed: {done.stderr.decode(errors='replace').strip()[-500:]}")
    return done.stdout


def _megabytes(folder: Path) -> float:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def _remade(path: Path) -> Report | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Report)
    except (OSError, msgspec.MsgspecError):
        return None


def _agreement_bars(ran: Sequence[_Ran]) -> list[Bar]:
    return [
        at_least("variants x engines that were run", len(ran), "", 1),
        at_most("of these, not right", sum(not row.right for row in ran), "", 0),
        at_most("fp32, furthest from golden", max(row.distance for row in ran if row.precision == "fp32"), "", 1e-4),
    ]


def _accuracy_bars(judged: Sequence[_Judged]) -> list[Bar]:
    over = [row for row in judged if row.precision == "int8" and not row.drop <= row.limit + 1e-9]
    bars = [at_most("int8 variants with a drop over their limit", len(over), "", 0)]
    best = {row.model: row.accuracy for row in judged if row.variant == "fp32-onnx"}
    for task, (light, heavy, ahead) in PARTNERS.items():
        gap = 100 * (best.get(heavy, float("nan")) - best.get(light, float("nan")))
        bars.append(at_least(f"{task}: the heavy partner ahead", round(gap, 6), "points", ahead))
    return bars


def _stream_bars(streams: dict[str, dict[str, float]]) -> list[Bar]:
    flat = {f"{model} {label}": value for model, rows in streams.items() for label, value in rows.items()}
    own = [value for label, value in flat.items() if not label.endswith("across")]
    across = [value for label, value in flat.items() if label.endswith("across")]
    return [
        at_most(f"{STEPS} steps streamed against by hand, same engine", max(own), "", 0.0),
        at_most("the same across engines, fp32", max(across), "", 1e-5),
    ]


def _install_bars(installed: dict[str, dict[str, object]]) -> list[Bar]:
    if not installed:
        return []
    found = {name for row in installed.values() for name in row["packages"] if name in TOOLCHAIN}  # type: ignore[attr-defined]
    return [at_most("packages of the toolchain on a device", len(found), "", 0)]


def _remade_bars(remade: Report | None) -> list[Bar]:
    minutes = float("nan") if remade is None else remade.seconds / 60
    trouble = float("nan") if remade is None else sum(bool(model.trouble) for model in remade.models)
    missing = float("nan") if remade is None else len(set(recipes.names()) - {model.name for model in remade.models})
    return [
        at_most("make zoo from nothing", minutes, "min", MAKE_ZOO),
        at_most(f"models not within {100 * POINT:g} point of their card", trouble, "", 0),
        at_most("models that make zoo left out", missing, "", 0),
    ]


def _lines(
    ran: Sequence[_Ran], judged: Sequence[_Judged], streams: dict[str, dict[str, float]],
    installed: dict[str, dict[str, object]],
) -> list[str]:  # fmt: skip
    lines = [f"{'model':22} {'variant':18} {'engine':22} {'distance':>9} {'within':>8}"]
    lines += [
        f"{row.model:22} {row.variant:18} {row.engine:22} {row.distance:9.2g} {row.tolerance or 0:8.2g}"
        f"{'' if row.right else f'  NOT RIGHT {row.trouble}'}"
        for row in ran
    ]
    lines.append(f"{'model':22} {'variant':18} {'accuracy':>9} {'drop':>8} {'limit':>6}")
    lines += [f"{row.model:22} {row.variant:18} {row.accuracy:9.4f} {row.drop:+8.4f} {row.limit:6.3f}" for row in judged]
    lines += [f"{model}: {label}: {value:.2g}" for model, rows in streams.items() for label, value in rows.items()]
    for engine, row in installed.items():
        lines.append(f"edge-runtime[{engine}] installs {row['megabytes']} MB: {', '.join(row['packages'])}")  # type: ignore[arg-type]
    return lines


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--packages", type=Path, default=Path(".packages"), metavar="DIR", help="where the data is")
    parser.add_argument(
        "--rebuilt", type=Path, default=Path("build/zoo/zoo.json"), help="what make zoo found (%(default)s)"
    )


if __name__ == "__main__":
    main("zoo", __doc__, run, add=_options)
