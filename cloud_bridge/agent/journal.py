"""What a device has taken on, on its disk before anybody is told so: jobs, messages to be sent until they are accepted, and
a few values. One SQLite file (WAL, synchronous=FULL): each method that changes something is one transaction, on the disk
when it returns.

    jobs      a row a job; ids are kept `KEPT` seconds past the job's expiry, so that a message that comes again is known
    outbox    a row a subject: what is newer takes the place of what was not accepted yet
    memory    values by name: what counts sessions, and the like

One process has it open at a time. It may be called from several threads.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import RLock
from typing import Any, TypeVar, cast

import msgspec

from cloud_bridge.agent.work import OPEN, Job, report_of
from edge_runtime.errors import InputError
from edge_runtime.reading import convert

SCHEMA = 1
KEPT = 7 * 86400.0
"""Seconds that an ended job is known beyond its expiry: for clocks that differ, and messages that lay about."""

_APPLICATION = 0x45524A31  # "ERJ1": a file of ours and no other's
_TABLES = """
CREATE TABLE jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, document BLOB NOT NULL, sha256 TEXT NOT NULL,
    execution INTEGER NOT NULL, version INTEGER NOT NULL, state TEXT NOT NULL, step TEXT NOT NULL,
    attempts INTEGER NOT NULL, details TEXT NOT NULL, body BLOB NOT NULL, expires REAL NOT NULL, received REAL NOT NULL
);
CREATE TABLE outbox (number INTEGER PRIMARY KEY AUTOINCREMENT, subject TEXT NOT NULL UNIQUE, body BLOB NOT NULL);
CREATE TABLE memory (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""
_MOST = 100
"""Answers that are kept until something changes."""

_Read = TypeVar("_Read")
_FIELDS = Job.__struct_fields__
_COLUMNS = ", ".join(_FIELDS)
_OPEN = f"state IN ({', '.join(repr(state) for state in OPEN)})"


class Letter(msgspec.Struct, frozen=True):
    """A message that was not accepted yet."""

    number: int
    """Another one each time that the subject's message changes."""
    subject: str
    body: bytes


class Journal:
    """The file; ":memory:" is one that nothing survives, for simulations. Raises InputError for a file that is damaged,
    that a newer version wrote, or that another agent has open, and later when the disk fails or is full."""

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)
        self._lock = RLock()
        self._read: dict[tuple[str, ...], Any] = {}
        """What was read since the last change: nobody else changes anything, and the same is asked again and again."""
        with self._checked("opened"):
            # No transactions but those that are begun here; and few compiled statements are kept: they are most of the
            # memory of a journal, and a simulated fleet has thousands.
            self._db = sqlite3.connect(
                self.path, timeout=1.0, isolation_level=None, check_same_thread=False, cached_statements=24
            )
            try:
                self._open()
            except BaseException:
                self._db.close()
                raise

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._read.clear()
            self._db.close()

    def find(self, id: str) -> Job | None:
        """What is known of a job."""
        return self._once(("find", id), lambda: self._one("WHERE id = ?", id))

    def document(self, id: str) -> bytes:
        """The bytes in which a known job came."""
        with self._checked("read"):
            return bytes(self._db.execute("SELECT document FROM jobs WHERE id = ?", (id,)).fetchone()[0])

    def next(self) -> Job | None:
        """The job that is under way, else the one that has waited longest."""
        order = "ORDER BY state = 'IN_PROGRESS' DESC, number LIMIT 1"
        return self._once(("next",), lambda: self._one(f"WHERE {_OPEN} {order}"))

    def waiting(self) -> int:
        """Jobs that are not finished."""
        with self._checked("read"):
            return int(self._db.execute(f"SELECT count(*) FROM jobs WHERE {_OPEN}").fetchone()[0])  # noqa: S608

    def take(self, job: Job, document: bytes) -> None:
        """A job that is new, or to be run once more: what was known under its id is forgotten."""
        with self._change():
            places = ", ".join("?" * len(_FIELDS))
            self._db.execute(
                f"INSERT OR REPLACE INTO jobs ({_COLUMNS}, document) VALUES ({places}, ?)",  # noqa: S608
                (*self._row(job), document),
            )
            self._db.execute("DELETE FROM outbox WHERE subject = ?", (_subject(job.id),))

    def keep(self, job: Job, *, tell: bool = True) -> None:
        """Where a job is now; and its report into the outbox, or, if nobody is to be told, out of it."""
        with self._change():
            self._db.execute(
                "UPDATE jobs SET state = ?, step = ?, attempts = ?, details = ?, body = ? WHERE id = ?",
                (job.state, job.step, job.attempts, msgspec.json.encode(job.details).decode(), job.body, job.id),
            )  # execution and version are the server's, and may have changed meanwhile
            if tell:
                self._tell(job.id)
            else:
                self._db.execute("DELETE FROM outbox WHERE subject = ?", (_subject(job.id),))

    def again(self, id: str, execution: int, version: int) -> None:
        """A known job's message came again: what is known of it is reported again, under the newest execution."""
        with self._change():
            self._db.execute(
                "UPDATE jobs SET execution = ?, version = ? WHERE id = ? AND execution <= ?",
                (execution, version, id, execution),
            )
            if self._db.execute("SELECT 1 FROM jobs WHERE id = ? AND state != 'QUEUED'", (id,)).fetchone():
                self._tell(id)

    def outbox(self, limit: int = 100) -> tuple[Letter, ...]:
        """What was not accepted yet, the oldest first."""
        query = "SELECT number, subject, body FROM outbox ORDER BY number LIMIT ?"
        return self._once(
            ("outbox", str(limit)), lambda: tuple(Letter(*row) for row in self._db.execute(query, (limit,)))
        )  # fmt: skip

    def put(self, subject: str, body: bytes) -> None:
        """A message to be sent until it is accepted, in place of an older one on the same subject. Subjects that begin with
        "job/" are those of jobs."""
        with self._change():
            self._put(subject, body)

    def accepted(self, letter: Letter) -> bool:
        """A message has arrived. Whether it was the newest on its subject: otherwise the newer one still goes out."""
        with self._change():
            return self._db.execute("DELETE FROM outbox WHERE number = ?", (letter.number,)).rowcount > 0

    def versioned(self, id: str, execution: int, version: int) -> None:
        """The server has told its version of an execution."""
        with self._change():
            self._db.execute(
                "UPDATE jobs SET version = ? WHERE id = ? AND execution = ? AND version < ?",
                (version, id, execution, version),
            )

    def get(self, name: str, default: str = "") -> str:
        """A value by name."""
        with self._checked("read"):
            row = self._db.execute("SELECT value FROM memory WHERE name = ?", (name,)).fetchone()
            return default if row is None else str(row[0])

    def set(self, name: str, value: str) -> None:
        """Keep a value by name."""
        with self._change():
            self._db.execute("INSERT OR REPLACE INTO memory VALUES (?, ?)", (name, value))

    def count(self, name: str) -> int:
        """One more than the last time: 1, 2, 3, ..., also across restarts."""
        with self._lock, self._change():
            number = int(self.get(name, "0")) + 1
            self._db.execute("INSERT OR REPLACE INTO memory VALUES (?, ?)", (name, str(number)))
            return number

    def sweep(self, now: float) -> int:
        """Forget what ended and was reported, `KEPT` seconds past its expiry: so many jobs."""
        with self._change():
            told = "'job/' || id NOT IN (SELECT subject FROM outbox)"
            return self._db.execute(
                f"DELETE FROM jobs WHERE NOT {_OPEN} AND expires < ? AND {told}",  # noqa: S608
                (now - KEPT,),
            ).rowcount

    def _open(self) -> None:
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        application, schema = (
            self._db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
        )
        if (application, schema) == (0, 0) and not self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            with self._change():
                for statement in _TABLES.split(";"):
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA application_id = {_APPLICATION}")
                self._db.execute(f"PRAGMA user_version = {SCHEMA}")
        elif application != _APPLICATION:
            raise InputError(f"{self.path} is an SQLite file, but no journal of an agent: give another path")
        elif schema != SCHEMA:
            raise InputError(f"the journal {self.path} has schema {schema}; this version reads {SCHEMA}: upgrade the agent")
        elif (found := self._db.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise sqlite3.DatabaseError(found)

    def _tell(self, id: str) -> None:
        row = self._db.execute(f"SELECT {_COLUMNS} FROM jobs WHERE id = ?", (id,)).fetchone()  # noqa: S608
        self._put(_subject(id), msgspec.json.encode(report_of(self._job(row))))

    def _put(self, subject: str, body: bytes) -> None:
        self._db.execute("INSERT OR REPLACE INTO outbox (subject, body) VALUES (?, ?)", (subject, body))

    def _row(self, job: Job) -> tuple[object, ...]:
        return tuple(
            msgspec.json.encode(value).decode() if isinstance(value, dict) else value
            for value in (getattr(job, name) for name in _FIELDS)
        )

    def _one(self, where: str, *values: object) -> Job | None:
        row = self._db.execute(f"SELECT {_COLUMNS} FROM jobs {where}", values).fetchone()  # noqa: S608
        return None if row is None else self._job(row)

    def _once(self, what: tuple[str, ...], read: Callable[[], _Read]) -> _Read:
        with self._checked("read"):
            if what not in self._read:
                if len(self._read) >= _MOST:
                    self._read.clear()
                self._read[what] = read()
            return cast("_Read", self._read[what])

    def _job(self, row: tuple[object, ...]) -> Job:
        fields = dict(zip(_FIELDS, row, strict=True))
        return convert(fields | {"details": msgspec.json.decode(str(fields["details"]))}, Job)

    @contextmanager
    def _change(self) -> Iterator[None]:
        """One transaction: all of it is on the disk at the end, or nothing."""
        with self._checked("written"):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
            finally:
                self._read.clear()

    @contextmanager
    def _checked(self, what: str) -> Iterator[None]:
        """One thread at a time, and what SQLite's errors become."""
        with self._lock:
            try:
                yield
            except sqlite3.ProgrammingError as error:
                raise InputError(f"the journal {self.path} cannot be {what}: it is closed") from error
            except sqlite3.OperationalError as error:
                locked = "another agent has it open" if "locked" in str(error) else str(error)
                raise InputError(f"the journal {self.path} cannot be {what}: {locked}") from error
            except (sqlite3.DatabaseError, msgspec.MsgspecError, UnicodeDecodeError) as error:
                raise InputError(
                    f"the journal {self.path} is damaged ({error}): cancel this device's jobs, then move the file away; a "
                    "job that it knew would be done once more if its message came again"
                ) from error


def _subject(id: str) -> str:
    return f"job/{id}"
