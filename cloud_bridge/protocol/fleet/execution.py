"""What becomes of an execution: decided where the jobs are kept, by the tables in jobs.py. Pure.

Each function gives the execution as it is then, one version on, or the Rejected that answers the request. A request that
came twice, since the answer to it was lost, is accepted twice and carried out once.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec
from msgspec import UNSET, Raw

from cloud_bridge.protocol.fleet.jobs import (
    BY_CONTROLLER,
    BY_DEVICE,
    MOST_DETAILS,
    TERMINAL,
    Code,
    Get,
    JobExecution,
    Next,
    Rejected,
    StartNext,
    State,
    Update,
    Updated,
    details,
)
from edge_runtime.errors import InputError


def queue(job_id: str, thing: str, document: Raw, now: float) -> JobExecution:
    """A job for a device, which does not know of it yet."""
    return JobExecution(
        job_id=job_id,
        thing_name=thing,
        status="QUEUED",
        queued_at=now,
        last_updated_at=now,
        version_number=1,
        execution_number=1,
        job_document=document,
    )


def apply(execution: JobExecution | None, update: Update, now: float) -> JobExecution | Rejected:
    """An execution after a device's update; None: there is no such execution. A compare-and-set where the update says which
    version it expects."""
    if execution is None or update.execution_number not in (None, execution.execution_number):
        return _no("ResourceNotFound", "this device has no such execution of the job", update.client_token, now)
    if _came_before(execution, update):
        return execution
    if update.expected_version not in (None, execution.version_number):
        told = f"version {update.expected_version} was expected, and {execution.version_number} holds"
        return _no("VersionMismatch", told, update.client_token, now, execution)
    if update.status not in BY_DEVICE.get(execution.status, ()):
        told = f"a device does not move an execution from {execution.status} to {update.status}"
        return _no("InvalidStateTransition", told, update.client_token, now, execution)
    given = execution.status_details if update.status_details is None else update.status_details
    return _moved(execution, update.status, now, given)


def start(execution: JobExecution, request: StartNext, now: float) -> JobExecution:
    """The next execution, begun; one that runs already as it is."""
    if execution.status != "QUEUED":
        return execution
    return _moved(execution, "IN_PROGRESS", now, request.status_details or execution.status_details)


def move(
    execution: JobExecution, status: Literal["TIMED_OUT", "REMOVED", "CANCELED"], now: float, *, why: str
) -> JobExecution:
    """An execution that a controller ends. One that has ended already stays as it did: whoever came first was right."""
    if execution.status in TERMINAL:
        return execution
    if status not in BY_CONTROLLER[execution.status]:
        raise InputError(f"a controller does not move an execution from {execution.status} to {status}")
    kept = dict([*execution.status_details.items()][: MOST_DETAILS - 1])
    return _moved(execution, status, now, kept | details(reason=why))


def first(executions: Iterable[JobExecution]) -> JobExecution | None:
    """The next of a device's executions: one that runs, else the one that has waited longest."""
    pending = [each for each in executions if each.status not in TERMINAL]
    return min(pending, key=lambda each: (each.status == "QUEUED", each.queued_at, each.job_id), default=None)


def describe(execution: JobExecution | None, request: Get, now: float) -> Next | Rejected:
    """The answer to a Get."""
    if execution is None or request.execution_number not in (None, execution.execution_number):
        return _no("ResourceNotFound", "this device has no such execution of the job", request.client_token, now)
    if execution.status in TERMINAL:
        return _no("TerminalStateReached", f"it has {execution.status}", request.client_token, now, execution)
    if not request.include_job_document:
        execution = msgspec.structs.replace(execution, job_document=UNSET)
    return Next(timestamp=now, execution=execution, client_token=request.client_token)


def confirm(execution: JobExecution, update: Update, now: float) -> Updated:
    """The answer to an update that was accepted."""
    return Updated(
        timestamp=now,
        execution_state=execution.state if update.include_job_execution_state else None,
        job_document=execution.job_document if update.include_job_document else UNSET,
        client_token=update.client_token,
    )


def _came_before(execution: JobExecution, update: Update) -> bool:
    """Whether this update is what brought the execution to where it is."""
    same = update.status == execution.status and update.status_details in (None, execution.status_details)
    if update.expected_version is None:
        return same and execution.status in TERMINAL
    return same and update.expected_version == execution.version_number - 1


def _moved(execution: JobExecution, status: State, now: float, told: dict[str, str]) -> JobExecution:
    return msgspec.structs.replace(
        execution,
        status=status,
        status_details=told,
        version_number=execution.version_number + 1,
        started_at=now if execution.started_at is None and status == "IN_PROGRESS" else execution.started_at,
        last_updated_at=now,
    )


def _no(code: Code, message: str, token: str, now: float, execution: JobExecution | None = None) -> Rejected:
    state = None if execution is None else execution.state
    return Rejected(code=code, message=message, timestamp=now, execution_state=state, client_token=token)
