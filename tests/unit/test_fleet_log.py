"""A rollout's log: written, read, replayed; and what is said of damage."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_bridge.fleet import log
from cloud_bridge.fleet.events import Aborted, Began, Changed, Decided, Finish, Notify, Paused, Resumed
from cloud_bridge.fleet.spec import Constant, Group, Rollout, Stop, check, read, write
from edge_runtime.errors import InputError

SPEC = Rollout((Group("all", ("a", "b")),), Constant(60), in_flight=1)
LINES: tuple[log.Line, ...] = (
    Began(10.0, "j1", SPEC),
    Decided(11.0, (Notify("a", 1),)),
    Changed(12.0, "a", 1, "IN_PROGRESS"),
    Paused(12.5, "lunch"),
    Changed(13.0, "a", 1, "SUCCEEDED"),
    Resumed(14.0),
    Decided(14.0, (Notify("b", 1),)),
    Changed(15.0, "b", 1, "SUCCEEDED"),
    Decided(16.0, (Finish("succeeded"),)),
    Aborted(17.0, force=True),
)


def test_there_and_back(tmp_path: Path) -> None:
    """Every kind of line, through a file; replayed it ends as it did."""
    path = tmp_path / "j1.jsonl"
    log.write(path, LINES)
    assert path.read_bytes().count(b"\n") == len(LINES)
    assert (*log.read(path),) == LINES
    began, state = log.replay(log.read(path))
    assert (began, state.phase) == (LINES[0], "succeeded")


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda data: data[: len(data) // 2], "line 5: no line of a rollout's log"),
        (lambda data: data.replace(b'"lunch"', b"'lunch'"), "line 4: no line"),
        (lambda data: data.replace(b'"notify"', b'"forget"'), "line 2: no line"),
        (lambda data: b"\xff\xfe" + data, "line 1: no line"),
        (lambda data: b"[" * 100_000 + data, "line 1: no line"),
        (lambda data: b"", "has no beginning"),
        (lambda data: data.partition(b"\n")[2], "has no beginning"),
        (lambda data: data + data, "begins twice"),
        (lambda data: data.replace(b'"a","number":1,"status":"SUCCEEDED"', b'"a","number":1,"status":"QUEUED"'), "it has"),
        (lambda data: data.replace(b'{"event":"resumed","at":14.0}\n', b""), "damaged, or was written by other rules"),
        (lambda data: data.replace(b'"thing":"b","number":1}]', b'"thing":"b","number":2}]'), "written by other rules"),
        (lambda data: data.replace(b'"at":12.0', b'"at":-1'), "line 3: no line"),
    ],
)  # fmt: skip
def test_damage_is_told(tmp_path: Path, damage: object, told: str) -> None:
    """With the line, where a line is damaged; and by what does not follow, where lines are missing or were changed."""
    path = tmp_path / "j1.jsonl"
    log.write(path, LINES)
    whole = path.read_bytes()
    path.write_bytes(damage(whole))  # type: ignore[operator]
    assert path.read_bytes() != whole
    with pytest.raises(InputError, match=told):
        log.replay(log.read(path))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """And one that cannot be written."""
    with pytest.raises(InputError, match="No such file"):
        log.replay(log.read(tmp_path / "none"))
    with pytest.raises(InputError, match="could not be written"):
        log.write(tmp_path / "none" / "log", LINES)


def test_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line or a file that is too long is no log; one is not written either."""
    path = tmp_path / "log"
    log.write(path, LINES)
    monkeypatch.setattr(log, "LINE", 150)
    with pytest.raises(InputError, match="line 1: a line of a rollout's log has 150 bytes at most"):
        log.replay(log.read(path))
    monkeypatch.setattr(log, "LINE", 10_000)
    monkeypatch.setattr(log, "LIMIT", 200)
    with pytest.raises(InputError, match="longer than 200 bytes"):
        log.replay(log.read(path))
    with pytest.raises(InputError, match="200 at most"):
        log.write(path, LINES)


@given(st.one_of(st.binary(max_size=200), st.sampled_from([log.encode(line) for line in LINES])), st.data())
def test_any_bytes_are_a_line_or_an_error(data: bytes, draw: st.DataObject) -> None:
    """One of ours; a line that is one is written as it was read."""
    at = draw.draw(st.integers(0, len(data)))
    data = data[:at] + draw.draw(st.binary(max_size=3)) + data[at + draw.draw(st.integers(0, 3)) :]
    try:
        line = log.decode(data, "here")
    except InputError:
        return
    assert log.decode(log.encode(line), "there") == line


@given(st.one_of(st.binary(max_size=200), st.just(write(SPEC))), st.data())
def test_any_bytes_are_a_rollout_or_an_error(data: bytes, draw: st.DataObject) -> None:
    """So that a file of an operator's is one, or is told to be none."""
    at = draw.draw(st.integers(0, len(data)))
    data = data[:at] + draw.draw(st.binary(max_size=3)) + data[at + draw.draw(st.integers(0, 3)) :]
    try:
        spec = read(data)
    except InputError:
        return
    assert read(write(spec)) == check(spec) == spec


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"groups": []}', "needs a group"),
        ('{"groups": [{"name": "g", "things": ["a"]}, {"name": "g", "things": ["b"]}]}', "two groups"),
        ('{"groups": [{"name": "g", "things": ["a", "b"]}, {"name": "h", "things": ["b"]}]}', "'b' is in the"),
        ('{"groups": [{"name": "g", "things": ["a/b"]}]}', "matching regex"),
        ('{"groups": [{"name": "g", "things": ["a"]}], "rate": {"kind": "constant", "per_minute": 0}}', ">= 1"),
        ('{"groups": [{"name": "g", "things": ["a"]}], "speed": 3}', "unknown field"),
        ('{"groups": [{"name": "g", "things": ["a"]}], "stops": [{"failure": "LATE", "percent": 3}]}', "LATE"),
        ("[" * 100_000, "no rollout"),
    ],
)  # fmt: skip
def test_a_rollout_that_is_none(text: str, told: str) -> None:
    """Says why."""
    with pytest.raises(InputError, match=told):
        read(text.encode())


def test_a_rollout_made_in_python_is_held_to_the_same() -> None:
    """Bounds of numbers, names, and kinds."""
    group = (Group("g", ("a",)),)
    for wrong in (
        Rollout(group, in_flight=0), Rollout(group, retries=-1), Rollout((Group("g", ("a b",)),)),
        Rollout(group, stops=(Stop("ALL", float("nan")),)), Rollout((Group("g", ("a",), 101.0),)),
        Rollout(group, Constant(1 << 80)),
    ):  # fmt: skip
        with pytest.raises(InputError, match="no rollout"):
            check(wrong)
    assert check(SPEC) == SPEC
