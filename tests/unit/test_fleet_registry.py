"""The registry by itself: what it takes, what it refuses, and in which words."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from cloud_bridge.fleet.events import Paused
from cloud_bridge.fleet.registry import Job, Registry
from cloud_bridge.fleet.registry.tables import VERSION, metadata
from cloud_bridge.fleet.spec import Group, Rollout
from cloud_bridge.protocol.fleet.jobs import JobExecution
from cloud_bridge.protocol.fleet.presence import Status
from cloud_bridge.protocol.fleet.shadow import Shadow
from cloud_bridge.protocol.topics import SEGMENT
from edge_runtime.errors import EdgeError, InputError, UnreachableError

SPEC = Rollout((Group("all", ("a", "b")),))
JOB = Job("j1", b"document", b"{}", SPEC, 1000.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "fleet.db"


@pytest.fixture
def registry(path: Path) -> Iterator[Registry]:
    with Registry(path) as made:
        yield made


def change(path: Path, statement: str) -> None:
    """Something that is none of ours writes to the file."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)


def queued(thing: str, version: int = 1) -> JobExecution:
    return JobExecution(
        job_id="j1", thing_name=thing, status="QUEUED", queued_at=1.0, last_updated_at=1.0, version_number=version,
        execution_number=1,
    )  # fmt: skip


def test_a_job_s_identity_is_its_id_and_its_document(registry: Registry) -> None:
    """The same again is no other one; another document under the id is refused."""
    assert registry.jobs.create(JOB)
    assert not registry.jobs.create(msgspec.structs.replace(JOB, created=2000.0))
    with pytest.raises(InputError, match="another document"):
        registry.jobs.create(msgspec.structs.replace(JOB, document=b"other"))
    assert registry.jobs.get("j1") == JOB
    assert registry.jobs.list() == ("j1",)


@pytest.mark.parametrize(
    "job",
    [
        msgspec.structs.replace(JOB, job="../j1"), msgspec.structs.replace(JOB, envelope=b""),
        msgspec.structs.replace(JOB, envelope=b"{"), msgspec.structs.replace(JOB, envelope=b"1" * 200_000),
        msgspec.structs.replace(JOB, rollout=Rollout((Group("g", ("a b",)),))),
    ],
)  # fmt: skip
def test_what_is_no_job_is_not_kept(registry: Registry, job: Job) -> None:
    """A name that no topic holds, an envelope that is none, a rollout out of its bounds."""
    with pytest.raises(InputError):
        registry.jobs.create(job)
    assert registry.jobs.list() == ()


def test_a_claim_is_one_controller_s(registry: Registry) -> None:
    """Until it ends or is given up; who has it keeps it."""
    registry.jobs.create(JOB)
    assert registry.jobs.claim("one", 0.0, 10.0) == ("j1",)
    assert registry.jobs.claim("two", 9.9, 10.0) == ()
    assert registry.jobs.claim("one", 9.9, 10.0) == ("j1",)
    assert registry.jobs.claim("two", 19.8, 10.0) == ()
    assert registry.jobs.claim("two", 19.9, 10.0) == ("j1",)
    registry.jobs.release("two")
    assert registry.jobs.claim("one", 20.0, 10.0) == ("j1",)


def test_what_fails_in_the_middle_is_not_kept(registry: Registry) -> None:
    """Neither lines nor executions."""
    registry.jobs.create(JOB)
    with pytest.raises(InputError, match="by hand"), registry.jobs.hold("j1") as held:  # noqa: PT012
        assert held is not None
        held.append([Paused(1.0)])
        held.put({"a": (None, queued("a"))})
        raise InputError("by hand")
    assert len(registry.jobs.log("j1")) == 1
    assert registry.jobs.executions("j1") == {}


def test_an_execution_that_is_not_as_it_was_read_is_not_changed(registry: Registry) -> None:
    """A change of an old version is refused, with all that came with it."""
    registry.jobs.create(JOB)
    with registry.jobs.hold("j1") as held:
        assert held is not None
        held.put({"a": (None, queued("a")), "b": (None, queued("b"))})
    with pytest.raises(InputError, match="1 executions"), registry.jobs.hold("j1") as held:  # noqa: PT012
        assert held is not None
        held.put({"a": (queued("a"), queued("a", 2)), "b": (queued("b", 7), queued("b", 8))})
    assert {each.version_number for each in registry.jobs.executions("j1").values()} == {1}


