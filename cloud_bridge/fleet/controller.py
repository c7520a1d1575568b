"""One of the controllers of a fleet: steps rollouts, and says what follows. It knows no broker, only a way out.

Any number of them may work on one registry. A rollout is stepped by the one that has claimed it; a claim ends by itself
when its controller died. What was decided is in the registry before anybody is told; who was told is noted after that. So
after a crash somebody may be told twice, which devices take for once; nothing is decided twice, and nobody is forgotten.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec
from msgspec import Raw

from cloud_bridge.control.link import Heard, Said
from cloud_bridge.fleet.events import Aborted, Action, Cancel, Changed, Decided, Finish, Notify, Paused, Resumed, TimeOut
from cloud_bridge.fleet.inbox import receive
from cloud_bridge.fleet.log import follow
from cloud_bridge.fleet.registry import Job, Registry
from cloud_bridge.fleet.registry.held import Held
from cloud_bridge.fleet.rollout import begin, decide, wake
from cloud_bridge.fleet.state import State
from cloud_bridge.protocol.fleet import execution
from cloud_bridge.protocol.fleet.jobs import TERMINAL, JobExecution, Next
from cloud_bridge.protocol.fleet.topics import NOTIFY_NEXT, Tree
from cloud_bridge.protocol.fleet.wire import encode
from edge_runtime.errors import InputError, RemoteError

LEASE = 10.0
"""Seconds for which a rollout is claimed: for so long it stands still when its controller has died."""

POLL = 0.5
"""Seconds after which the registry is looked at again: other controllers and operators write to it, too."""

TOGETHER = 1000
"""Things that are told in one go."""

_log = logging.getLogger(__name__)


class Port(Protocol):
    """A way out, to the broker."""

    def publish(self, messages: Sequence[Said]) -> None:
        """Returns when the broker has accepted each. Raises RemoteError when one may not have got there: all of them may
        then be said again, and devices take what comes twice for once."""


class Track(msgspec.Struct, frozen=True):
    """A rollout as far as this controller has followed it."""

    job: Job
    state: State
    length: int
    """Lines of its log that are in the state."""


class Controller:
    """`name` is its own among those that share the registry; `clock` gives UNIX seconds. For one thread at a time."""

    def __init__(
        self, registry: Registry, port: Port, clock: Callable[[], float], *, name: str, tree: Tree = Tree(),
        lease: float = LEASE,
    ) -> None:  # fmt: skip
        self._registry, self._port, self._clock = registry, port, clock
        self._name, self._tree, self._lease = name, tree, lease
        self._tracks: dict[str, Track] = {}
        self._mine: tuple[str, ...] = ()
        self._look = 0.0

    def step(self) -> float:
        """Decide what is to be done now, and say it. When to step again, at the latest; sooner, when things have spoken.
        Raises as the registry does; what the broker does not take is said at a later step."""
        now = self._clock()
        if now >= self._look:
            self._mine = self._registry.jobs.claim(self._name, now, self._lease)
            self._look = now + min(POLL, self._lease / 3)
            self._tracks = {job: track for job, track in self._tracks.items() if job in self._mine}
        again = self._look
        heard = True
        for job in self._mine:
            try:
                if (track := self._advance(job, now)) is not None:
                    again = min(again, wake(track.job.rollout, track.state))
                    heard = heard and self._announce(track.job, now)
            except InputError as error:  # damage to one is no reason to stop them all
                _log.error("job %s is not stepped: %s", job, error)
        return again

    def receive(self, messages: Sequence[Heard]) -> None:
        """Take in what things said, together, and answer. Raises as the registry does, and RemoteError: acknowledge none of
        them to the broker then; what comes again changes nothing more."""
        if answers := receive(self._registry, self._tree, messages, self._clock()):
            self._port.publish(answers)

    def close(self) -> None:
        """Leave its rollouts to other controllers."""
        self._registry.jobs.release(self._name)

    def _advance(self, job: str, now: float) -> Track | None:
        """Follow its log, decide, and write that down; None: another controller has it by now."""
        track = self._tracks.get(job) or _begun(self._registry.jobs.get(job))
        spec = track.job.rollout
        with self._registry.jobs.hold(job) as held:
            if held is None or held.holder != self._name:
                return None
            known = follow(spec, track.state, held.entries(track.length))
            state, actions = decide(spec, known, now)
            if actions:
                held.put(_carried_out(held, actions, now))
                held.append([Decided(now, actions)])
            held.become(state.phase, state.why)
        self._tracks[job] = track = Track(track.job, state, held.length)
        return track

    def _announce(self, job: Job, now: float) -> bool:
        """Tell things which execution is their next, if it is one of this job; and those whose execution a controller has
        ended that none is, where so it is: what follows is told by whoever has its job. Whether the broker took it."""
        while untold := self._registry.jobs.untold(job.job, TOGETHER):
            queued = {thing: each for thing, each in untold.items() if each.status == "QUEUED"}
            messages = [self._notice(thing, _whole(each, job), job.expires, now) for thing, each in queued.items()]
            ended = untold.keys() - queued.keys()
            pending = self._registry.jobs.pending(ended)
            messages += [self._notice(thing, None, None, now) for thing in sorted(ended - pending.keys())]
            try:
                self._port.publish(messages)
            except RemoteError as error:
                _log.warning("what was decided is not told yet, and will be: %s", error)
                return False
            self._registry.jobs.told(job.job, untold)
        return True

    def _notice(self, thing: str, following: JobExecution | None, expires: float | None, now: float) -> Said:
        payload = encode(Next(timestamp=now, execution=following))
        topic = self._tree.topic(NOTIFY_NEXT, thing=thing)
        return Said(topic, payload, None if expires is None else max(1.0, expires - now))


def order(registry: Registry, job: Job) -> bool:
    """A new job, to be rolled out from now on by whichever controller claims it. A rollout is over when its job expires.
    False if it is there already. Raises InputError."""
    spec = job.rollout
    if job.expires is not None:
        left, whole = job.expires - job.created, spec.timeouts.rollout
        if left <= 0.0:
            raise InputError(f"job {job.job} expires before it begins: give it more time")
        if whole is None or whole > left:
            spec = msgspec.structs.replace(spec, timeouts=msgspec.structs.replace(spec.timeouts, rollout=left))
    return registry.jobs.create(msgspec.structs.replace(job, rollout=spec))


def tell(registry: Registry, job: str, event: Paused | Resumed | Aborted) -> None:
    """An operator's word to a rollout. Raises InputError where there is no such job."""
    with registry.jobs.hold(job) as held:
        if held is None:
            raise InputError(f"there is no job {job[:64]!r}")
        held.append([event])


