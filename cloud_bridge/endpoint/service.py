"""The endpoint's core: messages in, answers out, whatever carried them. Models run through the device's own backends, in
the order and together as the scheduler says."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from importlib import metadata
from time import monotonic

from cloud_bridge.endpoint.jobs import (
    Answer,
    Call,
    Form,
    Job,
    answer_of,
    check_time,
    defect,
    outputs_of,
    rank,
    settle,
    spare,
)
from cloud_bridge.endpoint.metrics import Metrics
from cloud_bridge.endpoint.models import Model, Models
from cloud_bridge.endpoint.room import Room
from cloud_bridge.endpoint.schedule import NEVER, Scheduler, Work
from cloud_bridge.endpoint.statistics import Statistics
from cloud_bridge.protocol import oip
from cloud_bridge.protocol.message import CONTENT_ENCODING, HEADER_LENGTH, LIMITS, Limits, Message, remaining
from edge_runtime.bundles.store import Bundle, Store
from edge_runtime.engines import Loaded, open_best
from edge_runtime.errors import EdgeError, InputError, LateError, RefusedError
from edge_runtime.values import Tensors

SERVER = oip.ServerMetadata(
    "edge-runtime",
    metadata.version("edge-runtime"),
    (oip.BINARY_EXTENSION, "statistics", "model_repository(index)", oip.PROBE_EXTENSION, oip.CHUNKS_EXTENSION),
)
PLATFORM = "edge_runtime"

HELD = 512 << 20
"""Bytes that all requests may hold in memory, from their first byte to their answer."""

NICE = 5
"""By how much threads that run models give way."""

AT_ONCE = 0.0005
"""Seconds of a run that is done on the thread that brings the call, if nothing runs: to wake another one takes as long."""

CANCELLED = 499
"""The status of a call that nobody waits for any more, for those who count."""

QUICK = 64 << 10
"""Bytes of JSON that are read at once, on the thread that brings them; of raw tensors any number is."""


class Service:
    """Runs the bundles of a store for whoever asks. Every method may be called from any thread.

    `workers` batches of calls run at once and `waiting` more calls wait; one more is refused at once (503), and so is one
    that could not be answered within its budget, with the time after which it could. Calls of one model on inputs of one
    shape run together, up to `rows` rows, where the model lets them. One whose budget is over when its turn comes is not
    run (504). Models are opened when they are first asked for, by `opener`; the `models` that were used last are kept open.
    `room` is for what carries requests here: they take their bytes from it, `held` in all.
    """

    def __init__(
        self,
        store: Store,
        *,
        workers: int = 2,
        waiting: int = 64,
        models: int = 16,
        rows: int = 32,
        limits: Limits = LIMITS,
        held: int = HELD,
        opener: Callable[[Bundle], Loaded] = open_best,
    ) -> None:
        if min(workers, models, rows) < 1 or waiting < 0:
            raise InputError("a service needs at least 1 worker, 1 row, room for 1 model, and no less than 0 waiting calls")
        self.limits = limits
        self.room = Room(held)
        self._rows = rows
        self._places = threading.BoundedSemaphore(workers + waiting)
        self._readers = ThreadPoolExecutor(2, thread_name_prefix="endpoint-reader", initializer=_step_back)
        self._models = Models(store, opener, models, join=rows > 1, later=self._try_later)
        self.statistics = Statistics()
        self.metrics = Metrics(lambda: len(self._scheduler), self.backlog)
        self._scheduler = Scheduler(workers)
        self._jobs: dict[Work, Job] = {}
        self._changed = threading.Condition()  # guards the scheduler and the jobs
        self._closed = False
        self._workers = [threading.Thread(target=self._serve, name=f"endpoint-{n}", daemon=True) for n in range(workers)]
        for worker in self._workers:
            worker.start()

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
            self._admit(call)
        except EdgeError as error:
            settle(future, error)
        return future

    def metadata(self, model: str, version: str | None = None) -> oip.ModelMetadata:
        """What a model takes and gives. Raises NotInstalledError."""
        bundle = self._models.bundle(model, version)
        return oip.describe(model, self._models.store.versions(model), PLATFORM, bundle.manifest.signature)

    def index(self) -> list[oip.IndexEntry]:
        """Every version of every model in the store, and whether it is open."""
        return self._models.index()

    def open(self, model: str, version: str | None = None) -> None:
        """Open a model now, rather than at its first call. Raises NotInstalledError or a BackendError."""
        self._readers.submit(self._models.open, model, version).result()

    def preload(self) -> tuple[str, ...]:
        """Open the active version of every model. Returns their names."""
        store = self._models.store
        names = tuple(name for name in store.names() if store.active(name) is not None)
        for name in names:
            self.open(name)
        return names

    def close(self) -> None:
        """Let the calls that run end, drop those that wait, and free the models."""
        with self._changed:
            self._closed = True
            waiting = list(self._jobs.values())
            self._changed.notify_all()
        for job in waiting:
            job.call.future.cancel()
        self._readers.shutdown(wait=True, cancel_futures=True)
        for worker in self._workers:
            worker.join()
        self._models.close()

    def _try_later(self, work: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the only one that submit raises: this service has been closed
            self._readers.submit(work)

    def _admit(self, call: Call) -> None:
        """Read the call now if that is quick, else on another thread. Raises an EdgeError."""
        if not self._places.acquire(blocking=False):
            raise RefusedError("the endpoint is overloaded: try again later", status=503, retry_after=self.backlog())
        call.future.add_done_callback(lambda _: self._places.release())
        if _is_quick(call.message) and (model := self._models.find(call.name, call.version)) is not None:
            self._read(call, model)
            return
        try:
            self._readers.submit(self._read, call)
        except RuntimeError:  # the only one that submit raises: it is shut down
            raise _shutting_down() from None

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
            most = self._rows if model.joinable else 1
            latest = NEVER if deadline is None else deadline - spare(request.budget)
            work = Work(group, rows, most, latest, rank(request.priority))
            self._offer(work, Job(call, model, request, rows))
        except EdgeError as error:
            settle(call.future, error)
        except Exception:  # noqa: BLE001 - a defect here is one caller's 500 and a line in the log
            settle(call.future, defect(call.name))

    def _offer(self, work: Work, job: Job) -> None:
        batch: Sequence[Work] = ()
        with self._changed:
            if self._closed:
                raise _shutting_down()
            at_once = not self._jobs and 0.0 < self._scheduler.cost(work.group).safe(work.rows) <= AT_ONCE
            now = monotonic()  # the same for both: what is accepted now is not late now
            offer = self._scheduler.offer(work, now)
            if offer.accepted and at_once:
                batch, _ = self._scheduler.next(now)
            if offer.accepted and not batch:
                self._jobs[work] = job
                self._changed.notify()
        if batch:
            self._run(batch, [job] if job.call.future.set_running_or_notify_cancel() else [])
            return
        if not offer.accepted:
            told = (
                f"its answer would take {offer.done * 1e3:.0f} ms, {offer.wait * 1e3:.0f} ms of it waiting: past its budget"
            )
            raise RefusedError(f"the call was not accepted: {told}", status=503, retry_after=offer.wait)
        job.call.future.add_done_callback(partial(self._left, work))

    def backlog(self) -> float:
        """Seconds until a call that came now would begin."""
        with self._changed:
            return self._scheduler.backlog(monotonic())

    def _count(self, future: Future[Answer]) -> None:
        self.metrics.ended(CANCELLED if future.cancelled() else future.result().status)

    def _left(self, work: Work, future: Future[Answer]) -> None:
        """A call has ended; if it was cancelled while it waited, it goes."""
        if not future.cancelled():
            return
        with self._changed:
            waited = self._scheduler.drop(work)
            if waited:
                del self._jobs[work]
        if waited:
            future.set_running_or_notify_cancel()  # for those who wait for it with others

    def _serve(self) -> None:
        """A worker's life: batches, one after another."""
        _step_back()
        while True:
            with self._changed:
                batch, late = self._scheduler.next(monotonic())
                while not batch and not late:
                    if self._closed and not self._jobs:
                        return
                    self._changed.wait()
                    batch, late = self._scheduler.next(monotonic())
                jobs = [self._jobs.pop(work) for work in batch]
                missed = [self._jobs.pop(work) for work in late]
            for job in missed:
                settle(job.call.future, LateError("the call's budget would have ended before its answer: it was not run"))
            if batch:
                self._run(batch, [job for job in jobs if job.call.future.set_running_or_notify_cancel()])

    def _run(self, batch: Sequence[Work], jobs: Sequence[Job]) -> None:
        started = monotonic()
        outcomes: Sequence[Tensors | EdgeError] = ()
        try:
            outcomes = outputs_of(jobs)
        finally:
            ended = monotonic()
            failed = len(jobs) < len(batch) or any(isinstance(outcome, EdgeError) for outcome in outcomes)
            with self._changed:
                self._scheduler.ended(batch, ended - started, failed=failed)
                if self._jobs or self._closed:  # else nobody has to wake
                    self._changed.notify_all()
        self._note(jobs, outcomes, started, ended)
        for job, outcome in zip(jobs, outcomes, strict=True):
            answer = answer_of(job, outcome, ended)
            self.metrics.stage(*job.which, "write", monotonic() - ended)
            job.call.future.set_result(answer)

    def _note(
        self, jobs: Sequence[Job], outcomes: Sequence[Tensors | EdgeError], started: float, ended: float
    ) -> None:  # fmt: skip
        if not jobs:
            return
        which, seconds = jobs[0].which, ended - started
        rows = sum(job.rows for job in jobs)
        waited = [started - job.call.complete for job in jobs]
        failed = sum(isinstance(outcome, EdgeError) for outcome in outcomes)
        self.statistics.ran(*which, rows=rows, seconds=seconds, waited=waited, failed=failed)
        self.metrics.ran(*which, rows)
        self.metrics.stage(*which, "compute", seconds)
        for each in waited:
            self.metrics.stage(*which, "queue", each)


def _is_quick(message: Message) -> bool:
    """Whether it takes no time worth a thread to read it."""
    length = message.headers.get(HEADER_LENGTH, str(len(message.body)))
    return CONTENT_ENCODING not in message.headers and length.isdecimal() and int(length[:18]) <= QUICK


def _step_back() -> None:
    """Let this thread, and those that an engine starts from it, make way for those that take calls and refuse them."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)


def _shutting_down() -> RefusedError:
    return RefusedError("the endpoint is shutting down", status=503, retry_after=1.0)
