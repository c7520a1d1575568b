"""One call on its way through the endpoint: as it comes, as it waits, and what becomes of it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import Future
from time import monotonic
from typing import Protocol

import msgspec
from msgspec import structs

from cloud_bridge.endpoint.models import Model
from cloud_bridge.endpoint.rows import join, split
from cloud_bridge.protocol import oip
from cloud_bridge.protocol.message import Limits, Message, wait_header
from edge_runtime.errors import EdgeError, LateError, RefusedError
from edge_runtime.signature import Signature
from edge_runtime.values import Tensors

SPARE, SPARE_SHARE = 0.02, 0.1
"""Seconds of a call's budget, and the most of it, that are kept for the answer's way back."""

PRIORITIES = 1000
"""Those beyond are all the same."""

_log = logging.getLogger(__name__)


class Ran(msgspec.Struct, frozen=True):
    """What ran a call, with how many rows in all, and when."""

    version: str
    engine: str
    device: str
    variant: str
    rows: int
    started: float
    ended: float


class Answer(msgspec.Struct, frozen=True):
    """What goes back: an HTTP status (over MQTT a user property), and the message."""

    status: int
    message: Message
    ran: Ran | None = None
    """None: it did not run."""


class Form(Protocol):
    """A way to write requests and answers: a module of the protocol."""

    def is_quick(self, message: Message) -> bool: ...
    def decode_request(self, message: Message, limits: Limits, signature: Signature | None) -> oip.InferRequest: ...
    def encode_response(self, response: oip.InferResponse, request: oip.InferRequest) -> Message: ...


class Call(msgspec.Struct, frozen=True, eq=False):
    """A request that has come."""

    name: str
    version: str | None
    message: Message
    received: float
    """When its first byte was here: its budget counts from then."""
    complete: float
    """When all of it was here."""
    deadline: float | None
    future: Future[Answer]
    form: Form


class Job(msgspec.Struct, frozen=True, eq=False):
    """A call that has been read, and waits for its turn."""

    call: Call
    model: Model
    request: oip.InferRequest
    rows: int

    @property
    def which(self) -> tuple[str, str]:
        """The model's name and version."""
        manifest = self.model.loaded.bundle.manifest
        return manifest.name, manifest.version


def outputs_of(jobs: Sequence[Job]) -> list[Tensors | EdgeError]:
    """What became of each: run together; where that fails, each by itself, for it may be the fault of one."""
    if not jobs:
        return []
    try:
        outputs = jobs[0].model.loaded.session.run(join([job.request.inputs for job in jobs]))
        return list(split(outputs, [job.rows for job in jobs]))
    except EdgeError as error:
        if len(jobs) == 1:
            return [error]
    except Exception:  # noqa: BLE001 - a defect is its callers' 500 and a line in the log, not a dead worker
        if len(jobs) == 1:
            return [defect(jobs[0].call.name)]
    return [outputs_of([job])[0] for job in jobs]


def ran(job: Job, rows: int, started: float, ended: float) -> Ran:
    """What ran a call, with so many rows in all."""
    loaded = job.model.loaded
    device, version = loaded.session.device, loaded.bundle.manifest.version
    return Ran(version, device.engine, device.name, loaded.candidate.variant.name, rows, started, ended)


def answer_of(job: Job, outcome: Tensors | EdgeError, how: Ran, wait: float) -> Answer:
    """The answer to a call that ran; one that came then would wait `wait` seconds."""
    if isinstance(outcome, EdgeError):
        return Answer(*oip.encode_error(outcome), how)
    complete = job.call.complete
    response = oip.InferResponse(
        job.call.name, outcome, how.version, how.engine, how.device, how.variant,
        seconds=how.ended - complete, waited=how.started - complete,
    )  # fmt: skip
    try:
        message = job.call.form.encode_response(response, job.request)
        return Answer(200, structs.replace(message, headers={**message.headers, **wait_header(wait)}), how)
    except EdgeError as error:
        return Answer(*oip.encode_error(error))
    except Exception:  # noqa: BLE001 - as above
        return Answer(*oip.encode_error(defect(job.call.name)))


def check_time(deadline: float | None) -> None:
    late = 0.0 if deadline is None else monotonic() - deadline
    if deadline is not None and late >= 0:
        raise LateError(f"the call's budget ended {late * 1e3:.0f} ms ago: it was not run")


def spare(budget: float | None) -> float:
    return 0.0 if budget is None else min(SPARE, SPARE_SHARE * budget)


def rank(priority: int) -> int:
    """The scheduler's priority, in which more is sooner, of the protocol's, in which 1 is first and 0 says nothing."""
    return 0 if priority == 0 else max(1, PRIORITIES + 1 - priority)


def settle(future: Future[Answer], error: EdgeError) -> None:
    """An error is the call's answer, unless it was cancelled."""
    if future.set_running_or_notify_cancel():
        future.set_result(Answer(*oip.encode_error(error)))


def defect(name: str) -> RefusedError:
    _log.exception("a call of %s failed in an unforeseen way", name)
    return RefusedError("an internal error: see the endpoint's log", status=500)
