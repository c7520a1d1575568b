"""The agent's journal: what is on the disk when a call has returned, and what is made of a file that is not as it was."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from cloud_bridge.agent.journal import KEPT, Journal
from cloud_bridge.agent.work import Job, Report
from edge_runtime.errors import InputError


def job(id: str = "a", **fields: object) -> Job:
    return msgspec.structs.replace(Job(id=id, sha256="0" * 64, expires=1000.0, received=1.0), **fields)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the journal is."""
    return tmp_path / "journal"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    """An empty one."""
    made = Journal(path)
    yield made
    made.close()


def reopened(journal: Journal) -> Journal:
    journal.close()
    return Journal(journal.path)


def reports(journal: Journal) -> list[Report]:
    return [msgspec.json.decode(letter.body, type=Report) for letter in journal.outbox()]


def test_what_is_kept_is_there_for_the_next_process(journal: Journal) -> None:
    """Jobs with their documents, messages, and values."""
    journal.take(job(), b"\x00document")
    journal.keep(job(state="IN_PROGRESS", step="fetch", attempts=2, details={"é": "1"}, body=b"\xff"))
    journal.put("shadow", b"{}")
    journal.set("session", "x")
    assert journal.count("bdSeq") == 1
    again = reopened(journal)
    kept = job(state="IN_PROGRESS", step="fetch", attempts=2, details={"é": "1"}, body=b"\xff")
    assert (again.find("a"), again.next(), again.document("a")) == (kept, kept, b"\x00document")
    assert [letter.subject for letter in again.outbox()] == ["job/a", "shadow"]
    assert (again.get("session"), again.get("other", "?"), again.count("bdSeq")) == ("x", "?", 2)
    assert again.find("b") is None
    again.close()


def test_jobs_run_in_the_order_in_which_they_came(journal: Journal) -> None:
    """The one that is under way first, whatever came before it."""
    for id in "bca":
        journal.take(job(id), b"")
    assert (journal.next(), journal.waiting()) == (job("b"), 3)
    journal.keep(job("a", state="IN_PROGRESS"))
    assert journal.next() == job("a", state="IN_PROGRESS")
    journal.keep(job("a", state="FAILED"))
    assert (journal.next(), journal.waiting()) == (job("b"), 2)


def test_a_report_takes_the_place_of_the_one_before(journal: Journal) -> None:
    """What was accepted meanwhile was an older one: the newer still goes out, until that is accepted."""
    journal.take(job(), b"")
    journal.keep(job(state="IN_PROGRESS", step="fetch"))
    [first] = journal.outbox()
    journal.keep(job(state="SUCCEEDED", step="fetch", details={"active": "1.1"}))
    [second] = journal.outbox()
    assert second.number > first.number
    assert not journal.accepted(first)
    assert reports(journal) == [Report("a", 1, "SUCCEEDED", {"active": "1.1", "step": "fetch"})]
    assert journal.accepted(second)
    assert not journal.accepted(second)
    assert journal.outbox() == ()


def test_what_nobody_is_to_be_told_is_not_sent(journal: Journal) -> None:
    """The server has ended the job itself."""
    journal.take(job(), b"")
    journal.keep(job(state="IN_PROGRESS"))
    journal.keep(job(state="CANCELED"), tell=False)
    assert journal.outbox() == ()


def test_a_message_that_comes_again_is_answered_again(journal: Journal) -> None:
    """With what is known by now, under the newest execution that was told; an older one changes nothing."""
    journal.take(job(execution=2, version=3), b"")
    journal.again("a", 2, 4)
    assert journal.outbox() == ()  # nothing has happened that could be told
    journal.keep(job(state="SUCCEEDED"))
    journal.accepted(journal.outbox()[0])
    journal.again("a", 3, 1)
    journal.again("a", 1, 9)
    assert reports(journal) == [Report("a", 3, "SUCCEEDED")]
    journal.versioned("a", 2, 8)
    journal.versioned("a", 3, 5)
    assert journal.find("a") == job(state="SUCCEEDED", execution=3, version=5)


def test_a_job_that_is_run_once_more_begins_anew(journal: Journal) -> None:
    """It is the last in the queue, and what was to be told of the run before is not."""
    journal.take(job(), b"")
    journal.take(job("b"), b"")
    journal.keep(job(state="FAILED", details={"reason": "x"}))
    journal.take(job(execution=2), b"")
    assert (journal.outbox(), journal.find("a"), journal.next()) == ((), job(execution=2), job("b"))


