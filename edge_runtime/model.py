"""One model of a runtime: `infer` checks the inputs, plans, carries the plan out, observes, and returns a Result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import monotonic
from typing import TYPE_CHECKING

from edge_runtime import raw
from edge_runtime.bundles.bundle import Bundle
from edge_runtime.bundles.manifest import Manifest
from edge_runtime.dispatch import Dispatch
from edge_runtime.engines import Loaded
from edge_runtime.errors import BudgetError, InputError
from edge_runtime.local import Local, ModelStream, check_budget
from edge_runtime.race import Race, answer_here
from edge_runtime.remote import Call, nbytes
from edge_runtime.routing.events import Done
from edge_runtime.routing.policy import ON_DEVICE, Request
from edge_runtime.signature import input_check
from edge_runtime.tally import Tally
from edge_runtime.values import Result, Tensors

if TYPE_CHECKING:
    from concurrent.futures import Future

    from edge_runtime.processing.kinds import Raw

    Submit = Callable[[Callable[[], Result]], Future[Result]]


class Model:
    """A model that can be asked. Made by `Runtime.model`; every method may be called from several threads."""

    def __init__(
        self, manifest: Manifest, loaded: Loaded | None, dispatch: Dispatch | None, submit: Submit,
        bundle: Bundle | None = None,
    ) -> None:  # fmt: skip
        if loaded is None and dispatch is None:
            raise InputError(f"{manifest.name} has neither a local variant nor a cloud to ask")
        self.manifest = manifest
        self.key = f"{manifest.name} {manifest.version}"
        """What routing knows it by."""
        self._loaded = loaded
        self._dispatch = dispatch
        self._submit = submit
        self._check = input_check(manifest.signature.inputs)
        self._processors = raw.Processors(loaded.bundle if bundle is None and loaded is not None else bundle)
        self._local = None if loaded is None else Local(loaded, self._processors)
        self.status = "ready"
        """What is being done about its engine while it serves, in words: another one is compiled, it is tuned again."""
        self.budget: float | None = None
        """Seconds that a call may take which names no budget: see `Runtime.budgets`."""
        self.tally: Tally | None = None
        """Where its calls are counted, while somebody watches: see `Runtime.watch`."""

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
        self._loaded, self._local, self.status = loaded, Local(loaded, self._processors), "ready"

    def infer(self, inputs: Tensors | Raw, *, budget: float | None = None, best_effort: bool = False) -> Result:
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

        `budget` is in seconds, from this call to its return, processing included; None sets no limit but the model's own,
        where it was given one (`Runtime.budgets`). Where no answer can
        be expected within it the caller learns at once, with the time predicted; with `best_effort` it is tried all the
        same.

        Raises InputError for inputs or a budget that cannot be used; BudgetError when no answer can be expected, and when
        the cloud gave none in time and no local run could; RunError when the local engine failed; EngineMissingError when
        processing needs a package that is not here.
        """
        if self.tally is None:
            return self._infer(inputs, budget, best_effort, monotonic())
        return self._counted(inputs, budget, best_effort, monotonic())

    def submit(self, inputs: Tensors | Raw, *, budget: float | None = None, best_effort: bool = False) -> Future[Result]:
        """`infer` on another thread. The budget counts from now, waiting for a thread included."""
        start = monotonic()
        return self._submit(lambda: self._counted(inputs, budget, best_effort, start))

    async def ainfer(self, inputs: Tensors | Raw, *, budget: float | None = None, best_effort: bool = False) -> Result:
        """`infer`, awaited."""
        import asyncio  # here: most devices never await, and it is the largest import of all

        return await asyncio.wrap_future(self.submit(inputs, budget=budget, best_effort=best_effort))

    def stream(self) -> ModelStream:
        """A run of calls that carries the recurrent state from each to the next, on this device. Raises InputError when
        the model has no state or no local variant."""
        return self._stream(lambda: self.tally)

    def warm_up(self, inputs: Tensors, runs: int) -> tuple[int, float, float] | None:
        """Run the local variant a few times. The first run, in which an engine allocates and compiles, is not counted.
        Returns bytes of input, typical and slowest seconds; None without a local variant."""
        if self._local is None:
            return None
        self._local.run(inputs)
        seconds = sorted(self._local.answer(inputs, None, monotonic(), "").elapsed for _ in range(runs))
        return Call(self.name, inputs).size, seconds[runs // 2], seconds[-1]

    def _stream(self, tally: Callable[[], Tally | None]) -> ModelStream:
        if self._local is None:
            raise InputError(f"{self.name} has no local variant; a stream runs on the device")
        return ModelStream(self.manifest, self._local, tally)

    def _counted(self, inputs: Tensors | Raw, budget: float | None, best_effort: bool, start: float) -> Result:
        tally = self.tally
        if tally is None:
            return self._infer(inputs, budget, best_effort, start)
        with tally.call():
            return self._infer(inputs, budget, best_effort, start)

    def _infer(self, inputs: Tensors | Raw, budget: float | None, best_effort: bool, start: float) -> Result:
        if budget is None:
            budget = self.budget
        else:
            check_budget(budget)
        if not isinstance(inputs, (dict, Mapping)):  # dict first: Mapping by itself takes four times as long
            return self._infer_raw(inputs, budget, best_effort, start)
        self._check(inputs)
        local, dispatch = self._local, self._dispatch
        if dispatch is None:
            assert local is not None  # noqa: S101  (the constructor saw to it)
            return local.answer(inputs, budget, start, ON_DEVICE.reason)
        size = nbytes(inputs)
        left = None if budget is None else max(0.0, start + budget - monotonic())  # it may have waited for a thread
        number, plan = dispatch.plan(Request(self.key, left, size, dispatch.draw(), best_effort))
        if plan.target == "none":
            dispatch.observe(Done(monotonic(), number, "none", monotonic() - start, False))
            raise BudgetError(f"{self.name}: {plan.reason}; best_effort=True tries all the same")
        if plan.target == "local" and local is not None:
            return answer_here(dispatch, number, plan, local, inputs, size, budget, start)
        call = Call(self.manifest.partner or self.name, inputs)
        return Race(dispatch, number, plan, self.manifest, local, call, budget, start).run()

    def _infer_raw(self, inputs: Raw, budget: float | None, best_effort: bool, start: float) -> Result:
        processor = self._processors.get()
        if self.manifest.signature.recurrent:
            stream = self._stream(lambda: None)  # the whole of it is one call
            return raw.answer(processor, inputs, lambda call: raw.later(stream.infer, call, budget, start), start)
        return raw.answer(processor, inputs, lambda call: self._infer(call, budget, best_effort, start), start)