def test_who_was_told_of_an_old_version_is_told_again(registry: Registry) -> None:
    """What has changed meanwhile is not noted as told."""
    registry.jobs.create(JOB)
    with registry.jobs.hold("j1") as held:
        assert held is not None
        held.put({"a": (None, queued("a"))})
    untold = registry.jobs.untold("j1", 10)
    with registry.jobs.hold("j1") as held:
        assert held is not None
        held.put({"a": (queued("a"), queued("a", 2))})
    registry.jobs.told("j1", untold)
    assert registry.jobs.untold("j1", 10)["a"].version_number == 2


def test_a_shadow_is_compared_and_set(registry: Registry) -> None:
    """The first of two wins, be it new or not."""
    first, other = Shadow({"n": 1}, {}, 1), Shadow({"n": 2}, {}, 1)
    assert registry.devices.put("a", "config", first)
    assert not registry.devices.put("a", "config", other)
    assert registry.devices.put("a", "config", Shadow({"n": 3}, {}, 2))
    assert not registry.devices.put("a", "config", Shadow({"n": 4}, {}, 2))
    assert registry.devices.shadow("a", "config") == Shadow({"n": 3}, {}, 2)
    assert registry.devices.shadow("a", "models") == Shadow()


def test_shadows_are_set_together_or_not_at_all(registry: Registry) -> None:
    """New ones and known ones; where somebody was faster with one, none is."""
    known, fresh = ("a", "config"), ("b", "models")
    assert registry.devices.put(*known, Shadow({"n": 1}, {}, 1))
    late = {known: (7, Shadow({"n": 9}, {}, 8)), fresh: (0, Shadow({"n": 9}, {}, 1))}
    assert not registry.devices.put_all(late)
    assert registry.devices.shadows([known, fresh]) == {known: Shadow({"n": 1}, {}, 1), fresh: Shadow()}
    now = {known: (1, Shadow({"n": 2}, {}, 2)), fresh: (0, Shadow({"n": 3}, {}, 2))}
    assert registry.devices.put_all(now)
    assert not registry.devices.put_all({fresh: (0, Shadow({"n": 9}, {}, 1))})
    assert registry.devices.shadows([known, fresh]) == {key: after for key, (_, after) in now.items()}


def test_things_and_groups(registry: Registry) -> None:
    """Whom an operator adds, and in which groups; whom he removes, and the shadows with it."""
    registry.devices.add(("b", "a"), ("line-1", "canary"))
    registry.devices.add(("a", "c"))
    assert registry.devices.members("line-1") == ("a", "b")
    assert [(each.thing, each.groups, each.presence.state) for each in registry.devices.all()] == [
        ("a", ("canary", "line-1"), "unknown"), ("b", ("canary", "line-1"), "unknown"), ("c", (), "unknown"),
    ]  # fmt: skip
    registry.devices.put("a", "config", Shadow({}, {}, 1))
    assert registry.devices.remove("a")
    assert not registry.devices.remove("a")
    assert registry.devices.members("line-1") == ("b",)
    assert registry.devices.shadow("a", "config").version == 0
    with pytest.raises(InputError, match="no thing is in group"):
        registry.devices.members("line-2")
    with pytest.raises(InputError):
        registry.devices.add(("a/b",))


def test_old_jobs_are_forgotten(registry: Registry) -> None:
    """With all that belongs to them: those that are over, in which nothing has happened since, and of which nobody waits
    to be told. Things and their shadows stay."""
    names = ("old", "untold", "open", "late", "new", "running")
    for name in names:
        registry.jobs.create(msgspec.structs.replace(JOB, job=name, created=900.0 if name == "new" else 100.0))
        with registry.jobs.hold(name) as held:
            assert held is not None
            held.append([Paused(1.0)])
            held.put({"a": (None, msgspec.structs.replace(queued("a"), job_id=name))})
        assert registry.jobs.keep(name, "a", b"result", 200.0)
        with registry.jobs.hold(name) as held:
            assert held is not None
            (before,) = held.executions(["a"]).values()
            after = msgspec.structs.replace(
                before, status={"open": "IN_PROGRESS", "untold": "CANCELED"}.get(name, "SUCCEEDED"), version_number=2,
                last_updated_at=600.0 if name == "late" else 200.0,
            )  # fmt: skip
            held.put({"a": (before, after)})
            if name != "running":
                held.become("succeeded", "")
        if name != "untold":
            registry.jobs.told(name, {"a": after})
    registry.devices.put("a", "config", Shadow({}, {}, 1))
    assert registry.jobs.prune(500.0) == ("old",)
    assert registry.jobs.prune(500.0) == ()
    assert set(registry.jobs.list()) == set(names) - {"old"}
    assert registry.jobs.results("late") == {"a": b"result"}
    assert (registry.jobs.results("old"), registry.jobs.executions("old")) == ({}, {})
    assert registry.jobs.create(msgspec.structs.replace(JOB, job="old"))
    assert len(registry.jobs.log("old")) == 1
    assert registry.devices.shadow("a", "config").version == 1
    assert registry.jobs.prune(1000.0) == ("late", "new")


