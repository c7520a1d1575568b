"""digits_cnn as a judge: what do the digits look like that another net drew?"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edge_runtime import backends
from edge_runtime.bundles.bundle import read_bundle
from edge_runtime.errors import BundleError
from edge_runtime.values import Array

BUNDLE = Path(__file__).parent / "digits_cnn" / "bundle"
VARIANT = "fp32-onnx"


def read(pictures: Array, bundle: Path = BUNDLE) -> Array:
    """The digits that it reads in float32 [n, 1, 28, 28] of 0..1: int64 [n]. Raises BundleError when it is not built."""
    try:
        judge = read_bundle(bundle)
    except BundleError as error:
        raise BundleError(f"made digits are judged by digits_cnn, which is to be built before: {error}") from error
    variant = next(variant for variant in judge.manifest.variants if variant.name == VARIANT)
    session = backends.backend("onnx").load(judge.artifact(variant), signature=judge.manifest.signature)
    try:
        return np.array([session.run({"image": one[None]})["scores"].argmax() for one in pictures], np.int64)
    finally:
        session.close()
