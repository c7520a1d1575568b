"""What the registry takes and refuses in a file, it does on a server too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from sqlalchemy import func, select

from cloud_bridge.fleet.registry import Registry
from cloud_bridge.fleet.registry.database import Database
from cloud_bridge.fleet.registry.tables import jobs
from edge_runtime.errors import UnreachableError
from tests.system.postgresql_parts import schema
from tests.unit.test_fleet_registry import (
    JOB,
    test_a_claim_is_one_controller_s,
    test_a_job_s_identity_is_its_id_and_its_document,
    test_a_shadow_is_compared_and_set,
    test_an_execution_that_is_not_as_it_was_read_is_not_changed,
    test_many_at_once,
    test_old_jobs_are_forgotten,
    test_things_and_groups,
    test_what_fails_in_the_middle_is_not_kept,
    test_what_is_no_job_is_not_kept,
    test_who_was_told_of_an_old_version_is_told_again,
)

__all__ = [
    "test_a_claim_is_one_controller_s",
    "test_a_job_s_identity_is_its_id_and_its_document",
    "test_a_shadow_is_compared_and_set",
    "test_an_execution_that_is_not_as_it_was_read_is_not_changed",
    "test_many_at_once",
    "test_old_jobs_are_forgotten",
    "test_things_and_groups",
    "test_what_fails_in_the_middle_is_not_kept",
    "test_what_is_no_job_is_not_kept",
    "test_who_was_told_of_an_old_version_is_told_again",
]


@pytest.fixture
def url() -> Iterator[str]:
    """An empty place on a server."""
    with schema() as made:
        yield made


@pytest.fixture
def registry(url: str) -> Iterator[Registry]:
    """There."""
    with Registry(url) as made:
        yield made


def test_it_is_kept(url: str) -> None:
    """One that is opened again holds what it held."""
    with Registry(url) as registry:
        registry.jobs.create(JOB)
    with Registry(url) as registry:
        assert registry.jobs.get("j1") == JOB


def test_who_reads_sees_one_moment(url: str, registry: Registry) -> None:
    """Whatever others change meanwhile."""
    with closing(Database(url)) as database, database.reading() as connection:
        query = select(func.count()).select_from(jobs)
        assert connection.execute(query).scalar_one() == 0
        registry.jobs.create(JOB)
        assert connection.execute(query).scalar_one() == 0
    with closing(Database(url)) as database, database.reading() as connection:
        assert connection.execute(query).scalar_one() == 1


def test_a_server_that_does_not_answer_is_told(url: str) -> None:
    """Without its password."""
    with pytest.raises(UnreachableError, match="see that its disk has room and its server runs") as told:
        Registry("postgresql+psycopg://me:secret@127.0.0.1:9/fleet")
    assert "secret" not in str(told.value)
