"""One job on a device, from its message to its report. Pure: no I/O, no clock; time is an argument, in UNIX seconds.

The rules:
- a job is its id and the digest of its document. It is journaled before it is acknowledged; the same again gets what is
  known of it again; another document under its id is refused, and so is what is expired, or not understood;
- a new execution of a job (the server tries again) is a new run where the last one failed, ran out of time or is none that
  the server knows any more, and the old one's outcome where not;
- jobs run one after another, in the order in which they came. A step is journaled before its effect;
- what a step could not do fails the job, and what was active before comes back before that is reported;
- what was interrupted goes on with the step that it was in, a few times at most; in a trial it goes back;
- what the server has ended goes back too, unless its last step is done. A device never says TIMED_OUT by itself;
- the outcome is journaled together with its report, which is sent until the server has accepted it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import msgspec

from cloud_bridge.agent.commands import Step
from cloud_bridge.protocol.fleet.commands import LIFETIME, Command
from cloud_bridge.protocol.fleet.jobs import LONGEST_DETAIL, State

OPEN: tuple[State, ...] = ("QUEUED", "IN_PROGRESS")
AGAIN: tuple[State, ...] = ("FAILED", "TIMED_OUT", "REMOVED")
"""Ends after which a new execution is a new run. REMOVED is what a device takes an execution for that the server does not
know any more: it may have left it behind for a next one, of which the device has not heard yet."""

ATTEMPTS = 3
"""Times that a step is begun, at most, when it was interrupted each time: it may be what stops the device."""

WAITING = 100
"""Jobs that may be unfinished at once."""

LONGEST_BODY = 100_000
"""Bytes of a result, compressed, at most: with what is around it, it fits into a message that every broker takes."""

LONGEST = LIFETIME + 300.0
"""Seconds that a job may have until it expires, by a clock that may be somewhat behind: its id is kept until then, and
longer."""


class Order(msgspec.Struct, frozen=True):
    """What a verified document says."""

    id: str
    work: Command
    expires: float
    """The instant from which on it is not to be begun."""


class Offer(msgspec.Struct, frozen=True):
    """A job's message."""

    id: str
    sha256: str
    """Of its document."""
    execution: int = 1
    """How often the server has tried, this time included."""
    version: int = 1
    """Of what the server has written down of this execution."""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What is journaled of a job."""

    id: str
    sha256: str
    expires: float
    received: float
    execution: int = 1
    version: int = 1
    state: State = "QUEUED"
    step: str = ""
    """The one that was begun last."""
    attempts: int = 0
    """How often that one was begun."""
    details: dict[str, str] = {}
    """What its steps found, and in the end what came of it."""
    body: bytes = b""
    """A result too long for that: a report, a log; compressed."""


class Report(msgspec.Struct, frozen=True):
    """What the server is told of a job."""

    job: str
    execution: int
    state: State
    details: dict[str, str] = {}
    body: bytes = b""


class Taken(msgspec.Struct, frozen=True):
    """A job to be journaled, then acknowledged."""

    job: Job


class Known(msgspec.Struct, frozen=True):
    """A job that is journaled: acknowledged, and reported again."""

    job: Job


class Refused(msgspec.Struct, frozen=True):
    """Nothing is kept of it: it would be refused again. `report` tells the server, or is lost."""

    report: Report


def admit(offer: Offer, known: Job | None, order: Order | str, waiting: int, now: float) -> Taken | Known | Refused:
    """What comes of a job's message. `order` is what its document says, or why it cannot be trusted or understood."""
    if known is not None and known.sha256 != offer.sha256:
        return _refused(offer, "another document came under this id before: give a changed job a new id")
    anew = known is None or (offer.execution > known.execution and known.state in AGAIN)
    if known is not None and not anew:
        return Known(known)
    if isinstance(order, str):
        return _refused(offer, order)
    if order.id != offer.id:
        return _refused(offer, f"the document is that of job {order.id}")
    if not now < order.expires <= now + LONGEST:
        late = f"it expired {now - order.expires:.0f} s ago" if order.expires <= now else "it expires too far from now"
        return _refused(offer, f"{late}; a job may have {LONGEST:.0f} s, by this device's clock")
    if waiting >= WAITING:
        return _refused(offer, f"{waiting} jobs wait here")
    return Taken(Job(
        id=offer.id, sha256=offer.sha256, expires=order.expires, received=now, execution=offer.execution,
        version=offer.version,
    ))  # fmt: skip


