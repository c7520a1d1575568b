"""From a recipe to the files of its bundle: artifacts of packages, or made of them; labels, vocabulary, manifest."""

from __future__ import annotations

import shutil
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

import msgspec

from edge_runtime.bundles.archive import file_of
from edge_runtime.bundles.manifest import MANIFEST, File, Manifest, encode
from edge_runtime.errors import BundleError, EngineMissingError
from models.cards import Refusal
from models.recipe import Part, Recipe

LABELS, VOCABULARY = "labels.txt", "vocabulary.txt"


class Maker(Protocol):
    """A module that a recipe's variant is `made` by."""

    def make(self, packages: Path, target: Path) -> None:
        """Write the artifact. Raises EngineMissingError where a tool for it is not installed."""
        ...


def gather(recipe: Recipe, packages: Path, folder: Path) -> tuple[Manifest, tuple[Refusal, ...]]:
    """Fill a bundle's folder with what packages carry: artifacts under plain names, labels, vocabulary, and the manifest.
    A variant for which a tool is missing is left out, unless there is no other."""
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
    manifest = recipe.manifest(files, labels(recipe, packages, folder), vocabulary(recipe, packages, folder))
    (folder / MANIFEST).write_bytes(encode(manifest))
    return manifest, tuple(refused)


def labels(recipe: Recipe, packages: Path, folder: Path) -> File | None:
    """Write the labels, if the model has any."""
    known = labels_of(recipe, packages)
    if not known:
        return None
    (folder / LABELS).write_bytes("".join(f"{label}\n" for label in known).encode())
    return file_of(folder, LABELS)


def labels_of(recipe: Recipe, packages: Path) -> tuple[str, ...]:
    """The labels that a recipe gives or names, in the order of the classes; none if it has none. Raises BundleError."""
    wanted = recipe.labels
    if wanted is None:
        return recipe.classes
    path = packages / (wanted.file or recipe.variants[0].file)
    known = _listed(path) if wanted.file else _metadata(path)
    if wanted.key not in known:
        raise BundleError(f"{path} has no {wanted.key!r}; it has {', '.join(known) or 'none'}")
    return (*wanted.before, *known[wanted.key], *wanted.after)


def vocabulary(recipe: Recipe, packages: Path, folder: Path) -> File | None:
    """Copy the vocabulary, if the model has one."""
    if not recipe.vocabulary:
        return None
    shutil.copyfile(packages / recipe.vocabulary, folder / VOCABULARY)
    return file_of(folder, VOCABULARY)


def _artifact(recipe: Recipe, part: Part) -> str:
    """fp32-onnx is in minilm.fp32.onnx, int8-onnx-weights in minilm.int8-weights.onnx."""
    stem = part.name.replace(f"-{part.format}", "", 1)
    return f"{recipe.name}.{stem}{Path(part.file).suffix or '.' + part.format}"


def _put(recipe: Recipe, part: Part, packages: Path, target: Path) -> None:
    if part.file:
        shutil.copyfile(packages / part.file, target)
    else:
        cast("Maker", import_module(f"models.{recipe.name}.{part.made}")).make(packages, target)


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
