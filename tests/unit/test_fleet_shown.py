"""What operators are shown: jobs, devices, what came back, answers."""

from __future__ import annotations

import json
import zlib

import pytest

from cloud_bridge.cli.fleet import ask, devices, progress, results
from cloud_bridge.fleet.registry import Device
from cloud_bridge.fleet.standing import Standing
from cloud_bridge.protocol.fleet.commands import (
    Activate,
    Benchmark,
    CollectLog,
    Command,
    Deploy,
    Document,
    Rollback,
    Tune,
    encode_document,
)
from cloud_bridge.protocol.fleet.jobs import JobExecution, State
from cloud_bridge.protocol.fleet.presence import Presence, Status
from cloud_bridge.protocol.fleet.rpc import DeviceStatus, Pong, Running
from edge_runtime.bench.report import encode
from edge_runtime.errors import InputError, ProtocolError
from tests.reports import entry, failed, report

ORDER = encode_document(Document(job_id="j1", issued_at=0.0, expires_at=1.0, things=("a",), command=Rollback(model="net")))


def standing(phase: str = "running", why: str = "", *, taken: bool = True, **counts: int) -> Standing:
    known: dict[State, int] = {state: counts[state] for state in progress.ORDER if state in counts}
    return Standing("j1", phase, why, ORDER, 100.0, None, taken, known)


def execution(thing: str, status: State, number: int = 1, **details: str) -> JobExecution:
    return JobExecution(
        job_id="j1", thing_name=thing, status=status, queued_at=1.0, last_updated_at=2.0, version_number=1,
        execution_number=number, status_details=details,
    )  # fmt: skip


def test_how_many_stand_how_is_one_line() -> None:
    """In one order, with those that are away, and those that nobody has told."""
    counts = standing(QUEUED=2, SUCCEEDED=8, FAILED=1).counts
    assert progress.counted(counts, 16, 1) == "8 SUCCEEDED, 1 FAILED, 2 QUEUED (1 away), 5 not told"
    assert progress.counted({"SUCCEEDED": 3}, 3) == "3 SUCCEEDED"
    assert progress.counted({"IN_PROGRESS": 3}, 3, 0, {"soak": 2, "check": 1}) == "3 IN_PROGRESS (2 soak, 1 check)"
    assert progress.counted({}, 0) == "nobody"
    assert progress.ended(counts) == 9


def test_a_failure_is_told_once_with_where_and_why() -> None:
    """And again for its next try; from many on they are counted only."""
    found = {"a": execution("a", "FAILED", step="check", reason="it is\x1b[2J slow"), "b": execution("b", "TIMED_OUT")}
    lines, known = progress.failures(found, {})
    assert lines == ["a: FAILED at check: it is [2J slow", "b: TIMED_OUT"]
    assert progress.failures(found, known) == ([], known)
    again, _ = progress.failures({"a": execution("a", "FAILED", 2, reason="x")}, known)
    assert again == ["a: FAILED: x"]
    many = {f"t{number}": execution(f"t{number}", "FAILED") for number in range(50)}
    lines, known = progress.failures(many, {})
    assert (len(lines), lines[-1]) == (progress.SHOWN + 1, "more have failed, and are counted from here on")
    assert progress.failures({**many, "new": execution("new", "FAILED")}, known)[0] == []


def test_what_keeps_a_rollout_from_going_on_is_told_with_what_to_do() -> None:
    """Paused, stopped, or in nobody's hands for too long."""
    assert progress.trouble(standing(), 99.0, 5.0, "fleet.db") == ""
    assert progress.trouble(standing(taken=False), 4.0, 5.0, "fleet.db") == ""
    assert "--registry fleet.db" in progress.trouble(standing(taken=False), 6.0, 5.0, "fleet.db")
    assert progress.trouble(standing("succeeded", taken=False), 6.0, 5.0, "fleet.db") == ""
    paused = progress.trouble(standing("paused", "1 of 2 in canary"), 0.0, 5.0, "fleet.db")
    assert "1 of 2 in canary" in paused
    assert "fleet resume j1" in paused
    assert progress.trouble(standing("aborting", "too many"), 0.0, 5.0, "fleet.db") == "it is stopped: too many"


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (standing("succeeded", SUCCEEDED=2), "j1 has succeeded: 2 SUCCEEDED"),
        (standing("failed", FAILED=2), "j1 has failed: 2 FAILED"),
        (standing("aborted", "20 % have", FAILED=1, CANCELED=1), "j1 was stopped (20 % have): 1 FAILED, 1 CANCELED"),
        (standing("paused", "why", SUCCEEDED=1), "j1 is paused (why): 1 SUCCEEDED, 1 not told"),
    ],
    ids=lambda value: value.phase if isinstance(value, Standing) else "",
)  # fmt: skip
def test_the_outcome_is_one_line(found: Standing, told: str) -> None:
    """With its reason where it did not succeed."""
    assert progress.outcome(found, 2) == told


COMMANDS: list[tuple[Command, str]] = [
    (Deploy(model="m", version="1", digest="0" * 64, target="m"), "deploy m 1"),
    (Activate(model="m", version="1"), "activate m 1"),
    (Rollback(model="m"), "rollback m"), (Benchmark(models=("m", "n")), "benchmark m n"), (Tune(models=("m",)), "tune m"),
    (CollectLog(), "collect-log"),
]  # fmt: skip


