"""A model's local variant: run under a Result, or as a stream that carries recurrent state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from threading import TIMEOUT_MAX
from time import monotonic
from typing import TYPE_CHECKING

from msgspec import structs

from edge_runtime.backends.base import Stream
from edge_runtime.bundles.manifest import Manifest
from edge_runtime.engines import Loaded
from edge_runtime.errors import InputError
from edge_runtime.raw import Processors, later
from edge_runtime.signature import input_check
from edge_runtime.tally import Tally
from edge_runtime.values import Array, Attempt, Result, Tensors

if TYPE_CHECKING:
    from edge_runtime.processing.kinds import Raw
    from edge_runtime.processing.process import Feed


class Local:
    """The local variant."""

    def __init__(self, loaded: Loaded, processors: Processors) -> None:
        self.loaded = loaded
        self.processors = processors
        self.key = f"{loaded.bundle.manifest.name} {loaded.bundle.manifest.version}"
        self.run = loaded.session.run
        self._engine = loaded.session.device.engine
        self._device = loaded.session.device.name
        self._variant = loaded.candidate.variant.name

    def answer(self, inputs: Tensors, budget: float | None, start: float, reason: str) -> Result:
        """Run now and tell how it went."""
        began = monotonic()
        outputs = self.run(inputs)
        ended = monotonic()
        attempt = Attempt("local", began - start, ended - began, "answered")
        return self.result(outputs, ended - start, budget, (attempt,), reason)

    def result(
        self, outputs: Tensors, elapsed: float, budget: float | None, attempts: tuple[Attempt, ...], reason: str
    ) -> Result:
        """These outputs as a Result of this variant."""
        return Result(outputs, "local", self._engine, self._device, self._variant, elapsed, budget, attempts, reason)


class ModelStream:
    """Calls to a recurrent model on this device, its state carried along. One stream is for one thread at a time."""

    def __init__(self, manifest: Manifest, local: Local, tally: Callable[[], Tally | None] = lambda: None) -> None:
        """`tally` tells where its calls are counted, if anywhere."""
        self._tally = tally
        self._stream: Stream = local.loaded.session.stream()
        self._local = local
        self._check = input_check(manifest.signature.stateless_inputs)
        self._feed: Feed | None = None

    def infer(self, inputs: Tensors | Raw, *, budget: float | None = None) -> Result:
        """The next step. `inputs` are those of the signature without the state; so are the outputs. Or it is what the
        manifest's processing takes, the new samples (steps) of one window alone: the context before them is kept here, and
        the result has an `answer`, whose times count from the stream's beginning.

        A stream runs on this device whatever its `budget`, in seconds: the result tells whether it was met."""
        start, tally = monotonic(), self._tally()
        if tally is None:
            return self._infer(inputs, budget, start)
        with tally.call():
            return self._infer(inputs, budget, start)

    def _step(self, inputs: Tensors, *, budget: float | None) -> Result:
        return self._infer(inputs, budget, monotonic())

    def _infer(self, inputs: Tensors | Raw, budget: float | None, start: float) -> Result:
        check_budget(budget)
        if not isinstance(inputs, (dict, Mapping)):  # dict first: Mapping by itself takes four times as long
            return self._infer_raw(inputs, budget, start)
        self._check(inputs)
        outputs = self._stream.run(inputs)
        elapsed = monotonic() - start
        attempt = Attempt("local", 0.0, elapsed, "answered")
        return self._local.result(outputs, elapsed, budget, (attempt,), "a stream keeps its state on this device")

    def _infer_raw(self, inputs: Raw, budget: float | None, start: float) -> Result:
        if self._feed is None:
            self._feed = self._local.processors.get().feed()
        call = self._feed.before(inputs)
        result = later(self._step, call, budget, start)
        answer = self._feed.after(inputs, call, result.outputs)
        return structs.replace(result, answer=answer, elapsed=monotonic() - start)

    @property
    def state(self) -> dict[str, Array]:
        """The state now, by input name: a copy to keep, or to give to another stream of the same model. The context that
        was kept of what was handed over without being tensors is no part of it."""
        return self._stream.state

    @state.setter
    def state(self, state: Tensors) -> None:
        self._stream.state = state

    def reset(self) -> None:
        """Begin again, as a new stream does."""
        self._stream.reset()
        self._feed = None


def check_budget(budget: float | None) -> None:
    """Raise InputError for what is no duration, or a longer one than a thread can wait."""
    if budget is None:
        return
    try:
        right = 0.0 < budget <= TIMEOUT_MAX and budget is not True
    except (TypeError, ValueError):
        right = False
    if not right:
        raise InputError(f"a budget of {repr(budget)[:40]} s: give a positive number of seconds, or None for no limit")
