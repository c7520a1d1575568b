"""Calls that run together: their inputs joined along the first dimension, the outputs split again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from edge_runtime.bench.inputs import seeded_inputs
from edge_runtime.bundles import golden
from edge_runtime.errors import RunError
from edge_runtime.signature import Signature
from edge_runtime.values import Array, Tensors

EXACT = 1e-3
"""How far the outputs of rows that ran together may be from those of each alone, where a variant states no tolerance."""


def joinable(
    run: Callable[[Tensors], Tensors], signature: Signature, sizes: Mapping[str, int], tolerance: float | None
) -> bool:
    """Whether rows of different calls may run together: one name is the first dimension of every input and output, and a
    trial shows that each row comes out as it does alone. Nothing that is told of a model can say the latter: a net that
    looks over all its rows, or scales them together, has the same signature as one that does not."""
    if signature.batch is None:
        return False
    alone = [seeded_inputs(signature.inputs, {**sizes, signature.batch: rows}, rows) for rows in (1, 2, 1)]
    try:
        apart = [run(inputs) for inputs in alone]
        together = split(run(join(alone)), [1, 2, 1])
    except RunError:
        return False
    answers = iter(together)
    return golden.distance(lambda _: next(answers), alone, apart) <= (EXACT if tolerance is None else tolerance)


def join(calls: Sequence[Tensors]) -> Tensors:
    """One call with the rows of all."""
    if len(calls) == 1:
        return calls[0]
    return {name: np.concatenate([inputs[name] for inputs in calls]) for name in calls[0]}


def split(outputs: Tensors, rows: Sequence[int]) -> list[Tensors]:
    """The outputs of each call again. Raises RunError where there are not as many rows as went in."""
    if len(rows) == 1:
        return [outputs]
    ends = np.cumsum(rows)
    if any(not array.ndim or len(array) != ends[-1] for array in outputs.values()):
        raise RunError("the outputs do not have as many rows as the inputs")
    return [
        {name: part(array, int(end) - count, int(end)) for name, array in outputs.items()}
        for count, end in zip(rows, ends, strict=True)
    ]


def part(array: Array, begin: int, end: int) -> Array:
    """These rows, as a view."""
    found: Array = array[begin:end]
    return found