@pytest.mark.parametrize(("command", "told"), COMMANDS, ids=[told for _, told in COMMANDS])
def test_an_order_has_a_name(command: Command, told: str) -> None:
    """What, and of which model."""
    assert progress.named(command) == told


def test_a_job_is_told_to_scripts_whole() -> None:
    """As JSON; and one whose order nobody understands, too."""
    told = progress.as_data(standing("failed", FAILED=1), 1, {"a": execution("a", "FAILED", 2, reason="x")})
    assert json.loads(json.dumps(told)) == told
    assert (told["order"], told["command"]) == ("rollback net", {"operation": "rollback", "model": "net"})
    assert told["things"]["a"]["details"] == {"reason": "x"}
    unknown = Standing("j2", "running", "", b"{}", 1.0, None, False, {})
    assert progress.as_data(unknown, 1, {})["order"] == "?"


@pytest.mark.parametrize(
    ("at", "told"), [(0.0, "never"), (999.0, "1 s"), (700.0, "5 min"), (-9000.0, "3 h"), (-9e5, "10 d"), (2000.0, "0 s")]
)
def test_how_long_ago_is_told_roughly(at: float, told: str) -> None:
    """In the unit that reads best; what is to come, by another clock, is now."""
    assert progress.since(at, 1000.0) == told


def test_rows_of_things_say_what_steps_found_where_nothing_went_wrong() -> None:
    """A reason comes first."""
    found = {"a": execution("a", "SUCCEEDED", step="commit", active="1.2"), "b": execution("b", "FAILED", reason="slow")}
    assert [row[4:] for row in progress.rows(found, 4.0)] == [("commit", "active 1.2"), ("", "slow")]


def test_a_report_is_a_row_for_each_model() -> None:
    """How it runs best, or why it could not be measured."""
    good = encode(report(entry("onnx", 10e-3), entry("tflite", 30e-3)))
    (row,) = results.figures("press-17", good)
    assert (row["thing"], row["model"], row["fastest"]) == ("press-17", "net", "onnx fp32")
    assert row["p50"] == pytest.approx(10e-3, rel=0.01)
    (row,) = results.figures("press-17", encode(report(failed("onnx", "it does not load"))))
    assert row["error"] == "it does not load"
    with pytest.raises(InputError):
        results.figures("press-17", b"{}")


def test_what_devices_compress_is_bounded() -> None:
    """A bomb, a cut one and what is none are told apart from a result."""
    assert results.unpack(zlib.compress(b"a" * 100)) == b"a" * 100
    for body in (b"none", zlib.compress(b"a" * 100)[:-3], zlib.compress(b"\0" * (9 << 20))):
        with pytest.raises(ProtocolError):
            results.unpack(body)


def test_a_table_has_a_column_for_whatever_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """What one does not say is left free."""
    results.show([{"thing": "a", "p50": 0.01}, {"thing": "b", "error": "broken\n"}])
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["THING", "P50", "ERROR"], ["a", "10.0", "ms"], ["b", "broken"]
    ]  # fmt: skip


def test_a_device_s_versions_are_those_that_it_reported_last() -> None:
    """Of its birth where it has reported none since."""
    born = Status(state="ready", session="s", bd_seq=1, agent="0.1.0", groups=("canary",), models={"net": "1.0"})
    device = Device("press-17", Presence(born, born), 90.0, ("canary", "put"))
    told = devices.described(device, {"active": {"net": "1.1"}})
    assert (told["active"], told["groups"], told["state"]) == ({"net": "1.1"}, ["canary", "put"], "ready")
    assert devices.described(device, {})["active"] == {"net": "1.0"}
    assert devices.rows([told], 100.0) == [("press-17", "ready", "10 s", "canary,put", "0.1.0", "net 1.1")]
    never = devices.described(Device("press-18", Presence(), 0.0, ()), {})
    assert devices.rows([never], 100.0) == [("press-18", "unknown", "never", "", "", "")]


def test_an_answer_is_told_in_words() -> None:
    """How long it took, a clock that is wrong, and what needs looking after."""
    assert ask.words("press-17", Pong(timestamp=100.0), 0.012, 100.0) == ["press-17 is there (12 ms)"]
    assert ask.words("press-17", Pong(timestamp=40.0), 0.012, 100.0) == [
        "press-17 is there (12 ms; its clock is 60 s behind)"
    ]
    status = DeviceStatus(
        thing="press-17", session="s", agent="0.1.0", timestamp=100.0, uptime=7200.0,
        models={"net": Running(version="1.2", digest="ab" * 32)}, waiting=2, problems=("the disk\nis full",),
    )  # fmt: skip
    told = ask.words("press-17", status, 0.012, 100.0)
    assert told[0].endswith("agent 0.1.0, for 2 h")
    assert told[2].split() == ["net", "1.2", "abababababab"]
    assert told[-2:] == ["job: none; 2 messages wait; - are free on its disk", "problem: the disk is full"]
