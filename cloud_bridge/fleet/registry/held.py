"""A job in the hands of one process: a transaction on it, its executions and its log."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Raw

from cloud_bridge.extra import required
from cloud_bridge.fleet import log
from cloud_bridge.fleet.events import Began
from cloud_bridge.fleet.registry.database import chunks
from cloud_bridge.fleet.registry.tables import executions, jobs, lines, results
from cloud_bridge.protocol.fleet.jobs import BY_DEVICE, Details, JobExecution
from edge_runtime.errors import InputError

with required("a fleet's registry"):
    from sqlalchemy import Connection, bindparam, insert, select, update


class Held:
    """Made by `Jobs.hold`. What it is given is written when that ends."""

    def __init__(self, connection: Connection, row: Any) -> None:
        self.job, self.envelope, self.holder, self.length = row.job, row.envelope, row.holder, row.length
        """`length` is the number of lines in its log, `holder` the controller that has claimed it."""
        self._stands = row.phase, row.why
        self._connection = connection
        self._values: dict[str, Any] = {}

    def entries(self, after: int) -> tuple[log.Entry, ...]:
        """The lines of its log after so many. Raises InputError where one is missing or damaged."""
        return read_lines(self._connection, self.job, after, self.length)

    def append(self, entries: Iterable[log.Entry]) -> None:
        """More lines."""
        rows = [
            {"job": self.job, "number": number, "line": log.encode(entry)}
            for number, entry in enumerate(entries, self.length + 1)
        ]
        if rows:
            self._connection.execute(insert(lines), rows)
            self.length += len(rows)
            self._values["length"] = self.length

    def become(self, phase: str, why: str) -> None:
        """How its rollout is by now."""
        if (phase, why) != self._stands:
            self._values |= {"phase": phase, "why": why}

    def executions(self, things: Iterable[str]) -> Mapping[str, JobExecution]:
        """Of these things, those that were told, without documents."""
        found: dict[str, JobExecution] = {}
        for some in chunks(sorted(set(things))):
            query = select(executions).where(executions.c.job == self.job, executions.c.thing.in_(some))
            found |= {row.thing: execution(row) for row in self._connection.execute(query)}
        return found

    def file(self, thing: str) -> bytes | None:
        """What it has brought back from a thing so far."""
        query = select(results.c.body).where(results.c.job == self.job, results.c.thing == thing)
        found: bytes | None = self._connection.execute(query).scalar()
        return found

    def put(self, changes: Mapping[str, tuple[JobExecution | None, JobExecution]]) -> None:
        """By thing, executions as they were and as they are now; None: there was none. Raises InputError if one was not as
        it was said to be: nothing is written then."""
        fresh = [_row(thing, after) for thing, (before, after) in sorted(changes.items()) if before is None]
        if fresh:
            self._connection.execute(insert(executions), fresh)
        changed = [
            _row(thing, after) | {"was": before.version_number}
            for thing, (before, after) in sorted(changes.items())  # in one order for all: no two wait for each other
            if before is not None
        ]
        if changed:
            keyed = [{"of": row.pop("job"), "who": row.pop("thing"), **row} for row in changed]
            change = update(executions).where(executions.c.job == bindparam("of"), executions.c.thing == bindparam("who"))
            done = self._connection.execute(change.where(executions.c.version == bindparam("was")), keyed).rowcount
            if done != len(keyed):
                raise InputError(
                    f"job {self.job}: {len(keyed) - done} executions in the registry are not as they were read; something "
                    "else than a controller has changed them"
                )

    def close(self) -> None:
        """Write what belongs to the job itself."""
        if self._values:
            self._connection.execute(update(jobs).where(jobs.c.job == self.job).values(self._values))


def read_lines(connection: Connection, job: str, after: int, length: int) -> tuple[log.Entry, ...]:
    """Of a log of this length. Raises InputError where one is missing or damaged."""
    query = select(lines.c.number, lines.c.line).where(lines.c.job == job, lines.c.number > after)
    query = query.where(lines.c.number <= length)  # as it was when the length was read
    found: list[log.Entry] = []
    for number, data in connection.execute(query.order_by(lines.c.number)):
        line = log.decode(data, f"job {job} in the registry, line {number}")
        if number != after + len(found) + 1 or isinstance(line, Began):
            raise InputError(f"the log of job {job} in the registry is damaged before line {number}")
        found.append(line)
    if after + len(found) != length:
        raise InputError(f"the log of job {job} in the registry is damaged: it has {after + len(found)} of {length} lines")
    return tuple(found)


def execution(row: Any, document: Raw = Raw()) -> JobExecution:
    """A row of the executions. Raises InputError for a damaged one."""
    try:
        return JobExecution(
            job_id=row.job, thing_name=row.thing, status=row.status, queued_at=row.queued, last_updated_at=row.updated,
            version_number=row.version, execution_number=row.number, started_at=row.started,
            status_details=msgspec.json.decode(row.details, type=Details), job_document=document,
        )  # fmt: skip
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InputError(f"the registry's execution of {row.job} on {row.thing} is damaged: {error}") from error


def _row(thing: str, execution: JobExecution) -> dict[str, Any]:
    return {
        "job": execution.job_id, "thing": thing, "number": execution.execution_number,
        "status": execution.status, "version": execution.version_number,
        "details": msgspec.json.encode(execution.status_details), "queued": execution.queued_at,
        "started": execution.started_at, "updated": execution.last_updated_at,
        "told": int(execution.status in BY_DEVICE["IN_PROGRESS"]),  # it was the thing that said so
    }  # fmt: skip
