"""What a pipeline asks of a model, and a session dressed as that."""

from __future__ import annotations

from time import monotonic
from typing import Protocol

from edge_runtime.values import Array, Attempt, Device, Result, Tensors


class Model(Protocol):
    """What the read and parity pipelines need: `edge_runtime.Model` has it."""

    def infer(self, inputs: Tensors, *, budget: float | None = None) -> Result: ...


class Steps(Protocol):
    """What the listen pipeline needs: a call that carries recurrent state. `edge_runtime.ModelStream` has it."""

    def infer(self, inputs: Tensors) -> Result: ...


class Runnable(Protocol):
    """A backend's session, or one of its streams."""

    def run(self, inputs: Tensors) -> dict[str, Array]: ...


class Direct:
    """A backend's session or stream as a model, with nothing between: no check, no plan, no cloud."""

    def __init__(self, runnable: Runnable, device: Device, variant: str = "") -> None:
        self._run = runnable.run
        self._device = device
        self._variant = variant

    def infer(self, inputs: Tensors, *, budget: float | None = None) -> Result:
        """Run now. `budget` only decides whether the result met it."""
        start = monotonic()
        outputs = self._run(inputs)
        elapsed = monotonic() - start
        attempt = Attempt("local", 0.0, elapsed, "answered")
        device = self._device
        return Result(
            outputs, "local", device.engine, device.name, self._variant, elapsed, budget, (attempt,), "asked directly"
        )  # fmt: skip
