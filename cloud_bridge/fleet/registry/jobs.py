"""Jobs, their executions, and the logs of their rollouts.

    create -> hold ... hold -> over

Whoever changes a job holds it: one transaction, one holder at a time, over all processes. So what stands in the log, in
the executions and in the job agree at any moment, and a log's lines have one order.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
from msgspec import Raw

from cloud_bridge.extra import required
from cloud_bridge.fleet import log
from cloud_bridge.fleet.events import Began
from cloud_bridge.fleet.registry.database import Database, chunks
from cloud_bridge.fleet.registry.held import Held, execution, read_lines
from cloud_bridge.fleet.registry.tables import UNTOLD, executions, jobs, results
from cloud_bridge.fleet.spec import Rollout, check, read, write
from cloud_bridge.fleet.standing import ACTIVE
from cloud_bridge.protocol.fleet import names
from cloud_bridge.protocol.fleet.envelope import LARGEST
from cloud_bridge.protocol.fleet.jobs import JobExecution
from edge_runtime.errors import InputError

with required("a fleet's registry"):
    from sqlalchemy import Select, and_, bindparam, delete, exists, or_, select, update

_log = logging.getLogger(__name__)

PENDING = ("QUEUED", "IN_PROGRESS")


class Job(msgspec.Struct, frozen=True):
    """What was ordered. `phase` and `why` are as the rollout was last decided."""

    job: str
    document: bytes
    """What is to be done."""
    envelope: bytes
    """The document, signed: JSON, as devices get it."""
    rollout: Rollout
    created: float
    expires: float | None = None
    """When devices do not begin with it any more; None: never."""
    phase: str = "running"
    why: str = ""

    @property
    def digest(self) -> str:
        """The document's SHA-256."""
        return hashlib.sha256(self.document).hexdigest()


def _untold() -> Select[Any]:
    """Asked for at every step, and made once: that takes longer than the answer."""
    other, its = executions.alias(), executions.c
    sooner = or_(other.c.queued < its.queued, and_(other.c.queued == its.queued, other.c.job < its.job))
    first = or_(other.c.status == "IN_PROGRESS", and_(other.c.status == "QUEUED", sooner))
    behind = exists().where(other.c.thing == its.thing, other.c.job != its.job, other.c.status.in_(PENDING), first)
    query = select(executions).where(its.job == bindparam("of"), UNTOLD, or_(its.status != "QUEUED", ~behind))
    return query.order_by(its.thing).limit(bindparam("most"))


_UNTOLD = _untold()


