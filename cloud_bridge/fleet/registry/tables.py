"""The registry's tables. Instants are UNIX seconds, documents are bytes as they came."""

from __future__ import annotations

from cloud_bridge.extra import required

with required("a fleet's registry"):
    from sqlalchemy import (
        Column,
        Float,
        ForeignKey,
        ForeignKeyConstraint,
        Index,
        Integer,
        LargeBinary,
        MetaData,
        String,
        Table,
        Text,
        literal_column,
    )

VERSION = 1
"""Of these tables. A registry with a newer one is refused: its tables may mean something else."""

NAME = String(64)

metadata = MetaData()

schema = Table("schema", metadata, Column("version", Integer, primary_key=True))

group = Table("group", metadata, Column("name", NAME, primary_key=True))
"""One row: the name by which controllers share what they hear. Nobody else knows it: on some brokers whoever joins them
takes messages away, even those that he may not read."""

things = Table(
    "things", metadata,
    Column("thing", NAME, primary_key=True),
    Column("presence", LargeBinary, nullable=False),
    Column("state", String(16), nullable=False),
    Column("seen", Float(53), nullable=False),
)  # fmt: skip

members = Table(
    "members", metadata,
    Column("group", NAME, primary_key=True),
    Column("thing", NAME, ForeignKey("things.thing", ondelete="CASCADE"), primary_key=True, index=True),
)  # fmt: skip

shadows = Table(
    "shadows", metadata,
    Column("thing", NAME, ForeignKey("things.thing", ondelete="CASCADE"), primary_key=True),
    Column("name", NAME, primary_key=True),
    Column("document", LargeBinary, nullable=False),
    Column("version", Integer, nullable=False),
)  # fmt: skip

jobs = Table(
    "jobs", metadata,
    Column("job", NAME, primary_key=True),
    Column("document", LargeBinary, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("envelope", LargeBinary, nullable=False),
    Column("rollout", LargeBinary, nullable=False),
    Column("created", Float(53), nullable=False),
    Column("expires", Float(53)),
    Column("phase", String(16), nullable=False, index=True),
    Column("why", Text, nullable=False),
    Column("length", Integer, nullable=False),
    Column("holder", String(64), nullable=False),
    Column("held_until", Float(53), nullable=False),
)  # fmt: skip

executions = Table(
    "executions", metadata,
    Column("job", NAME, ForeignKey("jobs.job", ondelete="CASCADE"), primary_key=True),
    Column("thing", NAME, primary_key=True),
    Column("number", Integer, nullable=False),
    Column("status", String(16), nullable=False),
    Column("version", Integer, nullable=False),
    Column("details", LargeBinary, nullable=False),
    Column("queued", Float(53), nullable=False),
    Column("started", Float(53)),
    Column("updated", Float(53), nullable=False),
    Column("told", Integer, nullable=False),
)  # fmt: skip

Index("executions_of_thing", executions.c.thing, executions.c.status)

UNTOLD = executions.c.told == literal_column("0")
"""Written out, since a bound value would not find the index."""
Index("executions_untold", executions.c.job, sqlite_where=UNTOLD, postgresql_where=UNTOLD)

lines = Table(
    "lines", metadata,
    Column("job", NAME, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("line", LargeBinary, nullable=False),
    ForeignKeyConstraint(["job"], ["jobs.job"], ondelete="CASCADE"),
)  # fmt: skip

results = Table(
    "results", metadata,
    Column("job", NAME, primary_key=True),
    Column("thing", NAME, primary_key=True),
    Column("body", LargeBinary, nullable=False),
    Column("received", Float(53), nullable=False),
    ForeignKeyConstraint(["job", "thing"], ["executions.job", "executions.thing"], ondelete="CASCADE"),
)  # fmt: skip
"""What jobs brought back, as it came."""
