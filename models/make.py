"""From a recipe to a bundle: the fp32 variants gathered or trained, int8 ones made of them, each with what was measured."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

import msgspec

from edge_runtime import backends
from edge_runtime.backends.base import Session
from edge_runtime.bench.inputs import seeded_inputs
from edge_runtime.bundles import golden
from edge_runtime.bundles.archive import file_of
from edge_runtime.bundles.bundle import Bundle, read_bundle
from edge_runtime.bundles.manifest import MANIFEST, Manifest, Variant, encode
from edge_runtime.engines import Candidate, candidates, open_candidate, open_variant
from edge_runtime.errors import ArtifactError, EngineMissingError
from edge_runtime.optimize import Gate, Measure, Outcome, Trial, optimize, retention
from edge_runtime.values import Tensors
from models import recipe as recipes
from models.cards import Refusal
from models.gather import gather, labels, vocabulary
from models.recipe import Int8, Recipe
from models.trained import artifact, train

BUNDLE, GOLDEN = "bundle", "golden.npz"
SAMPLES = 8
"""Golden ones, where the model's calibration gives none of its own."""
SMALLEST = {"fp32": 1e-5, "fp16": 1e-2, "int8": 1e-2}
"""The tightest tolerance that is stated, by precision: engines sum in different orders."""
ROOM = 2.0
"""How much further than measured an output may be: other processors round elsewhere."""

Progress = Callable[[str, float], Any]
"""Told what is going on, and the share done."""


class Made(msgspec.Struct, frozen=True):
    """A bundle, and how it came out."""

    bundle: Bundle
    trials: tuple[Trial, ...] = ()
    missing: tuple[Refusal, ...] = ()
    """Variants that could not be made at all."""
    parameters: int | None = None
    training: float | None = None
    """Seconds."""


class Calibration(Protocol):
    """A model's `calibration.py`. It has a `measure`, or, where nothing is right or wrong, a `gate`; `golden` may be left
    out."""

    def samples(self, packages: Path) -> Sequence[Tensors]:
        """What to calibrate with."""
        ...

    def measure(self, packages: Path) -> Measure:
        """How accurate a session is, on held-out data."""
        ...

    def gate(self, packages: Path, tolerance: float) -> Gate:
        """What to judge new variants by: none of the samples."""
        ...

    def golden(self, packages: Path) -> Sequence[Tensors]:
        """A few inputs that are neither trained nor calibrated with."""
        ...


def make(recipe: Recipe, packages: Path, room: Path, progress: Progress = lambda what, share: None) -> Made:
    """Make a recipe's bundle in `room`/bundle: of what the packages carry, or of a net trained now.

    Variants that their gate refuses are left out, and their trials say why. Raises BundleError, also for a package that is
    missing or is another version, EngineMissingError without the toolchain, and what `optimize` raises.
    """
    for carried in recipe.carried:
        recipes.check(carried, packages)
    plain = room / "plain"
    plain.mkdir(parents=True)
    made = _carried(recipe, packages, plain) if recipe.trained is None else _trained(recipe, packages, plain, progress)
    refused = tuple(Refusal(name, reason) for name, reason in recipe.refused.items())
    trials: tuple[Trial, ...] = ()
    if recipe.int8 is not None:
        outcome = _optimized(recipe, recipe.int8, packages, made.bundle, room / "optimized", progress)
        trials, made = outcome.trials, msgspec.structs.replace(made, bundle=outcome.bundle or made.bundle)
    own, bare = own_calibration(recipe), any(variant.accuracy is None for variant in made.bundle.manifest.variants)
    if own is not None and hasattr(own, "measure") and bare:
        made = msgspec.structs.replace(made, bundle=_measured(made.bundle, own.measure(packages)))
    bundle = _stated(made.bundle, room / BUNDLE)
    return msgspec.structs.replace(made, bundle=bundle, trials=trials, missing=(*made.missing, *refused))


def calibration(name: str) -> Calibration:
    """The `calibration.py` of a model. Raises EngineMissingError when a package that it takes is not installed."""
    try:
        return cast("Calibration", import_module(f"models.{name}.calibration"))
    except ImportError as error:
        raise EngineMissingError(
            f"the calibration of {name} needs a package ({error}): pip install 'edge-runtime[demo]'"
        ) from error


def own_calibration(recipe: Recipe) -> Calibration | None:
    """The model's calibration, if it has one."""
    return calibration(recipe.name) if (recipes.HERE / recipe.name / "calibration.py").is_file() else None


def everywhere(bundle: Bundle) -> tuple[Candidate, ...]:
    """Each variant on the CPU of each engine here that claims its format."""
    return candidates(bundle.manifest, [device for device in backends.devices() if device.name == "CPU"])


def one_by_one(session: Session) -> Callable[[Tensors], Tensors]:
    """What runs golden samples: a state that is not in them is kept by a stream."""
    return session.stream().run if session.signature.hidden_state else session.run


