"""The endpoint's core: messages in, answers out, whatever carried them. Models run through the device's own backends, in
the order and together as the scheduler says."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from importlib import metadata
from time import monotonic
from typing import TYPE_CHECKING

from cloud_bridge.endpoint.jobs import (
    Answer,
    Call,
    Form,
    Job,
    answer_of,
    check_time,
    defect,
    ran,
    rank,
    settle,
    spare,
)
from cloud_bridge.endpoint.metrics import Metrics
from cloud_bridge.endpoint.models import Model, Models
from cloud_bridge.endpoint.opening import Opening
from cloud_bridge.endpoint.room import Room
from cloud_bridge.endpoint.schedule import NEVER, Work
from cloud_bridge.endpoint.statistics import Statistics
from cloud_bridge.endpoint.workers import AT_ONCE, Done, Workers, shutting_down, step_back
from cloud_bridge.protocol import oip
from cloud_bridge.protocol.message import LIMITS, Limits, Message, remaining
from cloud_bridge.protocol.repository import IndexEntry
from edge_runtime.bundles.store import Bundle, Store
from edge_runtime.engines import Loaded
from edge_runtime.errors import EdgeError, InputError, RefusedError

if TYPE_CHECKING:
    from cloud_bridge.endpoint.tracing import Tracing

VERSION = metadata.version("edge-runtime")

EXTENSIONS = (oip.BINARY_EXTENSION, "schedule_policy", "statistics", oip.PROBE_EXTENSION, oip.CHUNKS_EXTENSION)
"""Of the protocol, as Triton names them, and our own."""

PLATFORM = "edge_runtime"

HELD = 512 << 20
"""Bytes that all requests may hold in memory, from their first byte to their answer."""

WORKERS, ROWS = 2, 32
"""Batches at once, and rows together, where nothing was measured."""

CANCELLED = 499
"""The status of a call that nobody waits for any more, for those who count."""


class Service:
    """Runs the bundles of a store for whoever asks. Every method may be called from any thread.

    `workers` batches of calls run at once (unless given, as many as tuning found best) and `waiting` more calls wait; one
    more is refused at once (503), and so is one that could not be answered within its budget, with the time after which it
    could. Calls of one model on inputs of one shape run together, where the model lets them: as many rows as tuning found
    best, and no more than `rows`. One whose budget is over when its turn comes is not run (504). Models are opened when
    they are first asked for, by `opener`; the `models` that were used last are kept open. `room` is for what carries
    requests here: they take their bytes from it, `held` in all. A run that is known to take no more than `quick` seconds is
    done on the thread that brings the call, if nothing else runs. With `control` whoever may ask may also load and unload
    models. `tracing` is told of each call's end. Raises InputError where the store's plans are damaged.
    """

    def __init__(
        self,
        store: Store,
        *,
        workers: int | None = None,
        waiting: int = 64,
        models: int = 16,
        rows: int = 1024,
        limits: Limits = LIMITS,
        held: int = HELD,
        quick: float = AT_ONCE,
        control: bool = False,
        opener: Callable[[Bundle], Loaded] | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        opening = Opening(store)
        if workers is None:
            workers = opening.plans.calls or WORKERS
        if min(workers, models, rows) < 1 or waiting < 0:
            raise InputError("a service needs at least 1 worker, 1 row, room for 1 model, and no less than 0 waiting calls")
        self.limits = limits
        self.control = control
        self.at_once = workers
        """Batches that run at once."""
        self._tracing = tracing
        self.room = Room(held)
        self._places = threading.BoundedSemaphore(workers + waiting)
        self._readers = ThreadPoolExecutor(2, thread_name_prefix="endpoint-reader", initializer=step_back)
        self._models = Models(
            store, opener or opening, models, rows=lambda manifest: min(rows, opening.rows(manifest) or ROWS),
            later=self._try_later,
        )  # fmt: skip
        self.statistics = Statistics()
        self.metrics = Metrics(lambda: self._workers.waiting, lambda: self._workers.backlog())
        self._workers = Workers(workers, self._note, quick)

    def submit(
        self, model: str, version: str | None, message: Message, *, received: float, form: Form = oip
    ) -> Future[Answer]:
        """Start a call and return at once. `received` is the instant of `time.monotonic()` at which it began to arrive: its
        budget counts from there; `form` is how it is written, and its answer is to be.

        The future gives an Answer and raises nothing; cancelling it before its turn comes drops the call.
        """
        future: Future[Answer] = Future()
        future.add_done_callback(self._count)
        try:
            budget = remaining(message)
            deadline = None if budget is None else received + budget
            check_time(deadline)
            call = Call(model, version, message, received, monotonic(), deadline, future, form)
            if self._tracing is not None:
                future.add_done_callback(partial(self._trace, self._tracing, call))
            self._admit(call)
        except EdgeError as error:
            settle(future, error)
        return future

    def server(self) -> oip.ServerMetadata:
        """What this is, and which extensions of the protocol it speaks."""
        return told(control=self.control)

    def check_ready(self) -> None:
        """Raises RefusedError when no call could be answered now. Its workers are here as long as this is."""

    def metadata(self, model: str, version: str | None = None) -> oip.ModelMetadata:
        """What a model takes and gives. Raises NotInstalledError."""
        bundle = self._models.bundle(model, version)
        return oip.describe(model, self._models.versions(model), PLATFORM, bundle.manifest.signature)

    def index(self) -> list[IndexEntry]:
        """Every version of every model in the store, and whether it is open."""
        return self._models.index()

    def open(self, model: str, version: str | None = None) -> None:
        """Open a model now, rather than at its first call. Raises NotInstalledError or a BackendError."""
        self._readers.submit(self._models.open, model, version).result()

    def preload(self) -> tuple[str, ...]:
        """Open every model that has an active version, and the versions that share its calls. Returns their names."""
        store = self._models.store
        names = tuple(name for name in store.names() if store.active(name) is not None)
        for name in names:
            self._readers.submit(self._models.preload, name).result()
        return names

    def load(self, model: str) -> None:
        """Open a model anew, and let it take its own place once it is proved. Raises RefusedError without `control`,
        NotInstalledError or a BackendError."""
        self._controlled()
        self._readers.submit(self._models.load, model).result()

    def unload(self, model: str) -> None:
        """Let go of a model; it answers no more until it is loaded. Raises RefusedError without `control`,
        NotInstalledError."""
        self._controlled()
        self._models.unload(model)

    def backlog(self) -> float:
        """Seconds until a call that came now would begin."""
        return self._workers.backlog()

    def close(self) -> None:
        """Let the calls that run end, drop those that wait, and free the models."""
        self._workers.stop()
        self._readers.shutdown(wait=True, cancel_futures=True)
        self._workers.join()
        self._models.close()

    def _controlled(self) -> None:
        if not self.control:
            raise uncontrolled()

    def _try_later(self, work: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the only one that submit raises: this service has been closed
            self._readers.submit(work)

    def _admit(self, call: Call) -> None:
        """Read the call now if that is quick, else on another thread. Raises an EdgeError."""
        if not self._places.acquire(blocking=False):
            raise RefusedError(
                "the endpoint is overloaded: try again later", status=503, retry_after=self._workers.backlog()
            )
        call.future.add_done_callback(lambda _: self._places.release())
        if call.form.is_quick(call.message) and (model := self._models.find(call.name, call.version)) is not None:
            self._read(call, model)
            return
        try:
            self._readers.submit(self._read, call)
        except RuntimeError:  # the only one that submit raises: it is shut down
            raise shutting_down() from None

    def _read(self, call: Call, model: Model | None = None) -> None:
        """Open the model, if it is not open, read the request, and let it wait for its turn."""
        if call.future.cancelled():
            call.future.set_running_or_notify_cancel()
            return
        try:
            model = model or self._models.open(call.name, call.version)
            request = call.form.decode_request(call.message, self.limits, model.loaded.session.signature)
            model.check(request.inputs)
            oip.check_outputs(request, model.outputs)
            # Once more: the budget may stand in the body only, and opening a model takes its time.
            deadline = None if request.budget is None else call.received + request.budget
            check_time(deadline)
            group, rows = model.group(request.inputs)
            latest = NEVER if deadline is None else deadline - spare(request.budget)
            work = Work(group, rows, model.most, latest, rank(request.priority))
            self._workers.offer(work, Job(call, model, request, rows))
        except EdgeError as error:
            settle(call.future, error)
        except Exception:  # noqa: BLE001 - a defect here is one caller's 500 and a line in the log
            settle(call.future, defect(call.name))

    def _count(self, future: Future[Answer]) -> None:
        self.metrics.ended(CANCELLED if future.cancelled() else future.result().status)

    def _trace(self, tracing: Tracing, call: Call, future: Future[Answer]) -> None:
        tracing.told(call, None if future.cancelled() else future.result())

    def _note(self, done: Done) -> None:
        """A batch has run."""
        which, seconds = done.jobs[0].which, done.ended - done.started
        waited = [done.started - job.call.complete for job in done.jobs]
        failed = sum(isinstance(outcome, EdgeError) for outcome in done.outcomes)
        self.statistics.ran(*which, rows=done.rows, seconds=seconds, waited=waited, failed=failed)
        self.metrics.ran(*which, done.rows)
        self.metrics.stage(*which, "compute", seconds)
        for each in waited:
            self.metrics.stage(*which, "queue", each)
        how = ran(done.jobs[0], done.rows, done.started, done.ended)
        for job, outcome in zip(done.jobs, done.outcomes, strict=True):
            answer = answer_of(job, outcome, how, done.wait)
            self.metrics.stage(*which, "write", monotonic() - done.ended)
            job.call.future.set_result(answer)


def told(*, control: bool) -> oip.ServerMetadata:
    """What an endpoint says that it is."""
    repository = "model_repository" if control else "model_repository(index)"
    return oip.ServerMetadata("edge-runtime", VERSION, (*EXTENSIONS, repository))


def uncontrolled() -> RefusedError:
    """The answer to who would load or unload models where nobody may."""
    return RefusedError("models are not loaded and unloaded from outside here: serve with --control", status=403)
