"""A model's labels, from where its recipe says that they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from edge_runtime.errors import BundleError, EngineMissingError
from models.recipe import Recipe


def labels_of(recipe: Recipe, packages: Path) -> tuple[str, ...]:
    """The labels that a recipe gives or names, in the order of the classes; none if it has none. Raises BundleError."""
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
        raise EngineMissingError(
            f"onnx is needed to read labels ({error}): pip install 'edge-runtime[optimize]'"
        ) from error
    return {row.key: row.value.split("\n") for row in onnx.load(str(path), load_external_data=False).metadata_props}
