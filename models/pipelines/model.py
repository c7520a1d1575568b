"""What a pipeline asks of a model, and a session dressed as that."""

from __future__ import annotations

from collections.abc import Mapping
from time import monotonic
from typing import Protocol

import msgspec

from edge_runtime.errors import InputError
from edge_runtime.processing.kinds import Raw
from edge_runtime.processing.process import Feed, Processor
from edge_runtime.values import Array, Attempt, Device, Result, Tensors


class Model(Protocol):
    """What the read and parity pipelines need: `edge_runtime.Model` has it."""

    def infer(self, inputs: Tensors | Raw, *, budget: float | None = None) -> Result: ...


class Steps(Protocol):
    """What the listen pipeline needs: a call that carries recurrent state. `edge_runtime.ModelStream` has it."""

    def infer(self, inputs: Tensors | Raw) -> Result: ...


class Runnable(Protocol):
    """A backend's session, or one of its streams."""

    def run(self, inputs: Tensors) -> dict[str, Array]: ...


class Direct:
    """A backend's session or stream as a model, with nothing between: no check, no plan, no cloud. With a processor it
    takes what that takes, one window after the other."""

    def __init__(self, runnable: Runnable, device: Device, variant: str = "", processor: Processor | None = None) -> None:
        self._run = runnable.run
        self._device = device
        self._variant = variant
        self._feed: Feed | None = None if processor is None else processor.feed()

    def infer(self, inputs: Tensors | Raw, *, budget: float | None = None) -> Result:
        """Run now. `budget` only decides whether the result met it."""
        start = monotonic()
        if not isinstance(inputs, Mapping):
            return self._infer_raw(inputs, budget, start)
        outputs = self._run(inputs)
        elapsed = monotonic() - start
        attempt = Attempt("local", 0.0, elapsed, "answered")
        device = self._device
        return Result(
            outputs, "local", device.engine, device.name, self._variant, elapsed, budget, (attempt,), "asked directly"
        )  # fmt: skip

    def _infer_raw(self, inputs: Raw, budget: float | None, start: float) -> Result:
        if self._feed is None:
            raise InputError("this session was given no processor: it takes tensors")
        call = self._feed.before(inputs)
        result = self.infer(call, budget=budget)
        answer = self._feed.after(inputs, call, result.outputs)
        return msgspec.structs.replace(result, answer=answer, elapsed=monotonic() - start)
