"""What is not tensors yet (a picture, a sound, a text, ...): taken through a bundle's processing, one call or many."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Protocol

import numpy as np
from msgspec import structs

from edge_runtime.bundles.bundle import Bundle
from edge_runtime.errors import InputError
from edge_runtime.values import Result, Tensors

if TYPE_CHECKING:
    from edge_runtime.processing.kinds import Raw
    from edge_runtime.processing.process import Processor

Ask = Callable[[Tensors], Result]
"""One call, on tensors without state."""


class Infer(Protocol):
    """A stream's `infer`, whose times count from its own begin."""

    def __call__(self, inputs: Tensors, *, budget: float | None) -> Result: ...


class Processors:
    """A bundle's processor, made when it is first asked for."""

    def __init__(self, bundle: Bundle | None) -> None:
        self._bundle = bundle
        self._made: Processor | None = None

    def get(self) -> Processor:
        """Raises what `Bundle.processor` raises. Two threads may both make it: it holds no state."""
        if self._made is None:
            if self._bundle is None:
                raise InputError("this model was made without a bundle: give tensors by name, {name: array}")
            self._made = self._bundle.processor()
        return self._made


def answer(processor: Processor, raw: Raw, ask: Ask, start: float) -> Result:
    """Through processing, every call, and processing again.

    The result's outputs are those of all calls, joined along their first axis; its attempts are those of all calls; where
    it ran and why is the last call's; its time is from `start` to the answer.
    """
    calls = processor.before(raw)
    results = [ask(call) for call in calls]
    given = processor.after(raw, calls, [result.outputs for result in results])
    return _joined(results, monotonic() - start, given)


def later(infer: Infer, call: Tensors, budget: float | None, start: float) -> Result:
    """One call of something that began at `start`: the times of its attempts count from there."""
    began = monotonic() - start
    result = infer(call, budget=budget)
    attempts = tuple(structs.replace(attempt, started=attempt.started + began) for attempt in result.attempts)
    return structs.replace(result, attempts=attempts)


def _joined(results: Sequence[Result], elapsed: float, given: object) -> Result:
    last = results[-1]
    if len(results) == 1:
        return structs.replace(last, elapsed=elapsed, answer=given)
    return structs.replace(
        last,
        outputs={name: np.concatenate([result.outputs[name] for result in results]) for name in last.outputs},
        elapsed=elapsed,
        attempts=tuple(attempt for result in results for attempt in result.attempts),
        reason=f"{last.reason} (the last of {len(results)} calls)",
        answer=given,
    )
