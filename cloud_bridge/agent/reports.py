"""The reports of a device's jobs, until they are answered. No socket, no clock: time is an argument.

One report of a job is under way at a time, with the version of the execution that is known here: what came meanwhile waits
for the answer, which tells the next version. One that nobody answers goes out again.
"""

from __future__ import annotations

import hashlib
import logging
import re

import msgspec

from cloud_bridge.agent.duty import Duty, Sent
from cloud_bridge.agent.when import RETRY, Instant, Patience
from cloud_bridge.agent.work import OPEN, Report
from cloud_bridge.control.link import Said, said
from cloud_bridge.protocol.fleet import jobs, topics
from cloud_bridge.protocol.fleet.jobs import FILE, MOST_DETAILS, TERMINAL, Reported, details
from cloud_bridge.protocol.fleet.topics import Tree
from cloud_bridge.protocol.fleet.wire import encode

OVERTAKEN = 2.0
"""Seconds after which a report goes out again that may have come before its file."""

REFUSED = "refused"
"""The token of a report that is said once."""

_log = logging.getLogger(__name__)


class Flight(msgspec.Struct, frozen=True):
    """A report that was sent and not answered yet."""

    sent: Sent
    until: float
    """When it is sent again."""
    blind: bool = False
    """The controller's version is below the one that is known here: any will do."""


class Reports:
    """Of one device."""

    def __init__(self, tree: Tree, thing: str, duty: Duty, patience: Patience) -> None:
        self._tree, self._thing, self._duty, self._patience = tree, thing, duty, patience
        self._flights: dict[str, Flight] = {}

    def up(self) -> None:
        """The connection is there: whatever was under way may be lost."""
        self._flights.clear()

    def again(self, when: float) -> None:
        """Who is to answer may never have heard what is under way: it goes out again then, at the latest."""
        self._flights = {
            job: msgspec.structs.replace(flight, until=min(flight.until, when)) for job, flight in self._flights.items()
        }

    def due(self, now: Instant) -> list[Said]:
        """What is to be said by now."""
        going: list[Said] = []
        letters = self._duty.letters()
        reported = {sent.report.job for sent in letters}  # of a job that the controller ended nothing is told any more
        self._flights = {job: flight for job, flight in self._flights.items() if job in reported}
        for sent in letters:
            flight = self._flights.get(sent.report.job)
            if flight is None or flight.until <= now.mono:
                blind = flight is not None and flight.blind and flight.sent.letter == sent.letter
                self._flights[sent.report.job] = Flight(sent, self._patience.again(now), blind)
                going += self._report(sent, blind=blind)
        return going

    def next(self) -> float:
        """When one is to go out again."""
        return min((flight.until for flight in self._flights.values()), default=float("inf"))

    def refused(self, report: Report, version: int) -> list[Said]:
        """One that is said once, for nothing is kept of its job."""
        _log.warning("job %s is refused: %s", report.job, report.details.get("reason", ""))
        return [self._update(report, version, REFUSED)]

    def accepted(self, id: str, told: jobs.Updated) -> bool:
        """A report was accepted: whether that was a job's last."""
        state = told.execution_state
        if (flight := self._flight(id, told.client_token)) is not None:
            self._duty.accepted(flight.sent, flight.sent.version + 1 if state is None else state.version_number)
            del self._flights[id]
        return told.client_token == REFUSED or (flight is not None and flight.sent.report.state in TERMINAL)

    def rejected(self, id: str, told: jobs.Rejected, now: Instant) -> None:
        """A report was not: it goes out with the version that holds, or later, or never."""
        flight = self._flight(id, told.client_token)
        if flight is None:
            return
        sent, state = flight.sent, told.execution_state
        if told.code == "ResourceNotFound" or state is not None:
            self._duty.rejected(sent, None if state is None else state.status, 0 if state is None else state.version_number)
            if state is None or state.status not in OPEN or state.version_number > sent.version:
                del self._flights[id]
                return
        _log.warning("the controller does not take the report of job %s: %s: %s", id, told.code, told.message)
        self._flights[id] = msgspec.structs.replace(
            flight, blind=state is not None and state.version_number < sent.version,
            until=now.mono + (OVERTAKEN if sent.report.body else RETRY),
        )  # fmt: skip

    def _flight(self, id: str, token: str) -> Flight | None:
        flight = self._flights.get(id)
        return flight if flight is not None and token == str(flight.sent.letter.number) else None

    def _report(self, sent: Sent, *, blind: bool) -> list[Said]:
        version, token = None if blind else sent.version, str(sent.letter.number)
        going = [self._update(sent.report, version, token)]
        if sent.report.body:
            packed = said(self._tree, topics.RESULT, sent.report.body, thing=self._thing, job=sent.report.job)
            going.insert(0, msgspec.structs.replace(packed, form="application/zlib"))
        return going

    def _update(self, report: Report, version: int | None, token: str) -> Said:
        status, told = _words(report)
        update = jobs.Update(
            status=status, expected_version=version, execution_number=report.execution or None, status_details=told,
            include_job_execution_state=True, client_token=token,
        )  # fmt: skip
        return said(self._tree, topics.JOB_UPDATE, encode(update), thing=self._thing, job=report.job)


def _words(report: Report) -> tuple[Reported, dict[str, str]]:
    """A report as a device may word it: one that the server has ended is no word of its own."""
    told = {re.sub(r"[^a-zA-Z0-9:_-]", "-", name)[:128] or "-": text for name, text in report.details.items()}
    status: Reported
    match report.state:
        case "IN_PROGRESS" | "SUCCEEDED" | "FAILED" | "REJECTED":
            status = report.state
        case other:
            status, told = "FAILED", told | {"reason": f"this device knows it as {other}"}
    if report.body:
        told |= {FILE: hashlib.sha256(report.body).hexdigest()}
    first = {name: told[name] for name in ("reason", "step", FILE) if name in told}  # what is cut off is the rest
    return status, dict([*details(**(first | told)).items()][:MOST_DETAILS])
