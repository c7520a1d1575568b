"""What a device owes: jobs taken on, done one step at a time, and reported until the server has accepted it. It carries out
what `work` decides, and is handed what comes from a broker by somebody else.

    duty = Duty(Journal(path), read, hands)
    refused = duty.receive(id, document, now)            # on the disk now: acknowledge it
    while duty.act(now): ...                             # on a thread of its own: a step may take minutes
    for letter in duty.letters(): ...                    # publish; then accepted(), or rejected()

`receive`, `letters`, `accepted`, `rejected`, `end` and `stop` may be called while another thread is in `act`. Each raises
InputError where the journal cannot be written, a full disk for instance: nothing was done then, and it may be called again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from threading import Event, Lock
from typing import Protocol, TypeAlias

import msgspec

from cloud_bridge.agent.commands import steps_of
from cloud_bridge.agent.journal import Journal, Letter
from cloud_bridge.agent.work import (
    OPEN,
    Back,
    Begin,
    Begun,
    Done,
    Failed,
    Finish,
    Here,
    Job,
    Known,
    Offer,
    Order,
    Refused,
    Report,
    Run,
    Taken,
    Undone,
    admit,
    decide,
)
from cloud_bridge.protocol.fleet.commands import Command
from cloud_bridge.protocol.fleet.jobs import State
from cloud_bridge.protocol.fleet.names import check
from cloud_bridge.protocol.fleet.wire import LIMIT
from edge_runtime.errors import CancelledError, EdgeError
from edge_runtime.reading import decoder

Read: TypeAlias = Callable[[bytes], Order]
"""A document's order: signed by whom it must be, meant for this device, and understood. Raises an EdgeError."""

LONGEST_DOCUMENT = LIMIT


class Hands(Protocol):
    """Who does the steps: `obey.Hands`."""

    def settle(self) -> tuple[str, ...]:
        """Bring back what was before whatever is on trial, when the agent starts; what could not be, in words."""
        ...

    def run(self, work: Command, step: str, details: dict[str, str], halt: Event) -> Done:
        """Do a step; once more does no harm. Raises an EdgeError; CancelledError soon after `halt` was set."""
        ...

    def back(self, work: Command) -> dict[str, str]:
        """Bring back what was before this job's trial, if it is on trial: how it stands then. Raises an EdgeError."""
        ...


class Sent(msgspec.Struct, frozen=True):
    """A report to be published, and the version of the execution that it expects at the server."""

    letter: Letter
    report: Report
    version: int