def test_ids_are_kept_a_stated_time(journal: Journal) -> None:
    """Only what ended, was reported, and has expired so long ago is forgotten."""
    for id, state in (("open", "IN_PROGRESS"), ("untold", "FAILED"), ("old", "FAILED")):
        journal.take(job(id), b"")
        journal.keep(job(id, state=state), tell=id != "old")
    journal.take(job("new", expires=1001.0), b"")
    journal.keep(job("new", state="FAILED", expires=1001.0), tell=False)
    assert journal.sweep(1000.0 + KEPT) == 0
    assert journal.sweep(1000.5 + KEPT) == 1
    assert [journal.find(id) is not None for id in ("open", "untold", "old", "new")] == [True, True, False, True]


def test_two_agents_on_one_journal(journal: Journal) -> None:
    """The second is told so."""
    with pytest.raises(InputError, match="another agent has it open"):
        Journal(journal.path)


@pytest.mark.parametrize("damage", [b"no database at all" * 100, b"SQLite format 3\0" + bytes(5000)])
def test_a_damaged_journal_is_one_clear_error(path: Path, damage: bytes) -> None:
    """It says what to do; the file stays as it is."""
    path.write_bytes(damage)
    with pytest.raises(InputError, match=r"is damaged .* move the file away"):
        Journal(path)
    assert path.read_bytes() == damage


def test_damage_in_the_middle_is_noticed_when_it_is_opened(journal: Journal, path: Path) -> None:
    """Pages of rows that are overwritten."""
    for number in range(200):
        journal.take(job(f"job-{number}"), b"document" * 20)
    journal.close()
    data = bytearray(path.read_bytes())
    data[8192:-4096] = b"\xa5" * (len(data) - 12288)
    path.write_bytes(data)
    with pytest.raises(InputError, match="is damaged"):
        Journal(path)


def test_a_row_that_is_no_job_is_damage(journal: Journal, path: Path) -> None:
    """A state that nobody writes."""
    journal.take(job(), b"")
    journal.close()
    with sqlite3.connect(path) as db:
        db.execute("UPDATE jobs SET state = 'DREAMING', details = '[]'")
    db.close()
    damaged = Journal(path)
    with pytest.raises(InputError, match="is damaged"):
        damaged.find("a")
    damaged.close()


@pytest.mark.parametrize(
    ("change", "told"), [("PRAGMA user_version = 2", "schema 2"), ("PRAGMA application_id = 7", "no journal")]
)
def test_a_file_of_another_s(journal: Journal, path: Path, change: str, told: str) -> None:
    """A newer version's, or no journal at all, is left alone."""
    journal.close()
    with sqlite3.connect(path) as db:
        db.execute(change)
    db.close()
    with pytest.raises(InputError, match=told):
        Journal(path)


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    """A folder that is not there is an error of ours."""
    with pytest.raises(InputError, match="cannot be opened"):
        Journal(tmp_path / "none" / "journal")


def test_whatever_was_lost_of_the_log_what_is_left_is_whole(tmp_path: Path, path: Path) -> None:
    """The write-ahead log cut at any place: the journal opens, and holds the transactions from the first to some one, each
    with its report or not at all."""
    journal = Journal(path)
    for number in range(6):
        journal.take(job(f"{number}"), b"document")
        journal.keep(job(f"{number}", state="SUCCEEDED"))
    log = path.with_name("journal-wal").read_bytes()
    lengths = set()
    for cut in (*range(0, len(log), 997), len(log)):
        copy = tmp_path / "copy"
        shutil.copyfile(path, copy)
        copy.with_name("copy-wal").write_bytes(log[:cut])
        found = Journal(copy)
        states = [None if (kept := found.find(f"{number}")) is None else kept.state for number in range(6)]
        done = states.count("SUCCEEDED")
        assert states == (["SUCCEEDED"] * done + ["QUEUED"] * states.count("QUEUED") + [None] * 6)[:6]
        assert states.count("QUEUED") <= 1
        assert [letter.subject for letter in found.outbox()] == [f"job/{number}" for number in range(done)]
        found.close()
        lengths.add(done)
    assert lengths == set(range(7))
    journal.close()


def test_what_was_read_before_a_change_is_not_told_after_it(journal: Journal) -> None:
    """Each answer is that of now; and a closed journal has none."""
    for _ in range(2):
        assert (journal.find("a"), journal.next(), journal.outbox()) == (None, None, ())
    journal.take(job("a"), b"x")
    taken = journal.find("a")
    assert taken is not None
    assert journal.next() == taken
    journal.keep(msgspec.structs.replace(taken, state="SUCCEEDED"))
    assert journal.next() is None
    (letter,) = journal.outbox()
    assert journal.outbox(0) == ()
    assert journal.accepted(letter)
    assert journal.outbox() == ()
    journal.close()
    with pytest.raises(InputError, match="it is closed"):
        journal.find("a")
