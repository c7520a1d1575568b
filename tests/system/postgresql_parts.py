"""A registry on PostgreSQL, for tests: on the server that EDGE_TEST_POSTGRESQL names, each in a schema of its own.

EDGE_TEST_POSTGRESQL=postgresql+psycopg://USER@HOST[:PORT]/NAME make test
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import create_engine, make_url, text

SERVER = "EDGE_TEST_POSTGRESQL"


@contextmanager
def schema() -> Iterator[str]:
    """The URL of an empty schema, which is gone at the end; the test is passed over where no server is named."""
    if (given := os.environ.get(SERVER)) is None:
        pytest.skip(f"{SERVER} names no server")
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