class Duty:
    """A device's jobs. Making one brings back what was before every version on trial: `troubles` says where that failed."""

    def __init__(
        self, journal: Journal, read: Read, hands: Hands, succeeds: Callable[[str], None] = lambda job: None
    ) -> None:  # fmt: skip
        """`succeeds` is told of a job that has done all, before that is journaled: after a crash in between once more."""
        self._journal, self._read, self._hands, self._succeeds = journal, read, hands, succeeds
        self.troubles = hands.settle()
        self._lock = Lock()
        self._told: dict[tuple[str, int], State] = {}
        self._halt = Event()
        self._stopped = False
        self._here: Here = None
        self._at: Order | None = None

    def receive(
        self, id: str, document: bytes, now: float, *, digest: str = "", execution: int = 1, version: int = 1
    ) -> Report | None:
        """A job's message. When this returns it may be acknowledged. The report of one that is refused: to be published
        once, for nothing is kept of it. `digest` is what makes two documents the same one; "": the SHA-256 of all their
        bytes. Raises InputError for what can be no job's id."""
        offer = Offer(check(id, "job id"), digest or hashlib.sha256(document).hexdigest(), execution, version)
        known = self._journal.find(offer.id)
        match admit(offer, known, self._order(document), self._journal.waiting(), now):
            case Taken(job):
                self._journal.sweep(now)
                self._journal.take(job, document)
            case Known(job):
                self._journal.again(job.id, offer.execution, offer.version)
            case Refused(report):
                return report
        return None

    def act(self, now: float) -> bool:
        """One act: a line in the journal, or a step. False when there is nothing to do, or it was stopped."""
        job = None if self._stopped else self._journal.next()
        if job is None:
            return False
        if job.state == "QUEUED" and now >= job.expires:  # its document holds no more, and is not asked
            return self._late(job, now)
        order = self._at
        if order is None or order.id != job.id:
            read = self._order(self._journal.document(job.id))
            if isinstance(read, str):  # the keys have changed since, or the agent has
                return self._unreadable(job, read)
            order = self._begin(read)
        told = self._told.get((job.id, job.execution))
        match decide(job, steps_of(order.work), self._here, told, now):
            case Begin(begun):
                self._journal.keep(begun)
                self._here = Begun()
            case Run(step):
                return self._run(order.work, step, job)
            case Back(reason):
                self._here = self._back(order.work, reason)
            case Finish(ended, tell):
                self._finish(ended, tell)
        return True

    def letters(self, limit: int = 100) -> tuple[Sent, ...]:
        """Reports that were not accepted yet, the oldest first."""
        sent = []
        for letter in self._journal.outbox(limit):
            if letter.subject.startswith("job/"):
                report = decoder(Report).decode(letter.body)
                job = self._journal.find(report.job)
                sent.append(Sent(letter, report, 1 if job is None else job.version))
        return tuple(sent)

    def accepted(self, sent: Sent, version: int) -> None:
        """The server has written a report down, and that is its version of the execution now."""
        self._journal.versioned(sent.report.job, sent.report.execution, version)
        self._journal.accepted(sent.letter)

    def rejected(self, sent: Sent, state: State | None, version: int = 0) -> None:
        """The server has not, for the execution has this state and version there; None: it knows no such execution. Where
        it has ended there, the report is dropped, and what is under way goes back; else it will go out again."""
        if state is None or state not in OPEN:
            self.end(sent.report.job, sent.report.execution, state or "REMOVED")
            self._journal.accepted(sent.letter)
        else:
            self._journal.versioned(sent.report.job, sent.report.execution, version)

    def end(self, job: str, execution: int, state: State) -> None:
        """The server has ended an execution: CANCELED, TIMED_OUT, REMOVED."""
        known = self._journal.find(job)
        if known is None or known.execution != execution or known.state not in OPEN:
            return
        with self._lock:
            self._told[job, execution] = state
            if self._at is not None and self._at.id == job:
                self._halt.set()

    def stop(self) -> None:
        """Let the step under way end soon; `act` does nothing from then on."""
        with self._lock:
            self._stopped = True
            self._halt.set()

    def close(self) -> None:
        """Bring back what was before a version on trial, and close the journal: after `stop`, when `act` has returned."""
        self.troubles = self._hands.settle()
        self._journal.close()

    def _order(self, document: bytes) -> Order | str:
        if len(document) > LONGEST_DOCUMENT:
            return f"the document has {len(document)} bytes; at most {LONGEST_DOCUMENT} are read"
        try:
            return self._read(document)
        except EdgeError as error:
            return str(error)

    def _begin(self, order: Order) -> Order:
        with self._lock:
            self._at, self._here = order, None
            if not self._stopped:
                self._halt.clear()
        return order

    def _run(self, work: Command, step: str, job: Job) -> bool:
        try:
            self._here = self._hands.run(work, step, job.details, self._halt)
        except CancelledError as error:
            if self._stopped:
                return False
            self._here = Failed(str(error))
        except EdgeError as error:
            self._here = Failed(str(error))
        return True

    def _back(self, work: Command, reason: str) -> Undone:
        try:
            return Undone(reason, self._hands.back(work))
        except EdgeError as error:
            return Undone(f"{reason}; and what was before could not be brought back: {error}")

    def _late(self, job: Job, now: float) -> bool:
        match decide(job, (), None, self._told.get((job.id, job.execution)), now):
            case Finish(ended, tell):
                self._finish(ended, tell)
        return True

    def _unreadable(self, job: Job, why: str) -> bool:
        """A job that was taken and cannot be read any more: whatever was on trial has gone back at the start."""
        reason = f"its document cannot be read any more: {why}"
        self._finish(msgspec.structs.replace(job, state="FAILED", details=job.details | {"reason": reason}), True)
        return True

    def _finish(self, job: Job, tell: bool) -> None:
        if job.state == "SUCCEEDED":
            self._succeeds(job.id)
        self._journal.keep(job, tell=tell)
        with self._lock:
            self._told = {of: state for of, state in self._told.items() if of[0] != job.id}
            self._at, self._here = None, None