class Begun(msgspec.Struct, frozen=True):
    """The step is journaled, and nothing was done yet."""


class Done(msgspec.Struct, frozen=True):
    """The step's effect is there."""

    details: dict[str, str] = {}
    body: bytes = b""


class Failed(msgspec.Struct, frozen=True):
    """The step could not be done, or found what must not be."""

    reason: str


class Undone(msgspec.Struct, frozen=True):
    """What was active before is active again."""

    reason: str
    details: dict[str, str] = {}


Here: TypeAlias = Begun | Done | Failed | Undone | None
"""What this process has seen of the step that is journaled; None: nothing, it was begun by one that is gone."""


class Begin(msgspec.Struct, frozen=True):
    """Journal this, in which a step begins, and tell the server."""

    job: Job


class Run(msgspec.Struct, frozen=True):
    """Do the step."""

    step: str


class Back(msgspec.Struct, frozen=True):
    """Bring back what was before."""

    reason: str


class Finish(msgspec.Struct, frozen=True):
    """Journal this, the end, with its report, unless the server knows."""

    job: Job
    tell: bool = True


Act: TypeAlias = Begin | Run | Back | Finish


def decide(job: Job, steps: Sequence[Step], here: Here, told: State | None, now: float) -> Act:
    """The next act of an unfinished job. `told` is the state in which the server has ended it, if it has."""
    if job.state == "QUEUED":
        return _first(job, steps, told, now)
    match here:
        case Begun():
            return Run(job.step) if told is None else Back(_ended(told))
        case Done(details, body):
            return _next(job, steps, msgspec.structs.replace(job, details=job.details | details, body=body), told)
        case Failed(reason):
            return Back(reason)
        case Undone(reason, details):
            last = job.details | details | {"step": job.step, "reason": reason}
            return _finish(job, "FAILED" if told is None else told, last, tell=told is None)
        case None:
            return _resume(job, steps, told)


def report_of(job: Job) -> Report:
    """What the server is to know of a job now: details that say something, cut to what it takes."""
    told = job.details | {"step": job.step}
    return Report(
        job.id, job.execution, job.state, {name: text[:LONGEST_DETAIL] for name, text in told.items() if text}, job.body
    )


def _first(job: Job, steps: Sequence[Step], told: State | None, now: float) -> Act:
    if told is not None:
        return _finish(job, told, {}, tell=False)
    if now >= job.expires:
        return _finish(job, "REJECTED", {"reason": "it expired before its turn came"})
    return Begin(msgspec.structs.replace(job, state="IN_PROGRESS", step=steps[0].name, attempts=1))


def _next(job: Job, steps: Sequence[Step], found: Job, told: State | None) -> Act:
    number = next(number for number, step in enumerate(steps) if step.name == job.step)
    if number + 1 == len(steps):
        return Finish(msgspec.structs.replace(found, state="SUCCEEDED"), tell=told is None)
    if told is not None:
        return Back(_ended(told))
    return Begin(msgspec.structs.replace(found, step=steps[number + 1].name, attempts=1))


def _resume(job: Job, steps: Sequence[Step], told: State | None) -> Act:
    step = next((step for step in steps if step.name == job.step), None)
    if told is not None:
        return Back(_ended(told))
    if step is None:
        return Back(f"this version of the agent knows no step {job.step!r}")
    if not step.again:
        return Back(f"the device or its agent stopped during {job.step}")
    if job.attempts >= ATTEMPTS:
        return Back(f"the device or its agent stopped during {job.step}, {job.attempts} times")
    return Begin(msgspec.structs.replace(job, attempts=job.attempts + 1))


def _ended(told: State) -> str:
    return f"the server has ended it: {told}"


def _finish(job: Job, state: State, details: dict[str, str], *, tell: bool = True) -> Finish:
    return Finish(msgspec.structs.replace(job, state=state, details=job.details | details), tell)


def _refused(offer: Offer, reason: str) -> Refused:
    return Refused(Report(offer.id, offer.execution, "REJECTED", {"reason": reason}))
