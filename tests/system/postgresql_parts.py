"""A registry on PostgreSQL, for tests: a server of theirs, each test in a schema of its own.

The server is started where PostgreSQL is installed; EDGE_TEST_POSTGRESQL=postgresql+psycopg://USER@HOST[:PORT]/NAME names
another one.
"""

from __future__ import annotations

import atexit
import os
import pwd
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text

SERVER = "EDGE_TEST_POSTGRESQL"


@contextmanager
def schema() -> Iterator[str]:
    """The URL of an empty schema, which is gone at the end; skips, or fails in CI, where there is no PostgreSQL."""
    given = os.environ.get(SERVER) or _started(_programs())
    name, engine = f"test_{uuid.uuid4().hex}", create_engine(given, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            connection.execute(text(f"CREATE SCHEMA {name}"))
        try:
            url = make_url(given).update_query_dict({"options": f"-csearch_path={name}"})
            yield url.render_as_string(hide_password=False)
        finally:
            with engine.connect() as connection:
                connection.execute(text(f"DROP SCHEMA {name} CASCADE"))
    finally:
        engine.dispose()


def _programs() -> Path:
    """Where PostgreSQL's programs are: Debian puts them beside the PATH."""
    places = [Path(found).resolve().parent] if (found := shutil.which("initdb")) else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not places:
        if os.environ.get("CI"):
            pytest.fail("postgresql is not installed, and CI must have it")
        pytest.skip("postgresql is not installed here")
    return places[-1]


@cache
def _started(programs: Path) -> str:
    """A server for this process's tests, on a socket in a folder of its own; it goes with the process."""
    folder = Path(tempfile.mkdtemp(prefix="pg-"))  # a socket's path is short
    user = None
    if os.geteuid() == 0:  # as whom it does not run
        user = pwd.getpwnam("nobody").pw_name
        shutil.chown(folder, user)
    data = folder / "data"
    subprocess.run(
        [programs / "initdb", "--auth=trust", "--username=edge", "--no-sync", "--no-locale", "--encoding=UTF8", "-D", data],
        check=True, stdout=subprocess.DEVNULL, user=user, cwd=folder,
    )  # fmt: skip
    server = subprocess.Popen(
        [programs / "postgres", "-D", data, "-k", folder, "-h", "", "-F"],
        stderr=subprocess.DEVNULL, user=user, cwd=folder,
    )  # fmt: skip

    def stop() -> None:
        server.terminate()
        server.wait()
        shutil.rmtree(folder)

    atexit.register(stop)
    ready = [str(programs / "pg_isready"), "-q", "-h", str(folder), "-U", "edge"]
    while subprocess.run(ready, check=False).returncode:
        if server.poll() is not None:
            raise RuntimeError(f"postgres ended with status {server.returncode}")
    return f"postgresql+psycopg://edge@/postgres?host={folder}"
