"""The threads that run batches, as the scheduler says which, and what waits for them."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from time import monotonic

import msgspec

from cloud_bridge.endpoint.jobs import Answer, Job, outputs_of, settle
from cloud_bridge.endpoint.schedule import Scheduler, Work
from edge_runtime.errors import EdgeError, LateError, RefusedError
from edge_runtime.values import Tensors

NICE = 5
"""By how much threads that run models give way."""

AT_ONCE = 0.0005
"""Seconds of a run that is done on the thread that brings the call, if nothing runs: to wake another one takes as long."""


class Done(msgspec.Struct, frozen=True, eq=False):
    """A batch that has run."""

    jobs: Sequence[Job]
    outcomes: Sequence[Tensors | EdgeError]
    started: float
    ended: float
    wait: float
    """Seconds that a call of the same group, had it come then, would wait."""

    @property
    def rows(self) -> int:
        """Of all of them."""
        return sum(job.rows for job in self.jobs)


class Workers:
    """So many of them; a run of up to `quick` seconds may be done by who brings the call.

    `done` is told of each batch that has run, and answers its calls. For any thread."""

    def __init__(self, count: int, done: Callable[[Done], None], quick: float = AT_ONCE) -> None:
        self._done, self._quick = done, quick
        self._scheduler = Scheduler(count)
        self._jobs: dict[Work, Job] = {}
        self._changed = threading.Condition()  # guards the scheduler and the jobs
        self._closed = False
        self._threads = [threading.Thread(target=self._serve, name=f"endpoint-{n}", daemon=True) for n in range(count)]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """Calls that wait for their turn."""
        return len(self._scheduler)

    def backlog(self) -> float:
        """Seconds until a call that came now would begin."""
        with self._changed:
            return self._scheduler.backlog(monotonic())

    def offer(self, work: Work, job: Job) -> None:
        """A call comes. It runs here and now if it is quick and nothing else waits. Raises RefusedError where it would be
        answered too late."""
        batch: Sequence[Work] = ()
        with self._changed:
            if self._closed:
                raise shutting_down()
            at_once = not self._jobs and 0.0 < self._scheduler.cost(work.group).safe(work.rows) <= self._quick
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

    def stop(self) -> None:
        """Let what runs end, and drop what waits."""
        with self._changed:
            self._closed = True
            waiting = list(self._jobs.values())
            self._changed.notify_all()
        for job in waiting:
            job.call.future.cancel()

    def join(self) -> None:
        """Wait until all has ended."""
        for thread in self._threads:
            thread.join()

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
        step_back()
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
                wait = self._scheduler.backlog(ended, batch[0].group, batch[0].most)
                if self._jobs or self._closed:  # else nobody has to wake
                    self._changed.notify_all()
        if jobs:
            self._done(Done(jobs, outcomes, started, ended, wait))


def step_back() -> None:
    """Let this thread, and those that an engine starts from it, make way for those that take calls and refuse them."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)


def shutting_down() -> RefusedError:
    """What calls are told from then on."""
    return RefusedError("the endpoint is shutting down", status=503, retry_after=1.0)
