"""What comes of what things ask and tell about their jobs: the registry is changed, then they are answered.

Whatever comes twice or late is answered by what holds (`protocol/fleet/execution.py`); it changes nothing.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Sequence
from typing import TypeAlias

import msgspec
from msgspec import Raw

from cloud_bridge.fleet.events import Changed
from cloud_bridge.fleet.registry import Registry
from cloud_bridge.fleet.registry.held import Held
from cloud_bridge.protocol.fleet import execution
from cloud_bridge.protocol.fleet.jobs import (
    FILE,
    TERMINAL,
    Get,
    JobExecution,
    Next,
    Rejected,
    StartNext,
    Update,
    Updated,
)
from edge_runtime.errors import InputError

UPDATES = 1000
"""Versions of an execution that its thing may bring about before it ends: each is a line of the rollout's log."""

_log = logging.getLogger(__name__)

Answer: TypeAlias = Next | Updated | Rejected


class Request(msgspec.Struct, frozen=True, eq=False):
    """What a thing asks or tells. `job` is empty where it asks for the next one."""

    thing: str
    job: str
    asks: StartNext | Get | Update


class _Changes:
    """Of a job in hand: executions as they were, as they are, and what that means to its rollout."""

    def __init__(self, held: Held, things: Iterable[str]) -> None:
        self._before = held.executions(things)
        self.after = dict(self._before)
        self._events: list[Changed] = []

    def put(self, thing: str, after: JobExecution, now: float) -> None:
        self.after[thing] = after
        self._events.append(Changed(now, thing, after.execution_number, after.status))

    def write(self, held: Held) -> None:
        held.put({
            thing: (was, self.after[thing]) for thing, was in self._before.items() if self.after[thing] is not was
        })  # fmt: skip
        held.append(self._events)


def answer(registry: Registry, requests: Sequence[Request], now: float) -> Sequence[tuple[Request, Answer]]:
    """All of them, each job in one transaction. Raises as the registry does: then ask again, nothing is lost by that."""
    answers: list[tuple[Request, Answer]] = []
    waiting = requests
    while waiting:
        pending = registry.jobs.pending(request.thing for request in waiting if not request.job)
        by_job: dict[str, list[Request]] = {}
        for request in waiting:
            job = request.job
            if not job and (chosen := execution.first(pending.get(request.thing, ()))) is not None:
                job = chosen.job_id
            by_job.setdefault(job, []).append(request)
        answers += [(request, _reply(b"", request, None, now)) for request in by_job.pop("", ())]
        waiting = []
        for job in sorted(by_job):
            try:
                answered, left = _answer_job(registry, job, by_job[job], now)
            except InputError as error:  # damage to one job is no reason to answer nobody
                _log.error("%s", error)
                answers += [(request, _broken(request, now)) for request in by_job[job]]
                continue
            answers += answered
            waiting += left
    return answers


def _answer_job(
    registry: Registry, job: str, requests: Sequence[Request], now: float
) -> tuple[Sequence[tuple[Request, Answer]], Sequence[Request]]:
    """And those whose next execution has ended since it was looked for."""
    answers: list[tuple[Request, Answer]] = []
    left: list[Request] = []
    with registry.jobs.hold(job) as held:
        if held is None:
            return [(request, _reply(b"", request, _after(None, request.asks, now), now)) for request in requests], ()
        changes = _Changes(held, (request.thing for request in requests))
        for request in requests:
            before = changes.after.get(request.thing)
            if isinstance(request.asks, StartNext) and (before is None or execution.first((before,)) is None):
                left.append(request)
                continue
            after = _with_file(held, request, before, _after(before, request.asks, now), now)
            if not isinstance(after, Rejected) and after is not None and after is not before:
                changes.put(request.thing, after, now)
            answers.append((request, _reply(held.envelope, request, after, now)))
        changes.write(held)
    return answers, left


def _after(before: JobExecution | None, asks: StartNext | Get | Update, now: float) -> JobExecution | Rejected | None:
    if isinstance(asks, Get):
        return before
    if isinstance(asks, StartNext):
        return None if before is None else execution.start(before, asks, now)
    after = execution.apply(before, asks, now)
    if isinstance(after, JobExecution) and after.version_number > UPDATES and after.status == "IN_PROGRESS":
        told = f"an execution is updated {UPDATES} times at most, until it ends"
        return Rejected(code="RequestThrottled", message=told, timestamp=now, client_token=asks.client_token)
    return after


def _with_file(
    held: Held, request: Request, before: JobExecution | None, after: JobExecution | Rejected | None, now: float
) -> JobExecution | Rejected | None:
    """An execution has not ended as long as the file that it says to have brought is not here: that went another way, and
    may come later, or with the next try."""
    if before is None or after is before or not isinstance(after, JobExecution) or after.status not in TERMINAL:
        return after
    named, brought = after.status_details.get(FILE), held.file(request.thing) if FILE in after.status_details else None
    if named is None or (brought is not None and hashlib.sha256(brought).hexdigest() == named):
        return after
    told = f"its file, {named[:12]}, has not come: say both again"
    return Rejected(
        code="InvalidStateTransition", message=told, timestamp=now, execution_state=before.state,
        client_token=request.asks.client_token,
    )  # fmt: skip


def _reply(envelope: bytes, request: Request, after: JobExecution | Rejected | None, now: float) -> Answer:
    if isinstance(after, Rejected):
        return after
    if after is not None:
        after = msgspec.structs.replace(after, job_document=Raw(envelope))
    if isinstance(request.asks, Get):
        return execution.describe(after, request.asks, now)
    if isinstance(request.asks, Update) and after is not None:
        return execution.confirm(after, request.asks, now)
    return Next(timestamp=now, execution=after, client_token=request.asks.client_token)


def _broken(request: Request, now: float) -> Rejected:
    told = "the registry's entry is damaged: its operator finds more in the log of the controller"
    return Rejected(code="InternalError", message=told, timestamp=now, client_token=request.asks.client_token)
