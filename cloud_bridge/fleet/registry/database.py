"""The database of a registry: a file (SQLite), or a server's by its URL (PostgreSQL). Errors of SQLAlchemy end here."""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cloud_bridge.extra import required
from cloud_bridge.fleet.registry import tables
from edge_runtime.errors import EdgeError, InputError, UnreachableError

with required("a fleet's registry"):
    from sqlalchemy import Connection, Engine, Table, create_engine, event, func, insert, select
    from sqlalchemy.dialects import postgresql, sqlite
    from sqlalchemy.dialects.sqlite import Insert
    from sqlalchemy.engine import URL, make_url
    from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, NoSuchModuleError, SQLAlchemyError
    from sqlalchemy.exc import TimeoutError as PoolTimeoutError

PATIENCE = 30.0
"""Seconds that a process waits for others to end their changes."""

SOME = 500
"""Names in one statement."""

_MAKING = 0x45525231
"""What is locked on a server while tables are made."""

FILES = "sqlite"
SERVERS = "postgresql"


class Database:
    """For any number of threads and processes. `where` is a path or a URL. Raises InputError for one that is none, or that
    a newer release has written, and UnreachableError where it does not answer."""

    def __init__(self, where: str | Path) -> None:
        self.name = str(where).rpartition("@")[2]  # whatever stands before it may be a password
        with told(self.name):
            url = _url(where)
            self.name = url.render_as_string(hide_password=True)
            self._engine = _opened(url)
            self.dialect = self._engine.dialect.name
            try:
                self._prepare()
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Let go of it."""
        self._engine.dispose()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that sees one moment, and changes nothing."""
        with told(self.name), self._engine.connect() as plain:
            connection = plain
            if self.dialect == SERVERS:  # where each statement sees a moment of its own, unless told otherwise
                connection = plain.execution_options(isolation_level="REPEATABLE READ")
            with connection.begin():
                yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that is kept whole, or not at all where something is raised in it."""
        with told(self.name), self._engine.connect() as plain:
            connection = plain.execution_options(writing=True)
            with connection.begin():
                yield connection

    def insert(self, table: Table) -> Insert:
        """An insert that knows `on_conflict_do_nothing`: each dialect has one of its own. It tells how many rows there were
        room for."""
        fresh = sqlite.insert(table) if self.dialect == FILES else postgresql.insert(table)
        return fresh.execution_options(preserve_rowcount=True)  # type: ignore[return-value]

    def _prepare(self) -> None:
        """Make the tables in one that has none."""
        with self.writing() as connection:
            if self.dialect == SERVERS:  # on which two that come first would both make them, and one would fail
                connection.execute(select(func.pg_advisory_xact_lock(_MAKING)))
            tables.schema.create(connection, checkfirst=True)
            version = connection.execute(select(tables.schema.c.version)).scalar()
            if version is None:
                tables.metadata.create_all(connection)
                connection.execute(insert(tables.schema).values(version=tables.VERSION))
                connection.execute(insert(tables.group).values(name=f"controllers-{secrets.token_hex(16)}"))
            elif version != tables.VERSION:
                raise InputError(
                    f"the registry {self.name} has tables of version {version}, and this release reads version "
                    f"{tables.VERSION}: use the release that wrote it, or another registry"
                )
            self.group = str(connection.execute(select(tables.group.c.name)).scalar_one())


def chunks(names: Sequence[str]) -> Iterator[Sequence[str]]:
    """As many at a time as a statement takes."""
    return (names[at : at + SOME] for at in range(0, len(names), SOME))


@contextmanager
def told(name: str) -> Iterator[None]:
    """Errors of SQLAlchemy and of its drivers, as ours."""
    try:
        yield
    except EdgeError:
        raise
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        raise InputError(
            f"{name} is no registry: {error}; give a file, or a URL like postgresql+psycopg://user@host/fleet: its driver "
            "comes with edge-runtime[postgresql]"
        ) from error
    except (IntegrityError, DataError) as error:
        raise InputError(f"the registry {name} does not take this: {error.orig}") from error
    except PoolTimeoutError as error:
        raise UnreachableError(f"the registry {name} is busy: more threads than connections wait for it") from error
    except DBAPIError as error:
        what = f"the registry {name}: {error.orig}"
        if "not a database" in str(error.orig) or "malformed" in str(error.orig):
            raise InputError(f"{what}; it is damaged, or something else: name another file, or restore a copy") from error
        raise UnreachableError(f"{what}; see that its disk has room and its server runs, then try again") from error
    except SQLAlchemyError as error:
        raise UnreachableError(f"the registry {name} failed: {error}") from error


def _url(where: str | Path) -> URL:
    if isinstance(where, str) and "://" in where:
        return make_url(where)
    return URL.create(FILES, database=str(where))


def _opened(url: URL) -> Engine:
    if url.get_backend_name() == SERVERS:
        return create_engine(url, pool_pre_ping=True)
    if url.get_backend_name() != FILES:
        raise InputError(f"a registry is in SQLite or PostgreSQL, not in {url.get_backend_name()}")
    if not url.database or url.database == ":memory:":
        raise InputError("a registry in memory is nobody else's and gone with the process: name a file")
    engine = create_engine(url, connect_args={"timeout": PATIENCE})
    event.listen(engine, "connect", _set_up)
    event.listen(engine, "begin", _begin)
    return engine


def _set_up(connection: Any, record: object) -> None:
    connection.isolation_level = None  # transactions begin where we say
    until = time.monotonic() + PATIENCE
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            break
        except sqlite3.OperationalError as error:  # this one waits for nobody, though others may open it just now
            if "locked" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(0.02)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")


def _begin(connection: Connection) -> None:
    """A transaction that read first and then writes would fail where another process wrote in between."""
    writing = connection.get_execution_options().get("writing", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")