def cancel(registry: Registry, job: str, thing: str, now: float) -> bool:
    """End one thing's execution. False where it has none that has not ended."""
    with registry.jobs.hold(job) as held:
        known = None if held is None else held.executions((thing,)).get(thing)
        if held is None or known is None or known.status in TERMINAL:
            return False
        after = execution.move(known, "CANCELED", now, why="an operator has canceled it")
        held.put({thing: (known, after)})
        held.append([Changed(now, thing, after.execution_number, after.status)])
        return True


def _begun(job: Job) -> Track:
    return Track(job, begin(job.rollout, job.created), 0)


def _carried_out(
    held: Held, actions: Sequence[Action], now: float
) -> Mapping[str, tuple[JobExecution | None, JobExecution]]:
    """What the actions make of the executions. In hand, the log and they say the same: none comes too late. Of one that is
    timed out and tried again at once, its second state."""
    about = {action.thing: action for action in actions if not isinstance(action, Finish)}
    known = held.executions(about)
    return {thing: (known.get(thing), _after(held.job, known.get(thing), action, now)) for thing, action in about.items()}


def _after(job: str, before: JobExecution | None, action: Notify | Cancel | TimeOut, now: float) -> JobExecution:
    if isinstance(action, Notify):
        version = 1 if before is None else before.version_number + 1  # no two executions share one: no word is mistaken
        return JobExecution(
            job_id=job, thing_name=action.thing, status="QUEUED", queued_at=now, last_updated_at=now,
            version_number=version, execution_number=action.number,
        )  # fmt: skip
    if before is None:
        raise InputError(f"the registry has no execution of {job} on {action.thing}, which its log has: it is damaged")
    if isinstance(action, Cancel):
        return execution.move(before, "CANCELED", now, why="the rollout was stopped")
    return execution.move(before, "TIMED_OUT", now, why="its time was over")


def _whole(queued: JobExecution, job: Job) -> JobExecution:
    return msgspec.structs.replace(queued, job_document=Raw(job.envelope))
