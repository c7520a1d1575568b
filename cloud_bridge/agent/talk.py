"""What a device hears from its fleet and says to it: messages in, messages out. No socket, no thread, no clock: time is an
argument, and whoever has a connection carries both ways.

    talk.will(now)              the last word of the connection that is tried next
    talk.up(event, now)         it is there: what is said first
    talk.heard(message, now)    what a message leads to; the message may be acknowledged when this returns
    talk.due(now)               what is to be said by now: reports, requests that nobody answered
    talk.next(now)              when to look again, at the latest

Nothing is sent twice but what was not answered: a report goes out, alone of its job, until it was accepted or rejected.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from msgspec import UNSET

from cloud_bridge.agent.duty import Duty
from cloud_bridge.agent.journal import Journal
from cloud_bridge.agent.orders import digest_of
from cloud_bridge.agent.reports import Reports
from cloud_bridge.agent.shadows import Shadows
from cloud_bridge.agent.when import RETRY, Instant, Patience
from cloud_bridge.agent.work import OPEN
from cloud_bridge.control.link import Heard, Said, Up, said
from cloud_bridge.protocol.fleet import jobs, rpc, telemetry, topics
from cloud_bridge.protocol.fleet.jobs import Next, details
from cloud_bridge.protocol.fleet.presence import Presence, Status, next_number
from cloud_bridge.protocol.fleet.telemetry import Figures
from cloud_bridge.protocol.fleet.topics import Kind, Tree
from cloud_bridge.protocol.fleet.wire import decode, encode
from edge_runtime.errors import EdgeError, ProtocolError

RETURN = 5.0
"""Seconds over which devices ask again when a controller has come back."""

_MODELS = 256
_ANSWERS = frozenset((
    topics.START_NEXT_ACCEPTED, topics.START_NEXT_REJECTED, topics.JOB_GET_ACCEPTED, topics.JOB_GET_REJECTED,
    topics.JOB_UPDATE_ACCEPTED, topics.JOB_UPDATE_REJECTED,
))  # fmt: skip
_log = logging.getLogger(__name__)


class Talk:
    """A device's part of the conversation. Each method is called by one thread at a time, but for `will`."""

    def __init__(
        self, tree: Tree, thing: str, groups: Sequence[str], duty: Duty, journal: Journal, shadows: Shadows,
        describe: Callable[[float], rpc.DeviceStatus], *, session: str, agent: str,
        figures: Callable[[float], Figures] | None = None, every: float = 60.0,
        draw: Callable[[], float] = random.random,
    ) -> None:  # fmt: skip
        """`describe` tells how the device is, at a UNIX time; `session` is this process's, `agent` its version. `figures`
        are told each so many seconds, if there are any."""
        self._tree, self._thing, self._groups = tree, thing, tuple(groups)
        self._duty, self._journal, self._shadows, self._describe = duty, journal, shadows, describe
        self._session, self._agent, self._draw = session, agent, draw
        self._patience = Patience(draw)
        self._reports = Reports(tree, thing, duty, self._patience)
        self._controller = Presence()
        self._ask: float | None = None
        self._unanswered = float("inf")
        """When the question for the next job goes out again, unless it is answered before."""
        self._figures, self._every, self._measure = figures, every, 0.0
        self._connected = False
        self._number = 0
        self.refused: tuple[str, ...] = ()
        """The filters that the broker does not grant."""

    def will(self, now: Instant) -> Said:
        """What the broker is to say for this device when the connection that begins now is lost."""
        before = self._journal.get("bdSeq")
        self._number = next_number(int(before) if before else None, now.unix)
        self._journal.set("bdSeq", str(self._number))
        return self._status("lost")

    def farewell(self) -> Said:
        """What a device says that leaves on purpose."""
        return self._status("disconnected")

    def up(self, event: Up, now: Instant) -> list[Said]:
        """The connection is there."""
        self._connected, self.refused = True, event.refused
        self._patience.answered()  # not yet; but who was asked before may never have heard it
        self._reports.up()
        return [self._status("ready"), *self._start(now), *self._check(), *self._shadows.up(now)]

    def down(self) -> None:
        """It is gone."""
        self._connected = False

    def heard(self, message: Heard, now: Instant) -> list[Said]:
        """What a message leads to. Raises InputError when the journal fails: then it is not to be acknowledged."""
        try:
            kind, names = self._parsed(message.topic)
            if kind in _ANSWERS:
                self._patience.answered()
            return self._react(kind, names, message, now)
        except ProtocolError as error:
            _log.warning("passed over: %s", error)
            return []

    def due(self, now: Instant) -> list[Said]:
        """What is to be said by now."""
        if not self._connected:
            return []
        going: list[Said] = []
        if min(self._unanswered, float("inf") if self._ask is None else self._ask) <= now.mono:
            going += [*self._start(now), *self._check()]
        going += self._reports.due(now)
        if self._figures is not None and self._measure <= now.mono:
            self._measure = now.mono + self._every
            told = encode(self._figures(now.unix))
            going.append(self._said(topics.TELEMETRY, told, name=telemetry.DEVICE))
        return going + self._shadows.due(now)

    def next(self, now: Instant) -> float:
        """When to call `due` again if nothing happens: an instant of the monotonic clock."""
        if not self._connected:
            return now.mono + RETRY
        soonest = [self._reports.next(), self._unanswered]
        soonest += [] if self._ask is None else [self._ask]
        soonest += [] if self._figures is None else [self._measure]
        return min([*soonest, self._shadows.next(now), now.mono + RETRY])

    def _parsed(self, topic: str) -> tuple[Kind, dict[str, str]]:
        kind, names = self._tree.parse(topic)
        if names.get("thing", self._thing) != self._thing:
            raise ProtocolError(f"{topic} is said to another device")
        return kind, dict(names)

    def _react(self, kind: Kind, names: dict[str, str], message: Heard, now: Instant) -> list[Said]:
        data = message.payload
        match kind:
            case topics.NOTIFY_NEXT:
                told = jobs.decode_next(data)
                return [*self._take(told, now), *self._check(told)]
            case topics.START_NEXT_ACCEPTED:
                taken = self._take(jobs.decode_next(data), now)
                self._unanswered = float("inf")  # it is on the disk
                return taken
            case topics.JOB_GET_ACCEPTED:
                return self._take(jobs.decode_next(data), now)
            case topics.START_NEXT_REJECTED:
                self._unanswered = float("inf")
                return self._turned_away(decode(data, jobs.Rejected), now)
            case topics.JOB_GET_REJECTED:
                return self._gone(names["job"], decode(data, jobs.Rejected))
            case topics.JOB_UPDATE_ACCEPTED:
                ended = self._reports.accepted(names["job"], decode(data, jobs.Updated))
                return self._start(now) if ended else []
            case topics.JOB_UPDATE_REJECTED:
                self._reports.rejected(names["job"], decode(data, jobs.Rejected), now)
                return []
            case topics.GROUP_NOTIFY:
                return self._ask_within(decode(data, jobs.Hint).spread, now)
            case topics.CONTROLLER_STATUS:
                return self._controlled(decode(data, Status), now, retained=message.retained)
            case topics.RPC:
                return [self._answer(names["method"], message, now)]
        return self._shadows.heard(kind, names.get("shadow", ""), data, now)

    def _take(self, told: Next, now: Instant) -> list[Said]:
        """A job's message."""
        found = told.execution
        if found is None:
            return []
        if found.thing_name != self._thing:
            raise ProtocolError(f"an execution of {found.thing_name} came to {self._thing}")
        if found.status not in OPEN:
            self._duty.end(found.job_id, found.execution_number, found.status)
            return []
        if found.job_document is UNSET:
            return []
        document = bytes(found.job_document)
        refused = self._duty.receive(
            found.job_id, document, now.unix, digest=digest_of(document), execution=found.execution_number,
            version=found.version_number,
        )  # fmt: skip
        return [] if refused is None else self._reports.refused(refused, found.version_number)

    def _start(self, now: Instant) -> list[Said]:
        """Ask for the next job, and again if nobody answers: who was asked may have died, and told nobody."""
        self._ask, self._unanswered = None, self._patience.again(now)
        told = jobs.StartNext(status_details=details(agent=self._agent))
        return [self._said(topics.START_NEXT, encode(told))]

    def _check(self, told: Next | None = None) -> list[Said]:
        """Ask how the job that is under way stands, unless that was told: it may have been cancelled."""
        job = self._journal.next()
        if job is None or (told is not None and told.execution is not None and told.execution.job_id == job.id):
            return []
        asked = jobs.Get(
            execution_number=job.execution or None, include_job_document=False, client_token=str(job.execution)
        )
        return [self._said(topics.JOB_GET, encode(asked), job=job.id)]

    def _gone(self, id: str, told: jobs.Rejected) -> list[Said]:
        if told.client_token.isdecimal() and told.code in ("TerminalStateReached", "ResourceNotFound"):
            state = told.execution_state
            self._duty.end(id, int(told.client_token[:18]), "REMOVED" if state is None else state.status)
        return []

    def _turned_away(self, told: jobs.Rejected, now: Instant) -> list[Said]:
        _log.warning("the controller gives no job: %s: %s", told.code, told.message)
        return self._ask_within(RETRY, now, at_least=RETRY)

    def _ask_within(self, spread: float, now: Instant, at_least: float = 0.0) -> list[Said]:
        when = now.mono + at_least + spread * self._draw()
        self._ask = when if self._ask is None else min(self._ask, when)
        return []

    def _controlled(self, status: Status, now: Instant, *, retained: bool) -> list[Said]:
        """Who gives the orders has come, gone, or come back: what was asked in between may be lost."""
        before, self._controller = self._controller.last, self._controller.fold(status)
        last = self._controller.last
        if retained or last == before or last is None or last.state != "ready":
            return []
        self._shadows.again(now, RETURN * self._draw())
        self._reports.again(now.mono + RETURN * self._draw())
        return self._ask_within(RETURN, now)

    def _answer(self, method: str, message: Heard, now: Instant) -> Said:
        status, answer = rpc.OK, b""
        try:
            question = rpc.decode_question(method, message.payload)
            answered = rpc.Pong(timestamp=now.unix) if isinstance(question, rpc.Ping) else self._describe(now.unix)
            answer = encode(answered)
        except ProtocolError as error:
            status = rpc.BAD if method in rpc.QUESTIONS else rpc.UNKNOWN
            answer = encode(rpc.Failure(error=str(error)))
        except EdgeError as error:
            status, answer = rpc.BROKEN, encode(rpc.Failure(error=str(error)))
        said = self._said(topics.RPC_ANSWER, answer)
        return msgspec.structs.replace(
            said, expiry=message.expiry or RETRY, correlation=message.correlation, status=str(status)
        )

    def _status(self, state: Any) -> Said:
        told = Status(state=state, session=self._session, bd_seq=self._number)
        if state == "ready":
            active = dict([*self._shadows.active().items()][:_MODELS])
            told = msgspec.structs.replace(told, agent=self._agent, groups=self._groups, models=active)
        return self._said(topics.STATUS, encode(told))

    def _said(self, kind: Kind, payload: bytes, **names: str) -> Said:
        return said(self._tree, kind, payload, thing=self._thing, **names)
