"""One model of a runtime: `infer` checks the inputs, plans, carries the plan out, observes, and returns a Result."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from math import isfinite
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING

import numpy as np

from edge_runtime.backends.base import Stream
from edge_runtime.bundles.manifest import Manifest
from edge_runtime.engines import Loaded
from edge_runtime.errors import BudgetError, EdgeError, InputError, LateError, ProtocolError, RemoteError
from edge_runtime.remote import Call, Pending, Remote, Reply
from edge_runtime.routing.estimate import CloudTimes, LocalTimes
from edge_runtime.routing.policy import Estimate, Plan, Policy, plan
from edge_runtime.signature import input_check
from edge_runtime.values import Array, Attempt, Result, Tensors

if TYPE_CHECKING:
    from concurrent.futures import Future

    Submit = Callable[[Callable[[], Result]], Future[Result]]


class Model:
    """A model that can be asked. Made by `Runtime.model`; every method may be called from several threads."""

    def __init__(
        self, manifest: Manifest, loaded: Loaded | None, remote: Remote | None, policy: Policy, submit: Submit
    ) -> None:
        if loaded is None and remote is None:
            raise InputError(f"{manifest.name} has neither a local variant nor a cloud to ask")
        self.manifest = manifest
        self._loaded = loaded
        self._remote = remote
        self._policy = policy
        self._submit = submit
        self._check = input_check(manifest.signature.inputs)
        self._local = None if loaded is None else Local(loaded)
        self._cloud_times = CloudTimes(policy)
        self._lock = Lock()

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def loaded(self) -> Loaded | None:
        """What runs on this device and why; None when the model can only be asked of the cloud."""
        return self._loaded

    def infer(self, inputs: Tensors, *, budget: float | None = None) -> Result:
        """Answer one call.

        `inputs` maps the signature's input names to arrays of its shapes and dtypes. `budget` is in seconds, from this call
        to its return; None sets no limit. Raises InputError for inputs or a budget that cannot be used; BudgetError when
        there is no local variant and the cloud gave no answer in time; RunError when the local engine failed.
        """
        return self._infer(inputs, budget, monotonic())

    def submit(self, inputs: Tensors, *, budget: float | None = None) -> Future[Result]:
        """`infer` on another thread. The budget counts from now, waiting for a thread included."""
        start = monotonic()
        return self._submit(lambda: self._infer(inputs, budget, start))

    async def ainfer(self, inputs: Tensors, *, budget: float | None = None) -> Result:
        """`infer`, awaited."""
        import asyncio  # here: most devices never await, and it is the largest import of all

        return await asyncio.wrap_future(self.submit(inputs, budget=budget))

    def stream(self) -> ModelStream:
        """A run of calls that carries the recurrent state from each to the next, on this device. Raises InputError when
        the model has no state or no local variant."""
        if self._local is None:
            raise InputError(f"{self.name} has no local variant; a stream runs on the device")
        return ModelStream(self.manifest, self._local)

    def warm_up(self, inputs: Tensors, runs: int) -> None:
        """Run the local variant a few times, so that routing knows how long it takes. The first run, in which an engine
        allocates and compiles, is not counted."""
        if self._local is not None:
            self._local.run(inputs)
            for _ in range(runs):
                self._local.answer(inputs, None, monotonic(), "")

    def _infer(self, inputs: Tensors, budget: float | None, start: float) -> Result:
        _check_budget(budget)
        self._check(inputs)
        local, remote = self._local, self._remote
        if remote is None:
            assert local is not None  # noqa: S101  (the constructor saw to it)
            return local.answer(inputs, budget, start, plan(budget, _LOCAL, None, self._policy, start).reason)
        call = Call(self.manifest.partner or self.name, inputs)
        with self._lock:
            here = None if local is None else local.times.estimate(call.size)
            chosen = plan(budget, here, self._cloud_times.estimate(), self._policy, start)
        if chosen.target == "local" and local is not None:
            return local.answer(inputs, budget, start, chosen.reason)
        return self._ask(remote, call, chosen, budget, start)

    def _ask(self, remote: Remote, call: Call, chosen: Plan, budget: float | None, start: float) -> Result:
        """Ask the cloud; where it fails or is not there by `chosen.hold`, let the local model take over."""
        limit = chosen.give_up if chosen.give_up is not None else self._policy.patience
        wait = limit if chosen.hold is None else chosen.hold
        pending: Pending | None = None
        asked = monotonic()
        try:
            pending = remote.send(call, deadline=start + limit)
            reply = pending.result(max(0.0, start + wait - monotonic()))
            return self._cloud_result(reply, budget, start, asked, chosen.reason)
        except RemoteError as error:
            if self._local is None or (chosen.hold is None and isinstance(error, LateError)):
                raise self._give_up(pending, error, start, asked) from error
            late = pending is not None and isinstance(error, LateError)
            return self._take_over(pending if late else None, error, call, chosen, budget, start, asked)

    def _take_over(
        self, pending: Pending | None, error: RemoteError, call: Call, chosen: Plan,
        budget: float | None, start: float, asked: float,
    ) -> Result:  # fmt: skip
        """The local run that was held back. A cloud answer that came while it ran is still the better one."""
        assert self._local is not None  # noqa: S101  (only called when there is one)
        try:
            result = self._local.answer(call.inputs, budget, start, "")
            if pending is not None:
                with suppress(RemoteError):
                    return self._cloud_result(pending.result(0.0), budget, start, asked, chosen.reason)
        finally:
            if pending is not None:
                pending.cancel()
        with self._lock:
            self._cloud_times.failed(monotonic())
        taken = result.attempts[0].started - (asked - start)
        attempt = Attempt("cloud", asked - start, taken, _outcome(error))
        reason = f"{chosen.reason}, but {_outcome(error)} after {taken * 1e3:.0f} ms; the local model took over"
        return Result(
            result.outputs, "local", result.engine, result.device, result.variant,
            result.elapsed, budget, (attempt, *result.attempts), reason,
        )  # fmt: skip

    def _give_up(self, pending: Pending | None, error: RemoteError, start: float, asked: float) -> EdgeError:
        if pending is not None:
            pending.cancel()
        now = monotonic()
        with self._lock:
            self._cloud_times.failed(now)
        attempt = Attempt("cloud", asked - start, now - asked, _outcome(error))
        return BudgetError(f"{self.name}: the cloud gave no answer ({_outcome(error)}) and no local run can", (attempt,))

    def _cloud_result(self, reply: Reply, budget: float | None, start: float, asked: float, reason: str) -> Result:
        _check_reply(self.manifest, reply)
        elapsed = monotonic() - start
        with self._lock:
            self._cloud_times.answered(elapsed)
        attempt = Attempt("cloud", asked - start, elapsed - (asked - start), "answered")
        return Result(
            reply.outputs, "cloud", reply.engine, reply.device, reply.variant, elapsed, budget, (attempt,), reason
        )  # fmt: skip


class Local:
    """The local variant: runs, and remembers how long it took."""

    def __init__(self, loaded: Loaded) -> None:
        self.loaded = loaded
        self.times = LocalTimes()
        self.run = loaded.session.run
        self._engine = loaded.session.device.engine
        self._device = loaded.session.device.name
        self._variant = loaded.candidate.variant.name

    def answer(self, inputs: Tensors, budget: float | None, start: float, reason: str) -> Result:
        """Run now and tell how it went."""
        began = monotonic()
        outputs = self.run(inputs)
        ended = monotonic()
        self.times.observe(sum(map(_nbytes, inputs.values())), ended - began)
        attempt = Attempt("local", began - start, ended - began, "answered")
        return self.result(outputs, ended - start, budget, (attempt,), reason)

    def result(
        self, outputs: Tensors, elapsed: float, budget: float | None, attempts: tuple[Attempt, ...], reason: str
    ) -> Result:
        """These outputs as a Result of this variant."""
        return Result(outputs, "local", self._engine, self._device, self._variant, elapsed, budget, attempts, reason)


class ModelStream:
    """Calls to a recurrent model on this device, its state carried along. One stream is for one thread at a time."""

    def __init__(self, manifest: Manifest, local: Local) -> None:
        self._stream: Stream = local.loaded.session.stream()
        self._local = local
        self._check = input_check(manifest.signature.stateless_inputs)

    def infer(self, inputs: Tensors, *, budget: float | None = None) -> Result:
        """The next step. `inputs` are those of the signature without the state; so are the outputs. A stream runs on this
        device whatever its `budget`, in seconds: the result tells whether it was met."""
        start = monotonic()
        _check_budget(budget)
        self._check(inputs)
        outputs = self._stream.run(inputs)
        elapsed = monotonic() - start
        attempt = Attempt("local", 0.0, elapsed, "answered")
        return self._local.result(outputs, elapsed, budget, (attempt,), "a stream keeps its state on this device")

    @property
    def state(self) -> dict[str, Array]:
        """The state now, by input name: a copy to keep, or to give to another stream of the same model."""
        return self._stream.state

    @state.setter
    def state(self, state: Tensors) -> None:
        self._stream.state = state

    def reset(self) -> None:
        """Begin again, as a new stream does."""
        self._stream.reset()


_LOCAL = Estimate("local", None)


def _check_budget(budget: float | None) -> None:
    if budget is not None and not (isfinite(budget) and budget > 0):
        raise InputError(f"a budget of {budget!r} s: give a positive number of seconds, or None for no limit")


def _nbytes(array: Array) -> int:
    return array.nbytes


def _outcome(error: EdgeError) -> str:
    return f"{type(error).__name__}: {error}"


def _check_reply(manifest: Manifest, reply: Reply) -> None:
    """Hold a cloud's answer against the signature: it crossed a network, and the application will index into it."""
    sizes: dict[str, int] = {}
    for spec in manifest.signature.outputs:
        array = reply.outputs.get(spec.name)
        if array is None:
            raise ProtocolError(f"the cloud's answer lacks output {spec.name!r}; it has {', '.join(reply.outputs)}")
        if array.dtype != np.dtype(spec.dtype) or array.ndim != len(spec.shape):
            raise ProtocolError(
                f"the cloud's output {spec.name!r} is {array.dtype} {list(array.shape)}, not as the manifest says"
            )
        for size, given in zip(spec.shape, array.shape, strict=True):
            known = sizes.setdefault(size, given) if isinstance(size, str) else size
            if known != given:
                raise ProtocolError(
                    f"the cloud's output {spec.name!r} has shape {list(array.shape)}, not {list(spec.shape)}"
                )