def test_many_at_once(registry: Registry) -> None:
    """More than a statement takes."""
    names = [f"t{number}" for number in range(1201)]
    registry.devices.heard([(name, Status(state="ready", session="s", bd_seq=1)) for name in names], 5.0)
    assert len(registry.devices.all(state="ready")) == 1201
    registry.jobs.create(JOB)
    with registry.jobs.hold("j1") as held:
        assert held is not None
        held.put({name: (None, queued(name)) for name in names})
        assert len(held.executions(names)) == 1201
    assert len(registry.jobs.pending(names)) == 1201


def test_it_is_kept(path: Path) -> None:
    """One that is opened again holds what it held, under foreign keys and a write-ahead log."""
    with Registry(path) as registry:
        registry.jobs.create(JOB)
    with Registry(str(path)) as registry:
        assert registry.jobs.get("j1") == JOB
    with Registry(f"sqlite:///{path}") as registry:
        assert registry.jobs.list(active=True) == ("j1",)


def test_one_of_a_newer_release_is_refused(path: Path) -> None:
    """And left as it is."""
    Registry(path).close()
    change(path, "UPDATE schema SET version = version + 1")
    with pytest.raises(InputError, match=f"version {VERSION + 1}, and this release reads version {VERSION}"):
        Registry(path)


@pytest.mark.parametrize(
    ("where", "told"),
    [
        ("mysql://host/fleet", "SQLite or PostgreSQL, not in mysql"),
        ("nonsense://host/fleet", "SQLite or PostgreSQL, not in nonsense"),
        ("postgresql+unheard://host/fleet", "is no registry"),
        ("://", "is no registry"),
        ("sqlite://", "in memory"),
    ],
)
def test_what_is_no_place_for_one(where: str, told: str) -> None:
    """Is told, with what would be."""
    with pytest.raises(InputError, match=told):
        Registry(where)


def test_a_password_is_not_told() -> None:
    """Whatever is wrong."""
    with pytest.raises(EdgeError) as told:
        Registry("postgresql+unheard://me:secret@host/fleet")
    assert "secret" not in str(told.value)


def test_files_that_are_none(tmp_path: Path) -> None:
    """Another file is refused; a folder that is not there does not answer."""
    (tmp_path / "other").write_bytes(b"something else, and long enough" * 100)
    with pytest.raises(InputError, match="damaged, or something else"):
        Registry(tmp_path / "other")
    assert (tmp_path / "other").read_bytes().startswith(b"something")
    with pytest.raises(UnreachableError, match="unable to open"):
        Registry(tmp_path / "none" / "fleet.db")


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("DELETE FROM lines WHERE number = 1", "damaged before line 2"),
        ("DELETE FROM lines WHERE number = 2", "1 of 2 lines"),
        ("UPDATE lines SET line = 'x' WHERE number = 2", "line 2: no line"),
        ("UPDATE jobs SET rollout = 'x'", "no rollout"),
    ],
)
def test_damage_to_a_log_is_told(registry: Registry, path: Path, statement: str, told: str) -> None:
    """Lines that are gone, and lines that are none."""
    registry.jobs.create(JOB)
    for at in (1.0, 2.0):
        with registry.jobs.hold("j1") as held:
            assert held is not None
            held.append([Paused(at)])
    change(path, statement)
    with pytest.raises(InputError, match=told):
        registry.jobs.log("j1")