def _carried(recipe: Recipe, packages: Path, folder: Path) -> Made:
    """What the packages carry."""
    manifest, refused = gather(recipe, packages, folder)
    return Made(_with_golden(recipe, manifest, packages, folder), missing=refused)


def _trained(recipe: Recipe, packages: Path, folder: Path, progress: Progress) -> Made:
    """A net, trained now, as ONNX and as TFLite."""
    exported = train(recipe, packages, folder, lambda done, total: progress("training", 0.6 * done / total))
    made = [form for form in ("onnx", "tflite") if (folder / artifact(recipe, form)).is_file()]
    own = {"tflite": exported.tflite_names}
    variants = tuple(
        Variant(f"fp32-{form}", form, "fp32", (file_of(folder, artifact(recipe, form)),), names=own.get(form, {}))
        for form in made
    )
    missing = (Refusal("fp32-tflite", exported.trouble),) if exported.trouble else ()
    manifest = recipe.described(variants, labels(recipe, packages, folder), vocabulary(recipe, packages, folder))
    bundle = _with_golden(recipe, manifest, packages, folder)
    return Made(bundle, missing=missing, parameters=exported.parameters, training=exported.seconds)


def _with_golden(recipe: Recipe, manifest: Manifest, packages: Path, folder: Path) -> Bundle:
    """The bundle of these files, with golden samples: their outputs are those of its first variant."""
    (folder / MANIFEST).write_bytes(encode(manifest))
    bundle = read_bundle(folder)
    inputs = _golden_inputs(recipe, manifest, packages)
    variant = manifest.variants[0]
    with closing(open_variant(bundle, variant, variant.format)) as session:  # a format's own engine is named like it
        run = one_by_one(session)
        outputs = [run(sample) for sample in inputs]
    golden.write(folder / GOLDEN, manifest.signature, inputs, outputs)
    (folder / MANIFEST).write_bytes(encode(msgspec.structs.replace(manifest, golden=file_of(folder, GOLDEN))))
    return read_bundle(folder)


def _golden_inputs(recipe: Recipe, manifest: Manifest, packages: Path) -> list[Tensors]:
    own = own_calibration(recipe)
    if own is not None and hasattr(own, "golden"):
        return list(own.golden(packages))
    return [seeded_inputs(manifest.signature.inputs, manifest.sizes, seed) for seed in range(SAMPLES)]


def _optimized(recipe: Recipe, int8: Int8, packages: Path, bundle: Bundle, out: Path, progress: Progress) -> Outcome:
    own = calibration(recipe.name)
    measured = hasattr(own, "measure")
    gate = retention(own.measure(packages), int8.tolerance) if measured else own.gate(packages, int8.tolerance)
    return optimize(
        bundle, own.samples(packages), gate, out=out, quantization=int8.quantization, only=int8.ways,
        progress=lambda done, total: progress("int8", done / total),
    )  # fmt: skip


def _measured(bundle: Bundle, measure: Measure) -> Bundle:
    """The same bundle, each variant that has no figure yet with its own: the worst of the engines'."""
    bare = {variant.name for variant in bundle.manifest.variants if variant.accuracy is None}
    found: dict[str, list[float]] = {}
    for candidate in everywhere(bundle):
        if candidate.variant.name in bare:
            with suppress(ArtifactError), closing(open_candidate(bundle, candidate)) as session:
                found.setdefault(candidate.variant.name, []).append(measure(session))
    if not found:
        return bundle
    variants = tuple(
        msgspec.structs.replace(variant, accuracy=measure.accuracy(float(f"{min(found[variant.name]):.4g}")))
        if variant.name in found
        else variant
        for variant in bundle.manifest.variants
    )
    (bundle.folder / MANIFEST).write_bytes(encode(msgspec.structs.replace(bundle.manifest, variants=variants)))
    return read_bundle(bundle.folder)


def _stated(bundle: Bundle, folder: Path) -> Bundle:
    """The bundle in `folder`, each variant with the tolerance that was found for it."""
    known = golden.load(bundle)
    variants = tuple(
        msgspec.structs.replace(variant, tolerance=stated(variant.precision, furthest(bundle, variant, known)))
        for variant in bundle.manifest.variants
    )
    shutil.copytree(bundle.folder, folder)
    (folder / MANIFEST).write_bytes(encode(msgspec.structs.replace(bundle.manifest, variants=variants)))
    return read_bundle(folder)


def furthest(bundle: Bundle, variant: Variant, known: tuple[list[Tensors], list[Tensors]]) -> float:
    """How far the variant is from the golden outputs, on the engine where it is furthest."""
    found = [0.0]
    for candidate in everywhere(bundle):
        if candidate.variant == variant:
            with suppress(ArtifactError), closing(open_candidate(bundle, candidate)) as session:
                found.append(golden.distance(one_by_one(session), *known))
    return max(found)


def stated(precision: str, measured: float) -> float:
    """The tolerance to state for what was measured: twice that, in two digits, and not below what rounding alone can do."""
    room = max(SMALLEST[precision], ROOM * measured)
    return float(f"{room:.1e}")
