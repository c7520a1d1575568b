"""The parts of the chaos benchmark that decide: what a proxy sees, what is planned, and what is held to be wrong."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.chaos import shadows, wire
from benchmarks.chaos.device import Line
from benchmarks.chaos.effects import effects
from benchmarks.chaos.evidence import Device, Evidence, Rolled
from benchmarks.chaos.plan import MIX, Ordered, Plan, Size, plan
from benchmarks.chaos.verdict import HALF, ONCE, OPEN_END, STATE, judge, raced
from benchmarks.chaos.way import Done, Rough, Way
from cloud_bridge.agent.work import Job
from cloud_bridge.fleet.spec import Group, Rollout
from cloud_bridge.protocol import fields
from cloud_bridge.protocol.fleet.jobs import JobExecution, State
from cloud_bridge.protocol.fleet.shadow import Shadow
from edge_runtime.bundles.bundle import State as Active

CONNECT = bytes.fromhex("10 15 0004 4d515454 05 02 003c 05 11 00000e10 0003 616263")
OLD, TRIED, NEW = Active("1.0", ("0.9",)), Active("2.0", ("0.9", "1.0"), trial=True), Active("2.0", ("0.9", "1.0"))
DIGEST = "d" * 64


def publish(number: int, payload: bytes = b"x", topic: str = "t") -> bytes:
    """At QoS 1."""
    body = fields.text(topic) + number.to_bytes(2, "big") + b"\0" + payload
    return b"\x32" + fields.number(len(body)) + body


def puback(number: int) -> bytes:
    """Of a PUBLISH."""
    return b"\x40\x02" + number.to_bytes(2, "big")


@given(st.lists(st.integers(0, 300), min_size=1, max_size=6), st.data())
def test_packets_come_whole_out_of_any_pieces(sizes: list[int], data: st.DataObject) -> None:
    """However the stream is cut."""
    packets = [publish(number + 1, bytes(size)) for number, size in enumerate(sizes)]
    stream = b"".join(packets)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    reader = wire.Packets()
    found: list[bytes] = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += reader.feed(stream[start:end])
    assert found == packets
    assert [wire.number(each) for each in found] == [*range(1, len(sizes) + 1)]


def test_what_a_proxy_has_to_know_of_a_packet() -> None:
    """Whose connection it is, whether it is acknowledged, and that a copy says that it is one."""
    assert wire.client(CONNECT) == "abc"
    assert wire.is_counted(publish(7))
    assert not wire.is_counted(b"\x30" + publish(7)[1:])
    assert wire.again(publish(7)) == b"\x3a" + publish(7)[1:]
    with pytest.raises(ValueError, match="length"):
        [*wire.Packets().feed(b"\x30\xff\xff\xff\xff\x01")]


class Sink:
    """Where a way leads: what was written."""

    def __init__(self) -> None:
        self.packets: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.packets.append(data)

    def is_closing(self) -> bool:
        return False


def test_a_copy_is_acknowledged_once_to_its_sender() -> None:
    """The receiver acknowledges both; what is said under the same number later is a message of its own."""

    async def run() -> None:
        sink = Sink()
        way = Way(cast("Any", sink), Rough(again=1.0), random.Random(1), done := Done())
        way.pass_on(publish(5))
        way.flush()
        assert sink.packets == [publish(5), wire.again(publish(5))]
        assert [way.is_of_copy(puback(5)) for _ in range(2)] == [False, True]
        way.pass_on(publish(5))
        assert not way.is_of_copy(puback(5))
        assert (done.messages, done.copies) == (2, 1)

    asyncio.run(run())


def test_a_message_that_is_kept_back_is_overtaken() -> None:
    """It passes later, and before its sender leaves; while nothing passes, nothing is lost."""

    async def run() -> None:
        sink, rough = Sink(), Rough(held=1.0)
        way = Way(cast("Any", sink), rough, random.Random(1), done := Done())
        way.pass_on(publish(1))
        rough.held = 0.0
        way.pass_on(publish(2))
        way.stall()
        way.pass_on(b"\xe0\0")
        assert sink.packets == [publish(2)]
        way.go_on()
        assert sink.packets == [publish(2), publish(1), b"\xe0\0"]
        assert done.overtaken == 1

    asyncio.run(run())


def test_a_seed_gives_the_same_plan() -> None:
    """Of as much as is asked for: all sorts of jobs in a long run, each disturbance at least once in a short one."""
    size = Size(600.0, 200, 50, 10, 3)
    assert plan(5, size) == plan(5, size) != plan(6, size)
    kinds = Counter((each.kind, each.course) for each in plan(5, size).ordered)
    assert kinds == {(kind, course): count for kind, course, count in MIX}
    short = plan(5, Size(10.0, 3, 4, 2, 2))
    assert len(short.ordered) == 4
    acts = {blow.told["act"] if blow.what == "proxy" else blow.what for blow in short.blows}
    assert acts == {"rough", "devices", "controller", "broker", "cut", "dark", "stall"}


def line(what: Any, state: Active, job: str = "j", at: float = 1.0) -> Line:
    """Of a witness."""
    return Line(at, "r", what, state, job, 1)


def test_an_effect_is_what_is_on_the_disk() -> None:
    """Also where the device died before it could say so; what it only meant to do is none."""
    told = effects([
        line("boot", OLD, ""), line("will", TRIED), line("did", TRIED), line("will", NEW),
        line("boot", TRIED, ""), line("will", OLD), line("boot", OLD, ""),
    ])  # fmt: skip
    assert [(each.deed, each.job) for each in told.effects] == [("trial", "j"), ("back", "j")]
    assert (len(told.boots), told.odd) == (3, [])
    assert len(effects([line("boot", OLD), line("will", TRIED), line("boot", NEW)]).odd) == 1


def deploy(kind: Any = "good", course: Any = "plain") -> Ordered:
    """One job for one device."""
    return Ordered(0.0, "j", kind, course, "2.0", (), ("a",), Rollout((Group("all", ("a",)),)))


def found(
    there: State,
    here: State | None,
    witness: list[Line],
    *,
    state: Active = NEW,
    reason: str = "",
    phase: str = "succeeded",
) -> Evidence:
    """What the registry has, and the device."""
    execution = JobExecution(
        job_id="j", thing_name="a", status=there, queued_at=0.0, last_updated_at=0.0, version_number=3, execution_number=1
    )
    job = None if here is None else Job(
        id="j", sha256="", expires=9.0, received=1.5, state=here, details={"digest": DIGEST, "reason": reason}
    )  # fmt: skip
    device = Device({} if job is None else {"j": job}, 0, state, ("0.9", "1.0", "2.0"), (), witness, {})
    return Evidence({"a": device}, {"j": Rolled(phase, "", {"a": execution}, {}, phase, {"a": there})}, {})


BOOT = [line("boot", OLD, "")]
TRIAL = [*BOOT, line("will", TRIED), line("did", TRIED)]
KEPT = [*TRIAL, line("will", NEW), line("did", NEW)]
BACK = [*TRIAL, line("will", OLD), line("did", OLD)]


@pytest.mark.parametrize(("ordered", "evidence", "rules"), [
    (deploy(), found("SUCCEEDED", "SUCCEEDED", KEPT), []),
    (deploy(), found("IN_PROGRESS", "SUCCEEDED", KEPT, phase="running"), [OPEN_END, OPEN_END]),
    (deploy(), found("SUCCEEDED", "IN_PROGRESS", TRIAL, state=TRIED), [OPEN_END, HALF]),
    (deploy(), found("SUCCEEDED", "FAILED", BACK, state=OLD, reason="stopped during soak"), [STATE, STATE]),
    (deploy(), found("FAILED", "FAILED", BACK, state=OLD, reason="stopped during soak"), [STATE]),
    (deploy(), found("FAILED", "FAILED", [*BACK, line("boot", OLD, "", 2.0)], state=OLD, reason="stopped during soak"), []),
    (deploy(), found("FAILED", "FAILED", BACK, state=OLD, reason="it is tired"), [STATE]),
    (deploy(), found("CANCELED", None, BOOT, state=OLD), [STATE]),
    (deploy(course="cancel"), found("CANCELED", None, BOOT, state=OLD), []),
    (deploy(course="cancel"), found("CANCELED", "CANCELED", KEPT), [ONCE]),
    (deploy(course="cancel"), found("CANCELED", "SUCCEEDED", KEPT), []),
    (deploy(), found("SUCCEEDED", "SUCCEEDED", BACK, state=OLD), [ONCE]),
    (deploy(), found("SUCCEEDED", "SUCCEEDED", [*KEPT, line("will", OLD), line("did", OLD)], state=OLD), [ONCE]),
    (deploy(), found("SUCCEEDED", "SUCCEEDED", KEPT, state=OLD), [ONCE]),
    (deploy("wrong"), found("FAILED", "FAILED", BACK, state=OLD, reason="golden"), [HALF]),
    (deploy("wrong"), found("SUCCEEDED", "SUCCEEDED", KEPT), [STATE, HALF]),
    (deploy("rollback"), found("SUCCEEDED", "SUCCEEDED", BOOT, state=OLD), [ONCE]),
])  # fmt: skip
def test_what_is_wrong_is_found(ordered: Ordered, evidence: Evidence, rules: list[str]) -> None:
    """Each by its rule, and nothing where nothing is wrong."""
    told = judge(Plan({"a": ()}, (ordered,), (), ()), {"2.0": DIGEST}, evidence)
    wrong = [each.rule for each in told if "is no good version" not in each.told]
    assert sorted(wrong) == sorted(rules), [str(each) for each in told]


def test_a_version_that_is_not_good_must_not_be_active() -> None:
    """Whatever the registry says of its job."""
    told = judge(
        Plan({"a": ()}, (deploy("ill"),), (), ()), {"2.0": DIGEST}, found("FAILED", "FAILED", KEPT, reason="it is ill")
    )
    assert [each.rule for each in told if "is no good version" in each.told] == [HALF]


def test_ends_that_crossed_are_counted() -> None:
    """The device was done when it was called off."""
    crossed = raced(Plan({"a": ()}, (deploy(course="cancel"),), (), ()), found("CANCELED", "SUCCEEDED", KEPT))
    assert crossed == {"CANCELED there, SUCCEEDED on the device": 1}


@pytest.mark.parametrize(("wanted", "held", "reported", "moved", "right"), [
    ("1.0", "1.0", {"active": {"tiny": "1.0"}}, False, True),
    (None, None, {"active": {"tiny": "1.0"}}, False, True),
    ("0.9", None, {"active": {"tiny": "1.0"}}, True, True),
    ("0.9", None, {"active": {"tiny": "1.0"}}, False, False),
    ("0.9", "0.9", {"active": {"tiny": "1.0"}}, True, False),
    ("9.9", "9.9", {"active": {"tiny": "1.0"}, "refused": {"tiny": "9.9: it is not here"}}, False, True),
    ("1.0", "1.0", {"active": {"tiny": "1.0"}, "refused": {"tiny": "9.9: it is not here"}}, False, False),
    ("1.0", "1.0", {"active": {"tiny": "0.9"}}, False, False),
])  # fmt: skip
def test_whether_a_shadow_of_versions_agrees(wanted: Any, held: Any, reported: Any, moved: bool, right: bool) -> None:
    """With what is active, what is desired, and what a job has ended."""
    wish = {"active": {"tiny": wanted} if wanted else {}}
    shadow = Shadow({"active": {"tiny": held} if held else {}}, reported, 4)
    assert (not [*shadows.apart("models", wish, shadow, "1.0", moved)]) is right


def test_whether_a_shadow_of_the_config_agrees() -> None:
    """Budgets that cannot be are refused, and no other."""
    wish = {"budgets": {"tiny": -1.0, "other": 2.0}}
    good = {"budgets": {"other": 2.0}, "policy": {}, "refused": {"tiny": "no"}}
    assert [*shadows.apart("config", wish, Shadow(wish, good, 2), None, False)] == []
    for bad in ({**good, "refused": {}}, {**good, "budgets": {}}, {**good, "budgets": {"other": 2.0, "third": 1.0}}):
        assert len([*shadows.apart("config", wish, Shadow(wish, bad, 2), None, False)]) == 1
    assert len([*shadows.apart("config", {}, Shadow(wish, good, 2), None, False)]) == 1
    assert len([*shadows.apart("config", {}, Shadow(), None, False)]) == 1


def test_a_plan_says_which_versions_it_deploys() -> None:
    """By kind of job."""
    given_plan = Plan({}, (deploy(), msgspec.structs.replace(deploy("ill"), version="4.1")), (), ())
    assert (given_plan.versions("good"), given_plan.versions("ill", "wrong")) == (("2.0",), ("4.1",))
