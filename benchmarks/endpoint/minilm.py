"""MiniLM with any number of rows: the store's has one, for a device reads one sentence at a time."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from msgspec import structs

from edge_runtime.bundles.bundle import Bundle
from edge_runtime.bundles.installed import Installed
from edge_runtime.bundles.manifest import MANIFEST, Manifest, encode
from edge_runtime.signature import Signature, TensorSpec
from edge_runtime.values import Tensors

MODEL, VARIANT = "minilm", "int8-onnx-weights"
TOKENS = 32


def rows_of(store: Path, folder: Path) -> Bundle:
    """The bundle in this new folder: one variant, on the very file that the package carries."""
    bundle = Installed(store).bundle(MODEL)
    variant = next(variant for variant in bundle.manifest.variants if variant.name == VARIANT)
    folder.mkdir(parents=True)
    for file in variant.files:
        shutil.copy(bundle.folder / file.path, folder / file.path)
    described = bundle.manifest.signature
    signature = Signature(tuple(map(_rows, described.inputs)), tuple(map(_rows, described.outputs)))
    manifest = Manifest(
        name=MODEL, version="1.0", task=bundle.manifest.task, variants=(variant,), signature=signature,
        sizes={"N": 1, "T": TOKENS},
    )  # fmt: skip
    (folder / MANIFEST).write_bytes(encode(manifest))
    return Bundle(manifest, folder)


def sentences(rows: int, seed: int = 0) -> Tensors:
    """So many made-up sentences of 32 tokens."""
    ids = np.random.default_rng(seed).integers(1000, 20_000, (rows, TOKENS))
    return {"ids": ids, "mask": np.ones_like(ids), "types": np.zeros_like(ids)}


def _rows(spec: TensorSpec) -> TensorSpec:
    return structs.replace(spec, shape=("N", *spec.shape[1:]))
