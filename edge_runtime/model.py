"""One model of a runtime: `infer` checks the inputs, plans, carries the plan out, observes, and returns a Result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct, structs

from edge_runtime import raw
from edge_runtime.bundles.bundle import Bundle
from edge_runtime.bundles.manifest import Manifest
from edge_runtime.engines import Loaded
from edge_runtime.errors import BudgetError, EdgeError, InputError, LateError, ProtocolError, RemoteError, RunError
from edge_runtime.local import Local, ModelStream, check_budget
from edge_runtime.remote import Call, Pending, Remote, Reply
from edge_runtime.routing.estimate import CloudTimes
from edge_runtime.routing.policy import Estimate, Plan, Policy, plan
from edge_runtime.signature import input_check
from edge_runtime.values import Attempt, Result, Tensors

if TYPE_CHECKING:
    from concurrent.futures import Future

    from edge_runtime.processing.kinds import Raw

    Submit = Callable[[Callable[[], Result]], Future[Result]]


class Model:
    """A model that can be asked. Made by `Runtime.model`; every method may be called from several threads."""

    def __init__(
        self, manifest: Manifest, loaded: Loaded | None, remote: Remote | None, policy: Policy, submit: Submit,
        bundle: Bundle | None = None,
    ) -> None:  # fmt: skip
        if loaded is None and remote is None:
            raise InputError(f"{manifest.name} has neither a local variant nor a cloud to ask")
        self.manifest = manifest
        self._loaded = loaded
        self._remote = remote
        self._policy = policy
        self._submit = submit
        self._check = input_check(manifest.signature.inputs)
        self._processors = raw.Processors(loaded.bundle if bundle is None and loaded is not None else bundle)
        self._local = None if loaded is None else Local(loaded, self._processors)
        self._cloud_times = CloudTimes(policy)
        self._lock = Lock()
        self.status = "ready"
        """What is being done about its engine while it serves, in words: another one is compiled, it is tuned again."""

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def loaded(self) -> Loaded | None:
        """What runs on this device and why; None when the model can only be asked of the cloud."""
        return self._loaded

    def adopt(self, loaded: Loaded) -> None:
        """Let another session serve from the next call on. Calls under way, and streams, stay on the one that they began
        with, which is freed when the last of them ends."""
        local = Local(loaded, self._processors)
        if self._local is not None:
            local.times = self._local.times
        self._loaded, self._local, self.status = loaded, local, "ready"

    def infer(self, inputs: Tensors | Raw, *, budget: float | None = None) -> Result:
        """Answer one call.

        `inputs` maps the signature's input names to arrays of its shapes and dtypes. Or it is what the manifest's
        processing takes, by itself, and the result has an `answer`:

            a picture     uint8 [height, width, 3], red first, or uint8 [height, width]
            a sound       float32 [samples] in -1..1, at the processing's rate
            a series      float32 [steps, channels]
            a text        str
            bytes         bytes
            a class       int, for a model that makes things up

        One that is longer than the model's window is taken in several calls, each within what is left of the budget; a
        model with state gets them as one new stream. Then `outputs` are joined along their first axis and have no state,
        `attempts` are those of all calls, and `target`, `engine`, `device`, `variant` and `reason` are the last one's.

        `budget` is in seconds, from this call to its return, processing included; None sets no limit. Raises InputError for
        inputs or a budget that cannot be used; BudgetError when the cloud gave no answer in time and no local run could
        have; RunError when the local engine failed; EngineMissingError when processing needs a package that is not here.
        """
        return self._infer(inputs, budget, monotonic())

    def submit(self, inputs: Tensors | Raw, *, budget: float | None = None) -> Future[Result]:
        """`infer` on another thread. The budget counts from now, waiting for a thread included."""
        start = monotonic()
        return self._submit(lambda: self._infer(inputs, budget, start))

    async def ainfer(self, inputs: Tensors | Raw, *, budget: float | None = None) -> Result:
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

    def _infer(self, inputs: Tensors | Raw, budget: float | None, start: float) -> Result:
        check_budget(budget)
        if not isinstance(inputs, (dict, Mapping)):  # dict first: Mapping by itself takes four times as long
            return self._infer_raw(inputs, budget, start)
        self._check(inputs)
        local, remote = self._local, self._remote
        if remote is None:
            assert local is not None  # noqa: S101  (the constructor saw to it)
            return local.answer(inputs, budget, start, plan(budget, _LOCAL, None, self._policy, start).reason)
        call = Call(self.manifest.partner or self.name, inputs)
        now = monotonic()
        left = None if budget is None else max(0.0, start + budget - now)  # it may have waited for a thread
        with self._lock:
            here = None if local is None else local.times.estimate(call.size)
            trial = _Trial(plan(left, here, self._cloud_times.estimate(now), self._policy, now), budget, start, now)
            if trial.plan.target == "cloud":
                self._cloud_times.asked(trial.until)
        if trial.plan.target == "local" and local is not None:
            return local.answer(inputs, budget, start, trial.plan.reason)
        return self._ask(remote, call, trial)

    def _infer_raw(self, inputs: Raw, budget: float | None, start: float) -> Result:
        processor = self._processors.get()
        if self.manifest.signature.recurrent:
            stream = self.stream()
            return raw.answer(processor, inputs, lambda call: raw.later(stream.infer, call, budget, start), start)
        return raw.answer(processor, inputs, lambda call: self._infer(call, budget, start), start)

    def _ask(self, remote: Remote, call: Call, trial: _Trial) -> Result:
        """Ask the cloud; where it fails or is not there by `plan.hold`, let the local model take over."""
        hold = trial.plan.hold
        pending: Pending | None = None
        try:
            try:
                pending = remote.send(call, deadline=trial.until)
                return self._accept(pending, trial, trial.until if hold is None else trial.asked + hold)
            except RemoteError as error:
                if self._local is None or (hold is None and isinstance(error, LateError)):
                    raise self._no_answer(error, trial) from error
                return self._take_over(self._local, call.inputs, pending, error, trial)
        finally:
            if pending is not None:
                pending.cancel()

    def _take_over(
        self, local: Local, inputs: Tensors, pending: Pending | None, error: RemoteError, trial: _Trial
    ) -> Result:
        """The local run that was held back. A cloud answer that came while it ran is still the better one, and where the
        local engine fails it is the only one."""
        result: Result | RunError
        until = trial.start
        try:
            result = local.answer(inputs, trial.budget, trial.start, "")
        except RunError as broken:
            result, until = broken, trial.until
        if pending is not None and isinstance(error, LateError):
            with suppress(RemoteError):
                answer = self._accept(pending, trial, until)
                ran = () if isinstance(result, RunError) else result.attempts
                return structs.replace(answer, attempts=answer.attempts + ran)
        with self._lock:
            self._cloud_times.failed(trial.asked, monotonic())
        if isinstance(result, RunError):
            raise result
        attempt = trial.attempt(trial.start + result.attempts[0].started, _outcome(error))
        reason = (
            f"{trial.plan.reason}, but {attempt.outcome} after {attempt.seconds * 1e3:.0f} ms; the local model took over"
        )
        return structs.replace(result, attempts=(attempt, *result.attempts), reason=reason)

    def _accept(self, pending: Pending, trial: _Trial, until: float) -> Result:
        """The cloud's answer, if it comes by `until` and is what the signature says."""
        reply = pending.result(max(0.0, until - monotonic()))
        _check_reply(self.manifest, reply)
        now = monotonic()
        with self._lock:
            self._cloud_times.answered(now - trial.asked, now)
        return Result(
            reply.outputs, "cloud", reply.engine, reply.device, reply.variant, now - trial.start, trial.budget,
            (trial.attempt(now, "answered"),), trial.plan.reason,
        )  # fmt: skip

    def _no_answer(self, error: RemoteError, trial: _Trial) -> BudgetError:
        now = monotonic()
        with self._lock:
            self._cloud_times.failed(trial.asked, now)
        attempt = trial.attempt(now, _outcome(error))
        return BudgetError(f"{self.name}: the cloud gave no answer ({attempt.outcome}) and no local run can", (attempt,))


class _Trial(Struct, frozen=True):
    """A call that went to the cloud. Instants are of `monotonic()`."""

    plan: Plan
    budget: float | None
    start: float
    asked: float
    """When it was planned, which the plan's times count from."""

    @property
    def until(self) -> float:
        """When the cloud's answer is of no use any more."""
        return self.asked + (self.plan.give_up or 0.0)

    def attempt(self, ended: float, outcome: str) -> Attempt:
        """The try at the cloud, now that it has ended."""
        return Attempt("cloud", self.asked - self.start, ended - self.asked, outcome)


_LOCAL = Estimate("local", None)


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
