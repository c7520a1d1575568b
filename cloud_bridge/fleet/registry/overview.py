"""What operators look at, over all jobs and things at once. It changes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec

from cloud_bridge.extra import required
from cloud_bridge.fleet.registry.database import Database
from cloud_bridge.fleet.registry.held import execution
from cloud_bridge.fleet.registry.tables import executions, jobs, shadows, things
from cloud_bridge.fleet.standing import ACTIVE, Standing
from cloud_bridge.protocol.fleet.jobs import JobExecution, State
from edge_runtime.errors import InputError

with required("a fleet's registry"):
    from sqlalchemy import func, select

MANY = 1000
"""Executions that are looked at one by one, at most, while somebody watches."""

FAILURES: tuple[State, ...] = ("FAILED", "REJECTED", "TIMED_OUT")


class Overview:
    """In a database; for any number of threads and processes. `now` is in UNIX seconds."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def jobs(self, now: float, *, active: bool = False) -> tuple[Standing, ...]:
        """All, or those that are not over, oldest first."""
        found = self._standings(now, None)
        return tuple(each for each in found if not active or each.phase in ACTIVE)

    def job(self, job: str, now: float) -> Standing:
        """Raises InputError where there is none."""
        for found in self._standings(now, job):
            return found
        raise InputError(f"there is no job {job[:64]!r}: `cloud-bridge fleet jobs` lists them")

    def failures(self, job: str) -> Mapping[str, JobExecution]:
        """By thing, the executions that have ended badly, without documents."""
        query = select(executions).where(executions.c.job == job, executions.c.status.in_(FAILURES))
        with self._database.reading() as connection:
            return {row.thing: execution(row) for row in connection.execute(query.order_by(executions.c.thing))}

    def away(self, job: str) -> int:
        """How many things have not begun with it and are not there."""
        query = select(func.count()).select_from(executions).join(things, things.c.thing == executions.c.thing)
        query = query.where(executions.c.job == job, executions.c.status == "QUEUED", things.c.state != "ready")
        with self._database.reading() as connection:
            return int(connection.execute(query).scalar_one())

    def steps(self, job: str) -> Mapping[str, int]:
        """Of the things that carry it out, how many are at which step; none of them where they are too many to look at."""
        query = select(executions).where(executions.c.job == job, executions.c.status == "IN_PROGRESS").limit(MANY + 1)
        with self._database.reading() as connection:
            found = [execution(row).status_details.get("step", "") for row in connection.execute(query)]
        return {} if len(found) > MANY else Counter(step for step in found if step)

    def reported(self, shadow: str) -> Mapping[str, Mapping[str, object]]:
        """By thing, what it has reported in its shadow of this name. One that cannot be read is left out."""
        found: dict[str, Mapping[str, object]] = {}
        with self._database.reading() as connection:
            rows = connection.execute(select(shadows.c.thing, shadows.c.document).where(shadows.c.name == shadow)).all()
        for thing, document in rows:
            try:
                found[thing] = msgspec.json.decode(document, type=tuple[dict[str, object], dict[str, object]])[1]
            except (msgspec.MsgspecError, UnicodeDecodeError):
                continue  # its reader is told by `Devices.shadow`; here the rest is worth more
        return found

    def _standings(self, now: float, job: str | None) -> tuple[Standing, ...]:
        its = jobs.c
        columns = its.job, its.phase, its.why, its.document, its.created, its.expires, its.holder, its.held_until
        query = select(*columns).order_by(jobs.c.created, jobs.c.job)
        counted = select(executions.c.job, executions.c.status, func.count()).group_by(
            executions.c.job, executions.c.status
        )
        if job is not None:
            query, counted = query.where(jobs.c.job == job), counted.where(executions.c.job == job)
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
            counts: dict[str, dict[State, int]] = {}
            for whose, status, count in connection.execute(counted):
                counts.setdefault(whose, {})[status] = count
        return tuple(_standing(row, counts.get(row.job, {}), now) for row in rows)


def _standing(row: Any, counts: Mapping[State, int], now: float) -> Standing:
    taken = bool(row.holder) and row.held_until > now
    return Standing(row.job, row.phase, row.why, row.document, row.created, row.expires, taken, counts)