class Jobs:
    """In a database; for any number of threads and processes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, job: Job) -> bool:
        """A new job. False if there is one of this id, with the same document. Raises InputError for one of this id with
        another document, and for what is no job."""
        names.check(job.job, "job")
        if not 0 < len(job.envelope) <= LARGEST or len(job.document) > LARGEST:
            raise InputError(f"job {job.job}: an order has at most {LARGEST} bytes, and is not empty")
        try:
            msgspec.json.decode(job.envelope)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise InputError(f"job {job.job}: its envelope is no JSON: {error}") from error
        row = {
            "job": job.job, "document": job.document, "digest": job.digest, "envelope": job.envelope,
            "rollout": write(check(job.rollout)), "created": job.created, "expires": job.expires, "phase": "running",
            "why": "", "length": 0, "holder": "", "held_until": 0.0,
        }  # fmt: skip
        with self._database.writing() as connection:
            if connection.execute(self._database.insert(jobs).values(row).on_conflict_do_nothing()).rowcount == 1:
                return True
            known = connection.execute(select(jobs.c.digest).where(jobs.c.job == job.job)).scalar_one()
        if known != job.digest:
            raise InputError(f"there is a job {job.job} with another document: give this one another id")
        return False

    def get(self, job: str) -> Job:
        """Raises InputError where there is none."""
        with self._database.reading() as connection:
            row = connection.execute(select(jobs).where(jobs.c.job == job)).first()
        if row is None:
            raise InputError(f"there is no job {job[:64]!r}: `cloud-bridge fleet jobs` lists them")
        return Job(
            row.job, row.document, row.envelope, read(row.rollout), row.created, row.expires, row.phase, row.why
        )  # fmt: skip

    def list(self, *, active: bool = False) -> tuple[str, ...]:
        """The ids of all, or of those that are not over, oldest first."""
        query = select(jobs.c.job).order_by(jobs.c.created, jobs.c.job)
        with self._database.reading() as connection:
            return tuple(connection.execute(query.where(jobs.c.phase.in_(ACTIVE)) if active else query).scalars())

    def prune(self, before: float) -> tuple[str, ...]:
        """Forget jobs that are over, with their executions, logs and results: those in which nothing has happened since
        this instant, and of which nobody has to be told any more. Which; each is a change of its own."""
        its = executions.c
        alive = exists().where(its.job == jobs.c.job, or_(its.status.in_(PENDING), its.updated >= before, its.told == 0))
        over = and_(jobs.c.phase.not_in(ACTIVE), jobs.c.created < before, ~alive)
        with self._database.reading() as connection:
            found = connection.execute(select(jobs.c.job).where(over).order_by(jobs.c.created, jobs.c.job)).scalars().all()
        gone = []
        for job in found:
            with self._database.writing() as connection:  # its rows elsewhere go with it
                if connection.execute(delete(jobs).where(jobs.c.job == job, over)).rowcount == 1:
                    gone.append(job)
        return tuple(gone)

    def claim(self, holder: str, now: float, seconds: float) -> tuple[str, ...]:
        """The jobs that are this controller's to step for so long: those that it had, and those that nobody has. Oldest
        first."""
        free = or_(jobs.c.holder == holder, jobs.c.held_until <= now)
        # Over or not: of one that is over somebody may not have been told.
        work = or_(jobs.c.phase.in_(ACTIVE), jobs.c.job.in_(select(executions.c.job).where(UNTOLD)))
        query = select(jobs.c.job).where(jobs.c.holder == holder, work).order_by(jobs.c.created, jobs.c.job)
        with self._database.writing() as connection:
            connection.execute(update(jobs).where(work, free).values(holder=holder, held_until=now + seconds))
            return tuple(connection.execute(query).scalars())

    def release(self, holder: str) -> None:
        """Leave to others what was claimed."""
        with self._database.writing() as connection:
            connection.execute(update(jobs).where(jobs.c.holder == holder).values(holder="", held_until=0.0))

    @contextmanager
    def hold(self, job: str) -> Iterator[Held | None]:
        """A job, for a change that is kept whole or not at all; None: there is none."""
        wanted = jobs.c.job, jobs.c.envelope, jobs.c.holder, jobs.c.length, jobs.c.phase, jobs.c.why
        query = select(*wanted).where(jobs.c.job == job)
        with self._database.writing() as connection:
            row = connection.execute(query.with_for_update()).first()
            if row is None:
                yield None
                return
            held = Held(connection, row)
            yield held
            held.close()

    def log(self, job: str) -> tuple[log.Line, ...]:
        """All lines of its rollout so far. Raises InputError for no such job, and for lines that are damaged."""
        known = self.get(job)
        with self._database.reading() as connection:
            length = connection.execute(select(jobs.c.length).where(jobs.c.job == job)).scalar_one()
            return (Began(known.created, job, known.rollout), *read_lines(connection, job, 0, length))

    def executions(self, job: str) -> Mapping[str, JobExecution]:
        """How each thing that was told stands, by name."""
        query = select(executions).where(executions.c.job == job).order_by(executions.c.thing)
        with self._database.reading() as connection:
            return {row.thing: execution(row) for row in connection.execute(query)}

    def pending(self, things: Iterable[str]) -> Mapping[str, Sequence[JobExecution]]:
        """By thing, its executions that have not ended, with their documents."""
        found: dict[str, list[JobExecution]] = {}
        for some in chunks(sorted(set(things))):
            query = select(executions, jobs.c.envelope).join(jobs, jobs.c.job == executions.c.job)
            query = query.where(executions.c.thing.in_(some), executions.c.status.in_(PENDING))
            with self._database.reading() as connection:
                for row in connection.execute(query):
                    try:
                        found.setdefault(row.thing, []).append(execution(row, Raw(row.envelope)))
                    except InputError as error:
                        _log.error("%s; it is passed over", error)
        return found

    def untold(self, job: str, most: int) -> Mapping[str, JobExecution]:
        """By thing, executions that it has to be told of, so many at most: those that a controller has ended, and those
        that are its next one. Of one that waits behind another job's it is told when that has ended."""
        with self._database.reading() as connection:
            rows = connection.execute(_UNTOLD, {"of": job, "most": most})
            return {row.thing: execution(row) for row in rows}

    def told(self, job: str, done: Mapping[str, JobExecution]) -> None:
        """By thing, executions that it has been told of as they are here; not of what has changed since."""
        change = update(executions).where(executions.c.job == job, executions.c.thing == bindparam("who"))
        change = change.where(executions.c.version == bindparam("at")).values(told=1)
        rows = [{"who": thing, "at": each.version_number} for thing, each in sorted(done.items())]
        if rows:
            with self._database.writing() as connection:
                connection.execute(change, rows)

    def keep(self, job: str, thing: str, body: bytes, now: float) -> bool:
        """What a job has brought back from a thing, instead of what came before. False where it is not this thing's to say:
        it has no execution of the job that has not ended."""
        row = {"job": job, "thing": thing, "body": body, "received": now}
        mine = executions.c.job == job, executions.c.thing == thing, executions.c.status.in_(PENDING)
        with self._database.writing() as connection:
            if connection.execute(select(executions.c.job).where(*mine)).first() is None:
                return False
            fresh = self._database.insert(results).values(row)
            replaced = {"body": fresh.excluded.body, "received": fresh.excluded.received}
            connection.execute(fresh.on_conflict_do_update(index_elements=["job", "thing"], set_=replaced))
            return True

    def results(self, job: str) -> Mapping[str, bytes]:
        """What it has brought back, by thing, as it came."""
        query = select(results.c.thing, results.c.body).where(results.c.job == job).order_by(results.c.thing)
        with self._database.reading() as connection:
            return {row.thing: row.body for row in connection.execute(query)}
