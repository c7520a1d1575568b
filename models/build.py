"""From recipes to installed bundles."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

import msgspec

import edge_runtime.optimize
from edge_runtime.bundles.archive import file_of
from edge_runtime.bundles.bundle import Bundle, read_bundle
from edge_runtime.bundles.manifest import MANIFEST, Manifest, encode
from edge_runtime.bundles.store import Store
from edge_runtime.errors import BundleError, DigestError, EngineMissingError
from edge_runtime.optimize import Gate, Outcome, Progress, Trial, optimize
from edge_runtime.values import Tensors
from models import recipe as recipes
from models.cards import Refusal
from models.recipe import Int8, Part, Recipe

LABELS, VOCABULARY = "labels.txt", "vocabulary.txt"
BUILT = ".built.json"
"""In the store: model -> digest of what it was built with. It only tells what need not be built again."""

OPTIMIZE = Path(edge_runtime.optimize.__file__).parent


class Built(msgspec.Struct, frozen=True):
    """A bundle that is in the store now."""

    bundle: Bundle
    fresh: bool
    """Whether it was built; False when it was there already."""
    trials: tuple[Trial, ...] = ()
    """Of its int8 variants, if they were made just now."""
    refused: tuple[Refusal, ...] = ()
    """Variants that could not be made here, and why."""


class Maker(Protocol):
    """A module that a recipe's variant is `made` by."""

    def make(self, packages: Path, target: Path) -> None:
        """Write the artifact. Raises EngineMissingError where a tool for it is not installed."""
        ...


class Calibration(Protocol):
    """A model's `calibration.py`."""

    def samples(self, packages: Path) -> Sequence[Tensors]:
        """What to calibrate with."""
        ...

    def gate(self, bundle: Bundle, packages: Path, tolerance: float) -> Gate:
        """What to judge the bundle's new variant by: none of the samples."""
        ...


def build(recipe: Recipe, packages: Path, store: Store, progress: Progress = lambda done, total: None) -> Built:
    """Make a recipe's bundle from the packages and install it; what is in the store already, and whole, is left alone.

    An int8 variant that its gate refuses is left out, and its trial says why. Raises BundleError, also for a package that
    is missing or is another version, and what `optimize` raises.
    """
    for carried in recipe.carried:
        recipes.check(carried, packages)
    with tempfile.TemporaryDirectory(prefix="bundle-") as room:
        plain = Path(room, "plain")
        manifest, refused = _gather(recipe, packages, plain)
        key = _key(recipe)
        there = _installed(manifest, key, store)
        if there is not None:
            return Built(there, fresh=False, refused=refused)
        trials: tuple[Trial, ...] = ()
        made = plain
        if recipe.int8 is not None:
            outcome = _optimize(recipe, recipe.int8, packages, plain, progress)
            made, trials = (outcome.bundle.folder if outcome.bundle else plain), outcome.trials
        built = Built(store.install(made), fresh=True, trials=trials, refused=refused)
    _remember(store, recipe.name, key)
    return built


def _optimize(recipe: Recipe, int8: Int8, packages: Path, plain: Path, progress: Progress) -> Outcome:
    bundle = read_bundle(plain)
    calibration = _calibration(recipe.name)
    return optimize(
        bundle,
        calibration.samples(packages),
        calibration.gate(bundle, packages, int8.tolerance),
        out=plain.with_name("with-int8"),
        quantization=int8.quantization,
        progress=progress,
    )


def _gather(recipe: Recipe, packages: Path, folder: Path) -> tuple[Manifest, tuple[Refusal, ...]]:
    """The bundle's folder without int8: artifacts under plain names, labels, vocabulary, and the manifest."""
    folder.mkdir()
    files, refused = {}, []
    for part in recipe.variants:
        name = _artifact(recipe, part)
        try:
            _put(recipe, part, packages, folder / name)
        except EngineMissingError as error:
            if len(recipe.variants) == 1:
                raise
            refused.append(Refusal(part.name, str(error)))
        else:
            files[part.name] = file_of(folder, name)
    labels = vocabulary = None
    if known := _labels(recipe, packages):
        (folder / LABELS).write_bytes("".join(f"{label}\n" for label in known).encode())
        labels = file_of(folder, LABELS)
    if recipe.vocabulary:
        shutil.copyfile(packages / recipe.vocabulary, folder / VOCABULARY)
        vocabulary = file_of(folder, VOCABULARY)
    manifest = recipe.manifest(files, labels, vocabulary)
    (folder / MANIFEST).write_bytes(encode(manifest))
    return manifest, tuple(refused)


