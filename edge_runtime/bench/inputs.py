"""Inputs for models whose bundle has none."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edge_runtime.signature import TensorSpec
from edge_runtime.values import Array


def seeded_inputs(specs: tuple[TensorSpec, ...], sizes: Mapping[str, int], seed: int) -> dict[str, Array]:
    """Inputs of these shapes and dtypes: floats of mean 0 and deviation 1; bytes of any value; 0 or 1 for wider integers,
    which often index into a table."""
    random = np.random.default_rng(seed)
    inputs: dict[str, Array] = {}
    for spec in specs:
        dtype, shape = np.dtype(spec.dtype), spec.sized(sizes)
        if dtype.kind == "f":
            inputs[spec.name] = random.standard_normal(shape).astype(dtype)
        elif dtype.itemsize == 1 and dtype.kind in "iu":
            inputs[spec.name] = random.integers(np.iinfo(dtype).min, np.iinfo(dtype).max + 1, shape).astype(dtype)
        else:
            inputs[spec.name] = random.integers(0, 2, shape).astype(dtype)
    return inputs