def test_damage_to_rows_is_told(registry: Registry, path: Path) -> None:
    """Of things, shadows and executions, each by its name."""
    registry.devices.put("a", "config", Shadow({}, {}, 1))
    registry.jobs.create(JOB)
    with registry.jobs.hold("j1") as held:
        assert held is not None
        held.put({"a": (None, queued("a"))})
    change(path, "UPDATE shadows SET document = '[1]'")
    change(path, "UPDATE executions SET details = '{'")
    change(path, "UPDATE things SET presence = 'x'")
    with pytest.raises(InputError, match="shadow config of a is damaged"):
        registry.devices.shadow("a", "config")
    with pytest.raises(InputError, match="execution of j1 on a is damaged"):
        registry.jobs.executions("j1")
    with pytest.raises(InputError, match="entry of a is damaged"):
        registry.devices.all()
    change(path, "DROP TABLE executions")
    with pytest.raises(UnreachableError, match="no such table"):
        registry.jobs.executions("j1")


def test_postgresql_has_words_for_all_tables() -> None:
    """Its dialect writes each, and the indexes."""
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    for table in metadata.sorted_tables:
        assert "CREATE TABLE" in str(CreateTable(table).compile(dialect=dialect))
        for index in table.indexes:
            assert "CREATE INDEX" in str(CreateIndex(index).compile(dialect=dialect))


def test_an_operator_sees_all_jobs_at_once(registry: Registry) -> None:
    """How many things stand how, who has failed, and who is away; whether anybody has the job in hand."""
    registry.jobs.create(JOB)
    registry.jobs.create(msgspec.structs.replace(JOB, job="j2", created=900.0))
    registry.devices.add(["a", "b"])
    registry.devices.heard([("a", Status(state="ready", session="s", bd_seq=1))], 1.0)
    with registry.jobs.hold("j1") as held:
        assert held is not None
        failed = msgspec.structs.replace(queued("c"), status="FAILED", status_details={"reason": "slow"})
        held.put({"a": (None, queued("a")), "b": (None, queued("b")), "c": (None, failed)})
    assert [each.job for each in registry.overview.jobs(0.0)] == ["j2", "j1"]
    assert not registry.overview.job("j1", 5.0).taken
    registry.jobs.claim("one", 0.0, 10.0)
    found = registry.overview.job("j1", 5.0)
    assert (found.taken, dict(found.counts), found.document) == (True, {"QUEUED": 2, "FAILED": 1}, b"document")
    assert not registry.overview.job("j1", 11.0).taken
    assert {thing: each.status_details for thing, each in registry.overview.failures("j1").items()} == {
        "c": {"reason": "slow"}
    }
    assert registry.overview.away("j1") == 1
    with registry.jobs.hold("j1") as held:
        assert held is not None
        soaks = msgspec.structs.replace(queued("a", 2), status="IN_PROGRESS", status_details={"step": "soak"})
        held.put({"a": (queued("a"), soaks)})
    assert registry.overview.steps("j1") == {"soak": 1}
    with registry.jobs.hold("j2") as held:
        assert held is not None
        held.become("succeeded", "")
    assert [each.job for each in registry.overview.jobs(0.0, active=True)] == ["j1"]
    with pytest.raises(InputError, match="no job 'j3'"):
        registry.overview.job("j3", 0.0)


def test_what_things_have_reported_is_read_at_once(registry: Registry, path: Path) -> None:
    """But for what is damaged."""
    for thing in ("a", "b"):
        registry.devices.put(thing, "models", Shadow({"x": 1}, {"active": {"net": "1.0"}}, 1))
    change(path, "UPDATE shadows SET document = x'00' WHERE thing = 'b'")
    assert registry.overview.reported("models") == {"a": {"active": {"net": "1.0"}}}
    assert registry.overview.reported("config") == {}


def test_things_leave_groups(registry: Registry) -> None:
    """Those that are named, and no others."""
    registry.devices.add(["a", "b"], ["one", "two"])
    assert registry.devices.leave(["a", "c"], ["one", "three"]) == 1
    assert registry.devices.members("one") == ("b",)
    assert registry.devices.members("two") == ("a", "b")


def test_its_controllers_share_under_a_name_of_their_own(path: Path, tmp_path: Path) -> None:
    """The same each time that it is opened, another one in each registry, and a segment of a topic."""
    with Registry(path) as first, Registry(path) as again, Registry(tmp_path / "other.db") as other:
        assert first.group == again.group != other.group
        assert SEGMENT.fullmatch(first.group)