def _artifact(recipe: Recipe, part: Part) -> str:
    return f"{recipe.name}.{part.precision}{Path(part.file).suffix or '.' + part.format}"


def _put(recipe: Recipe, part: Part, packages: Path, target: Path) -> None:
    if part.file:
        shutil.copyfile(packages / part.file, target)
    else:
        cast("Maker", import_module(f"models.{recipe.name}.{part.made}")).make(packages, target)


def _labels(recipe: Recipe, packages: Path) -> tuple[str, ...]:
    labels = recipe.labels
    if labels is None:
        return recipe.classes
    path = packages / (labels.file or recipe.variants[0].file)
    known = _listed(path) if labels.file else _metadata(path)
    if labels.key not in known:
        raise BundleError(f"{path} has no {labels.key!r}; it has {', '.join(known) or 'none'}")
    return (*labels.before, *known[labels.key], *labels.after)


def _listed(path: Path) -> dict[str, list[str]]:
    """The lists of texts in a JSON object."""
    found = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    return {
        key: value
        for key, value in found.items()
        if isinstance(value, list) and all(isinstance(text, str) for text in value)
    }


def _metadata(path: Path) -> dict[str, list[str]]:
    """The lines of each text in an ONNX file's metadata."""
    try:
        import onnx
    except ImportError as error:
        raise EngineMissingError(f"onnx is needed to read labels ({error}): pip install 'edge-runtime[zoo]'") from error
    return {row.key: row.value.split("\n") for row in onnx.load(str(path), load_external_data=False).metadata_props}


def _installed(manifest: Manifest, key: str, store: Store) -> Bundle | None:
    """The bundle in the store, made active, if it is what the recipe makes now, and whole."""
    if manifest.version not in store.versions(manifest.name):
        return None
    bundle = store.bundle(manifest.name, manifest.version)
    known = {variant.name for variant in manifest.variants}
    before_int8 = tuple(variant for variant in bundle.manifest.variants if variant.name in known)
    if msgspec.structs.replace(bundle.manifest, variants=before_int8) != manifest:
        raise BundleError(
            f"{manifest.name} {manifest.version} in {store.path} is not what its recipe makes now: "
            "raise the recipe's version, or remove the store and build it anew"
        )
    try:
        store.verify(bundle)
    except DigestError:
        return None
    return store.activate(manifest.name, manifest.version) if _remembered(store).get(manifest.name) == key else None


def _key(recipe: Recipe) -> str:
    """A digest of the recipe, and of the code that int8 variants come out of."""
    digest = hashlib.sha256(msgspec.json.encode(recipe))
    if recipe.int8 is not None:
        own, shared = (recipes.HERE / recipe.name).glob("*.py"), recipes.HERE / "lettering.py"
        for path in (*sorted(own), shared, *sorted(OPTIMIZE.glob("*.py"))):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _remembered(store: Store) -> dict[str, str]:
    try:
        return msgspec.json.decode((store.path / BUILT).read_bytes(), type=dict[str, str])
    except (FileNotFoundError, msgspec.MsgspecError):
        return {}


def _remember(store: Store, name: str, key: str) -> None:
    fresh = store.path / f"{BUILT}.new"
    fresh.write_bytes(msgspec.json.encode({**_remembered(store), name: key}))
    fresh.replace(store.path / BUILT)


def _calibration(name: str) -> Calibration:
    try:
        return cast("Calibration", import_module(f"models.{name}.calibration"))
    except ImportError as error:
        raise EngineMissingError(
            f"the calibration of {name} needs a package ({error}): pip install 'edge-runtime[demo]'"
        ) from error
