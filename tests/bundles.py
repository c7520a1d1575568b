"""Small bundles on disk, for tests that need no engine to run them."""

from __future__ import annotations

import hashlib
from pathlib import Path

from edge_runtime.bundles.manifest import MANIFEST, File, Manifest, Variant, encode
from edge_runtime.signature import Signature, TensorSpec

SIGNATURE = Signature(inputs=(TensorSpec("x", "float32", ("N", 2)),), outputs=(TensorSpec("y", "float32", ("N", 2)),))


def file_of(path: str, data: bytes) -> File:
    """What a manifest says of this file."""
    return File(path, hashlib.sha256(data).hexdigest(), len(data))


def manifest_of(
    *files: File, name: str = "double", version: str = "1.0", labels: File | None = None, task: str = "test"
) -> Manifest:
    """A manifest with one variant of these files."""
    variants = (Variant("fp32-onnx", "onnx", "fp32", files),) if files else ()
    return Manifest(
        name=name, version=version, task=task, signature=SIGNATURE, variants=variants, sizes={"N": 1}, labels=labels
    )


def write_bundle(folder: Path, version: str = "1.0", *, name: str = "double", data: bytes = b"weights") -> Path:
    """A bundle's folder with one file of its own, one below a folder, and labels."""
    contents = {"model.onnx": data, "extra/weights.bin": data * 1000, "labels.txt": b"\na\n \n"}
    described = {path: file_of(path, content) for path, content in contents.items()}
    manifest = manifest_of(
        described["model.onnx"],
        described["extra/weights.bin"],
        name=name,
        version=version,
        labels=described["labels.txt"],
    )
    for path, content in {**contents, MANIFEST: encode(manifest)}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder
