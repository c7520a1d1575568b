"""From recipes to installed bundles."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

import msgspec

import edge_runtime.optimize
import edge_runtime.processing
from edge_runtime.bundles.bundle import Bundle, read_bundle
from edge_runtime.bundles.store import Store
from edge_runtime.errors import DigestError
from edge_runtime.optimize import Trial
from models import recipe as recipes
from models.cards import Refusal
from models.make import BUNDLE, Progress, make
from models.recipe import Recipe

BUILT = ".built"
"""In a model's folder of the store: the digest of what it was built with. It only tells what need not be built again."""

PROCESSING = Path(edge_runtime.processing.__file__).parent
OPTIMIZE = Path(edge_runtime.optimize.__file__).parent


class Built(msgspec.Struct, frozen=True):
    """A bundle that is in the store now."""

    bundle: Bundle
    fresh: bool
    """Whether it was built; False when it was there already."""
    trials: tuple[Trial, ...] = ()
    """Of the variants that were made just now."""
    refused: tuple[Refusal, ...] = ()
    """Variants that could not be made here, though the recipe knows of no reason, and why."""


def build(recipe: Recipe, packages: Path, store: Store, progress: Progress = lambda what, share: None) -> Built:
    """Install a recipe's bundle: of a net that is trained here the committed one, else one that is made of the packages
    now. What is in the store already, and whole, is left alone.

    A variant that its gate refuses is left out, and its trial says why. Raises BundleError, also for a package that is
    missing or is another version, and what `optimize` raises.
    """
    key = _key(recipe)
    if recipe.trained is None:
        for carried in recipe.carried:
            recipes.check(carried, packages)
    there = _installed(recipe, key, store)
    if there is not None:
        return Built(there, fresh=False)
    if recipe.trained is not None:
        built = Built(store.install(recipes.HERE / recipe.name / BUNDLE), fresh=True)
    else:
        with tempfile.TemporaryDirectory(prefix="bundle-") as room:
            made = make(recipe, packages, Path(room), progress)
            refused = tuple(refusal for refusal in made.missing if refusal.name not in recipe.refused)
            built = Built(store.install(made.bundle.folder), True, made.trials, refused)
    (store.path / recipe.name / BUILT).write_text(key)
    return built


def _installed(recipe: Recipe, key: str, store: Store) -> Bundle | None:
    """The bundle in the store, made active, if it was built with what is here now, and is whole."""
    if recipe.version not in store.versions(recipe.name) or _built_with(store, recipe.name) != key:
        return None
    bundle = store.bundle(recipe.name, recipe.version)
    try:
        store.verify(bundle)
    except DigestError:
        return None
    return store.activate(recipe.name, recipe.version)


def _key(recipe: Recipe) -> str:
    """A digest of all that the bundle comes out of: of the recipe and the code, or the committed bundle's own."""
    if recipe.trained is not None:
        return read_bundle(recipes.HERE / recipe.name / BUNDLE).digest
    digest = hashlib.sha256(msgspec.json.encode(recipe))
    own, shared = (recipes.HERE / recipe.name).glob("*.py"), recipes.HERE.glob("*.py")
    for path in (*sorted(own), *sorted(shared), *sorted(OPTIMIZE.glob("*.py")), *sorted(PROCESSING.glob("*.py"))):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _built_with(store: Store, name: str) -> str:
    try:
        return (store.path / name / BUILT).read_text()
    except FileNotFoundError:
        return ""
