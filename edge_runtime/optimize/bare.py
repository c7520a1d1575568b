"""A bundle of a model's file alone: its signature is what its engine tells of it, its name is the file's."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from edge_runtime import backends
from edge_runtime.bundles.archive import file_of
from edge_runtime.bundles.bundle import Bundle, read_bundle
from edge_runtime.bundles.manifest import MANIFEST, Manifest, Variant, encode
from edge_runtime.errors import BundleError

SUFFIXES = {".onnx": "onnx", ".tflite": "tflite"}
"""A file's suffix -> its format, which is the name of the engine that is asked."""


def bundle_of(file: Path, folder: Path) -> Bundle:
    """Make a bundle, version 1.0, of an fp32 .onnx or .tflite file in a folder that is there and empty. Its dimensions
    without a fixed size have 1 as the typical one, and no output is a state.

    Raises EngineMissingError and ArtifactError of the engine, BundleError for a file that cannot be read.
    """
    form = SUFFIXES[file.suffix]
    name = re.sub(r"[^a-z0-9_-]+", "-", file.stem.lower()).strip("-_")[:64] or "model"
    path = f"{name}.fp32{file.suffix}"
    try:
        shutil.copyfile(file, folder / path)
        files = (file_of(folder, path),)
    except OSError as error:
        raise BundleError(f"{file} cannot be read: {error.strerror or error}") from error
    session = backends.backend(form).load(folder / path)
    signature = session.signature
    session.close()
    sizes = {size: 1 for spec in signature.inputs for size in spec.shape if isinstance(size, str)}
    variant = Variant(f"fp32-{form}", form, "fp32", files)
    manifest = Manifest(
        name=name, version="1.0", task=f"made of {file.name}", signature=signature, variants=(variant,), sizes=sizes
    )
    (folder / MANIFEST).write_bytes(encode(manifest))
    return read_bundle(folder)
