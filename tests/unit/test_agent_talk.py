"""What a device says and hears, without a broker: messages lost, doubled and in any order; a device that starts again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from threading import Event
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from cloud_bridge.agent.duty import Duty
from cloud_bridge.agent.journal import Journal
from cloud_bridge.agent.reports import OVERTAKEN
from cloud_bridge.agent.shadows import CONFLICT, Shadows
from cloud_bridge.agent.talk import RETURN, Talk
from cloud_bridge.agent.when import RETRY, SLOWEST, Instant, Patience
from cloud_bridge.agent.work import Done, Order
from cloud_bridge.control.link import LONGEST, Heard, Said, Up, pause
from cloud_bridge.protocol.fleet import execution, jobs, rpc, shadow, topics
from cloud_bridge.protocol.fleet.commands import Command, Rollback
from cloud_bridge.protocol.fleet.jobs import TERMINAL, JobExecution, Next
from cloud_bridge.protocol.fleet.presence import Presence, Status
from cloud_bridge.protocol.fleet.rpc import DeviceStatus
from cloud_bridge.protocol.fleet.shadow import Config, Shadow
from cloud_bridge.protocol.fleet.topics import KINDS, Kind, Tree
from cloud_bridge.protocol.fleet.wire import decode, encode
from edge_runtime.errors import InputError, ProtocolError, RunError
from tests.messages import json_values

THING = "press-17"
TREE = Tree()
BEGIN = 1.8e9


class Hands:
    """Whose work is a list."""

    def __init__(self) -> None:
        self.did: list[str] = []

    def settle(self) -> tuple[str, ...]:
        return ()

    def run(self, work: Command, step: str, details: dict[str, str], halt: Event) -> Done:
        assert isinstance(work, Rollback)
        if step == "rollback":
            self.did.append(work.model)
        if work.model == "bad":
            raise RunError("it is bad")
        return Done({"older lines": "3"} if step == "choose" else {"active": "1.0"}, b"report" * (step == "rollback"))

    def back(self, work: Command) -> dict[str, str]:
        return {}


def read(document: bytes) -> Order:
    """What a document says here: a model to roll back, under its job's id."""
    told = json.loads(document)
    if "model" not in told:
        raise ProtocolError("it is not signed")
    return Order(told["job"], Rollback(model=told["model"]), BEGIN + 1e6)


class Device:
    """A device, and what it would say."""

    def __init__(self, journal: Journal | None = None, hands: Hands | None = None, active: Mapping[str, str] = {}) -> None:
        self.journal = journal or Journal(":memory:")
        self.hands = hands or Hands()
        self.duty = Duty(self.journal, read, self.hands)
        self.active = dict(active)
        self.applied: list[Config] = []
        self.shadows = Shadows(TREE, THING, self.journal, lambda: self.active, self.applied.append, draw=lambda: 0.0)
        self.mono = 0.0
        self.talk = Talk(
            TREE, THING, ("canary",), self.duty, self.journal, self.shadows, self.describe, session="s", agent="0.1",
            draw=lambda: 0.5,
        )  # fmt: skip

    @property
    def now(self) -> Instant:
        return Instant(BEGIN + self.mono, self.mono)

    def describe(self, unix: float) -> DeviceStatus:
        return DeviceStatus(thing=THING, session="s", agent="0.1", timestamp=unix, uptime=1.0)

    def up(self) -> list[Said]:
        """A connection: the will is among what is said."""
        return [self.talk.will(self.now), *self.talk.up(Up(), self.now)]

    def hear(
        self, kind: Kind, payload: bytes | msgspec.Struct, told: Mapping[str, Any] = {}, /, **names: str
    ) -> list[Said]:
        """What a message leads to."""
        data = payload if isinstance(payload, bytes) else encode(payload)
        topic = TREE.topic(kind, **({"thing": THING} if "thing" in kind.names else {}), **names)
        said = self.talk.heard(Heard(topic=topic, payload=data, **told), self.now)
        return [*said, *self.talk.due(self.now)]

    def work(self) -> None:
        """Do all that there is to do."""
        while self.duty.act(self.now.unix):
            pass


def kinds(said: list[Said]) -> list[Kind]:
    """What sort of messages these are."""
    return [TREE.parse(each.topic)[0] for each in said]


def of(said: list[Said], kind: Kind) -> Said:
    """The one of this kind."""
    (found,) = [each for each in said if TREE.parse(each.topic)[0] is kind]
    return found


def job(id: str, model: str = "m", version: int = 1, status: Any = "QUEUED", number: int = 1) -> Next:
    """A job as it is announced."""
    return Next(timestamp=BEGIN, execution=JobExecution(
        job_id=id, thing_name=THING, status=status, queued_at=BEGIN, last_updated_at=BEGIN, version_number=version,
        execution_number=number, job_document=msgspec.Raw(json.dumps({"job": id, "model": model}).encode()),
    ))  # fmt: skip


def test_a_connection_begins_with_a_birth_and_questions() -> None:
    """Its number is that of the will, higher than the last one's, also where the clock went back."""
    device = Device(active={"tiny": "1.0"})
    will, *said = device.up()
    birth = decode(of(said, topics.STATUS).payload, Status)
    assert (birth.state, birth.models, birth.groups) == ("ready", {"tiny": "1.0"}, ("canary",))
    assert decode(will.payload, Status) == Status(state="lost", session="s", bd_seq=int(1000 * BEGIN))
    assert birth.bd_seq == int(1000 * BEGIN)
    assert kinds(said) == [topics.STATUS, topics.START_NEXT, topics.SHADOW_GET, topics.SHADOW_GET]
    device.mono = -1000.0
    later = decode(device.up()[1].payload, Status)
    assert later.bd_seq == int(1000 * BEGIN) + 1
    assert Presence().fold(later).fold(decode(will.payload, Status)).state == "ready"
    assert decode(device.talk.farewell().payload, Status).state == "disconnected"


def test_a_report_waits_for_its_answer_and_is_said_again() -> None:
    """One of a job at a time, with the version that is known; nothing is said twice before its time."""
    device = Device()
    device.up()
    assert device.hear(topics.NOTIFY_NEXT, job("a")) == []
    device.work()
    said = device.talk.due(device.now)
    assert kinds(said) == [topics.RESULT, topics.JOB_UPDATE]
    update = decode(said[1].payload, jobs.Update)
    assert (update.status, update.expected_version, said[0].payload) == ("SUCCEEDED", 1, b"report")
    digest = hashlib.sha256(b"report").hexdigest()
    assert update.status_details == {"step": "rollback", "result": digest, "older-lines": "3", "active": "1.0"}
    assert device.talk.due(device.now) == []
    alone = jobs.Rejected(
        code="InvalidStateTransition", message="its file has not come", timestamp=BEGIN, client_token=update.client_token,
        execution_state=jobs.ExecutionState(status="QUEUED", version_number=1),
    )  # fmt: skip
    assert device.hear(topics.JOB_UPDATE_REJECTED, alone, job="a") == []
    device.mono += OVERTAKEN
    assert device.talk.due(device.now) == said
    device.mono += RETRY * 1.6
    assert [each for each in device.talk.due(device.now) if each.topic in {said[0].topic, said[1].topic}] == said
    answer = jobs.Updated(
        timestamp=BEGIN, client_token=update.client_token,
        execution_state=jobs.ExecutionState(status="SUCCEEDED", version_number=2),
    )  # fmt: skip
    assert kinds(device.hear(topics.JOB_UPDATE_ACCEPTED, answer, job="a")) == [topics.START_NEXT]
    assert device.journal.outbox() == ()
    assert device.hands.did == ["m"]


def test_a_report_is_said_again_when_a_controller_returns() -> None:
    """The one before may have died with it: nobody waits for the time after which any report is said again."""
    device = Device()
    device.up()
    device.hear(topics.NOTIFY_NEXT, job("a"))
    device.work()
    assert topics.JOB_UPDATE in kinds(device.talk.due(device.now))
    device.hear(topics.CONTROLLER_STATUS, Status(state="ready", session="c", bd_seq=1))
    device.mono = device.talk.next(device.now)
    assert device.mono <= RETURN
    assert topics.JOB_UPDATE in kinds(device.talk.due(device.now))


def test_a_report_with_an_old_version_is_said_with_the_right_one() -> None:
    """At once where the controller knows more; without any where it knows less, later; not at all where it has ended."""
    device = Device()
    device.up()
    device.hear(topics.NOTIFY_NEXT, job("a", version=4))
    device.work()

    def rejected(version: int, status: Any = "IN_PROGRESS") -> list[Said]:
        (sent,) = device.duty.letters()
        return device.hear(topics.JOB_UPDATE_REJECTED, jobs.Rejected(
            code="VersionMismatch", message="", timestamp=BEGIN, client_token=str(sent.letter.number),
            execution_state=jobs.ExecutionState(status=status, version_number=version),
        ), job="a")  # fmt: skip

    device.talk.due(device.now)
    assert decode(of(rejected(7), topics.JOB_UPDATE).payload, jobs.Update).expected_version == 7
    assert rejected(2) == []
    device.mono += RETRY
    assert decode(of(device.talk.due(device.now), topics.JOB_UPDATE).payload, jobs.Update).expected_version is None
    assert rejected(8, "TIMED_OUT") == []
    assert device.journal.outbox() == ()


def test_a_device_with_nothing_to_do_waits() -> None:
    """Also where a report that was under way is not told any more, since the controller has ended its job."""
    device = Device()
    device.up()
    device.hear(topics.NOTIFY_NEXT, job("a"))
    device.duty.act(device.now.unix)
    assert topics.JOB_UPDATE in kinds(device.talk.due(device.now))
    ended = jobs.Rejected(
        code="TerminalStateReached", message="", timestamp=BEGIN, client_token="1",
        execution_state=jobs.ExecutionState(status="CANCELED", version_number=5),
    )  # fmt: skip
    device.hear(topics.JOB_GET_REJECTED, ended, job="a")
    device.work()
    assert device.journal.outbox() == ()
    for _ in range(3):
        device.mono = device.talk.next(device.now) + 0.001
        device.talk.due(device.now)
        assert device.talk.next(device.now) > device.mono + 1.0


def test_a_refused_job_is_said_to_be_so_and_nothing_is_kept() -> None:
    """With the reason, once for each time that it comes; then the next one is asked for."""
    device = Device()
    device.up()
    told = job("a")
    assert told.execution is not None
    forged = msgspec.structs.replace(
        told, execution=msgspec.structs.replace(told.execution, job_document=msgspec.Raw(b"{}"))
    )
    update = decode(of(device.hear(topics.NOTIFY_NEXT, forged), topics.JOB_UPDATE).payload, jobs.Update)
    assert (update.status, update.status_details) == ("REJECTED", {"reason": "it is not signed"})
    assert device.journal.find("a") is None
    accepted = jobs.Updated(timestamp=BEGIN, client_token=update.client_token)
    assert kinds(device.hear(topics.JOB_UPDATE_ACCEPTED, accepted, job="a")) == [topics.START_NEXT]


def test_hints_and_controllers_that_return_spread_the_questions() -> None:
    """Over the time that is told; several at once lead to one question."""
    device = Device()
    device.up()
    for _ in range(3):
        assert device.hear(topics.GROUP_NOTIFY, jobs.Hint(spread=10.0), group="canary") == []
    assert device.talk.next(device.now) == pytest.approx(5.0)
    device.mono += 5.0
    assert kinds(device.talk.due(device.now)) == [topics.START_NEXT]
    there = Status(state="ready", session="c", bd_seq=1)
    device.hear(topics.CONTROLLER_STATUS, there, {"retained": True})
    device.hear(topics.CONTROLLER_STATUS, there)
    assert device.talk.due(device.now) == []
    device.hear(topics.CONTROLLER_STATUS, msgspec.structs.replace(there, bd_seq=2))
    device.mono += 5.0
    assert kinds(device.talk.due(device.now)) == [topics.START_NEXT, topics.SHADOW_GET, topics.SHADOW_GET]


def test_the_question_for_a_job_is_asked_until_it_is_answered() -> None:
    """Who was asked may have begun the job, and died before it said so: nobody else tells this device of it."""
    device = Device()
    device.up()
    device.mono += RETRY * 1.5
    said = device.talk.due(device.now)
    assert topics.START_NEXT in kinds(said)
    device.hear(topics.START_NEXT_ACCEPTED, Next(timestamp=BEGIN))
    device.mono += RETRY * 3
    assert topics.START_NEXT not in kinds(device.talk.due(device.now))


def test_a_controller_that_is_behind_is_asked_less_and_less() -> None:
    """Each question waits as long again as nobody has answered, and up to twice that; any answer ends it."""
    draws = [0.0, 1.0, 0.0, 0.5, 0.0]
    patience = Patience(lambda: draws.pop(0))
    assert patience.again(Instant(BEGIN, 100.0)) == 100.0 + RETRY
    assert patience.again(Instant(BEGIN, 150.0)) == 150.0 + 50.0 * 2
    assert patience.again(Instant(BEGIN, 250.0)) == 250.0 + 150.0
    assert patience.again(Instant(BEGIN, 9000.0)) == 9000.0 + SLOWEST * 1.5
    patience.answered()
    assert patience.again(Instant(BEGIN, 9001.0)) == 9001.0 + RETRY


def test_a_device_whose_questions_nobody_answers_says_ever_less() -> None:
    """In its first hour a dozen of each at most; and all of it again at once when it connects anew."""
    device = Device()
    device.up()
    said = 0
    for _ in range(3600):
        device.mono += 1.0
        said += kinds(device.talk.due(device.now)).count(topics.START_NEXT)
    assert 4 <= said <= 12
    assert topics.START_NEXT in kinds(device.up())
    device.mono += RETRY * 1.5
    assert topics.START_NEXT in kinds(device.talk.due(device.now))


def test_a_question_is_answered_with_what_it_came_with() -> None:
    """Its correlation, for as long as it waits, and how it went."""
    device = Device()
    device.up()
    told = {"correlation": b"c", "expiry": 7.0}
    (answer,) = device.hear(topics.RPC, b"{}", told, method="ping")
    assert (answer.topic, answer.correlation, answer.expiry, answer.status) == (
        "edge/v1/things/press-17/rpc-rsp", b"c", 7.0, "200",
    )  # fmt: skip
    assert decode(answer.payload, rpc.Pong).timestamp == BEGIN
    assert device.hear(topics.RPC, b"", told, method="status")[0].status == "200"
    assert device.hear(topics.RPC, b"[]", told, method="ping")[0].status == "400"
    assert device.hear(topics.RPC, b"{}", told, method="reboot")[0].status == "404"


def test_a_desired_config_is_taken_kept_and_reported() -> None:
    """Entry by entry; what changes nothing leads to no message."""
    device = Device()
    device.up()
    desired = {"budgets": {"tiny": 0.05, "other": "fast"}, "policy": {"quantile": 0.9}, "colour": "red"}
    document = shadow.Document(state=shadow.State(desired=desired), version=3, timestamp=BEGIN)
    update = decode(
        of(device.hear(topics.SHADOW_GET_ACCEPTED, document, shadow="config"), topics.SHADOW_UPDATE).payload, shadow.Update
    )
    assert isinstance(update.state.reported, dict)
    held = shadow.read(update.state.reported, Config)
    assert (held.budgets, held.policy.quantile, list(held.refused)) == ({"tiny": 0.05}, 0.9, ["other"])
    assert device.applied[-1] == held
    assert device.talk.due(device.now) == []
    answered = shadow.Updated(state=update.state, version=4, timestamp=BEGIN, client_token=update.client_token)
    assert device.hear(topics.SHADOW_UPDATE_ACCEPTED, answered, shadow="config") == []
    old = shadow.Delta(state={"budgets": {"tiny": 9.0}}, version=4, timestamp=BEGIN)
    assert device.hear(topics.SHADOW_DELTA, old, shadow="config") == []
    newer = msgspec.structs.replace(old, version=5)
    assert kinds(device.hear(topics.SHADOW_DELTA, newer, shadow="config")) == [topics.SHADOW_GET]
    assert Device(device.journal).applied == [held]


def test_a_report_that_comes_late_changes_nothing_back() -> None:
    """Nor a wish that is made after it: it names the version that it follows. Where another holds, all is asked anew."""
    device = Device(active={"tiny": "1.0"})
    device.up()
    held = Shadow({}, {}, 3)

    def tell() -> shadow.Update:
        told = shadow.describe(held, shadow.Get(), BEGIN)
        return decode(of(device.hear(topics.SHADOW_GET_ACCEPTED, told, shadow="models"), topics.SHADOW_UPDATE).payload,
                      shadow.Update)  # fmt: skip

    first = tell()
    after = shadow.apply(held, first, BEGIN)
    assert isinstance(after, Shadow)
    device.hear(topics.SHADOW_UPDATE_ACCEPTED, shadow.confirm(after, first, BEGIN), shadow="models")
    device.active["tiny"] = "2.0"
    device.shadows.acted()
    second = decode(of(device.talk.due(device.now), topics.SHADOW_UPDATE).payload, shadow.Update)
    assert isinstance(shadow.apply(after, first, BEGIN), shadow.Rejected)
    wished = shadow.apply(after, shadow.Update(state=shadow.Change(desired={"active": {"tiny": "1.0"}})), BEGIN)
    assert isinstance(wished, Shadow)
    conflict = shadow.apply(wished, second, BEGIN)
    assert isinstance(conflict, shadow.Rejected)
    assert device.hear(topics.SHADOW_UPDATE_REJECTED, conflict, shadow="models") == []
    device.mono = device.talk.next(device.now)
    assert device.mono <= CONFLICT
    assert kinds(device.talk.due(device.now)) == [topics.SHADOW_GET]
    held = wished
    assert tell().state.reported == {"active": {"tiny": "2.0"}}


def test_a_change_that_is_not_its_own_is_looked_at() -> None:
    """Also where it is said to be of what is reported: the first report of all follows no version, and may come twice."""
    device = Device()
    device.up()
    other = shadow.Updated(state=shadow.Change(reported={"active": {}}), version=5, timestamp=BEGIN, client_token="old")
    assert kinds(device.hear(topics.SHADOW_UPDATE_ACCEPTED, other, shadow="models")) == [topics.SHADOW_GET]


def test_wishes_for_versions_are_tried_once_until_something_changes() -> None:
    """One that failed is told and left; a job that gave another version ends the wish, also past a restart."""
    device = Device(active={"tiny": "1.0"})
    device.up()

    def desire(version: int, wish: Mapping[str, Any]) -> list[Said]:
        state = shadow.State(desired={"active": wish}, reported={"active": {"tiny": "1.0"}, "refused": {}})
        told = shadow.Document(state=state, version=version, timestamp=BEGIN)
        return device.hear(topics.SHADOW_GET_ACCEPTED, told, shadow="models")

    assert desire(1, {"tiny": "2.0"}) == []
    assert device.shadows.wanted() == ("tiny", "2.0")
    device.shadows.tried("tiny", "2.0", "it is wrong")
    assert device.shadows.wanted() is None
    update = decode(of(device.talk.due(device.now), topics.SHADOW_UPDATE).payload, shadow.Update)
    assert update.state.reported == {"refused": {"tiny": "2.0: it is wrong"}}
    device.shadows.acted()
    assert device.shadows.wanted() == ("tiny", "2.0")
    device.active["tiny"] = "3.0"
    device.shadows.acted("tiny")
    assert device.shadows.wanted() is None
    again = Device(device.journal, active=device.active)
    again.up()
    state = shadow.State(desired={"active": {"tiny": "2.0"}}, reported={"active": {"tiny": "3.0"}, "refused": {}})
    told = shadow.Document(state=state, version=9, timestamp=BEGIN)
    update = decode(
        of(again.hear(topics.SHADOW_GET_ACCEPTED, told, shadow="models"), topics.SHADOW_UPDATE).payload, shadow.Update
    )
    assert update.state.desired == {"active": {"tiny": None}}
    assert again.shadows.wanted() is None


def test_a_version_that_is_desired_and_not_so_is_tried_after_each_job() -> None:
    """Also one that was active before: nobody has said that it is not desired any more."""
    device = Device(active={"tiny": "2.0"})
    device.up()
    told = shadow.Document(state=shadow.State(desired={"active": {"tiny": "2.0"}}), version=1, timestamp=BEGIN)
    device.hear(topics.SHADOW_GET_ACCEPTED, told, shadow="models")
    device.shadows.tried("tiny", "2.0")
    device.active["tiny"] = "3.0"
    assert device.shadows.wanted() is None
    device.shadows.acted()
    assert device.shadows.wanted() == ("tiny", "2.0")


@pytest.mark.parametrize("late", ["document", "none"])
def test_an_answer_that_was_overtaken_tells_nothing(late: str) -> None:
    """Also as long as all is asked for anew: it would bring old wishes back. Where the controller has lost what it had, the
    answer to the last question is of a lower version, and holds."""
    device = Device(active={"tiny": "1.0"})
    old = shadow.Document(state=shadow.State(desired={"active": {"tiny": "0.9"}}), version=2, timestamp=BEGIN)
    new = shadow.Document(state=shadow.State(desired={"active": {"tiny": "2.0"}}), version=5, timestamp=BEGIN)
    gone = shadow.Rejected(code=404, message="there is none", timestamp=BEGIN)
    device.up()
    device.hear(topics.SHADOW_GET_ACCEPTED, new, shadow="models")
    said = [each for each in device.up() if "/models/get" in each.topic]
    if late == "document":
        device.hear(topics.SHADOW_GET_ACCEPTED, old, shadow="models")
    else:
        device.hear(topics.SHADOW_GET_REJECTED, gone, shadow="models")
    assert device.shadows.wanted() == ("tiny", "2.0")
    asked = decode(said[0].payload, shadow.Get).client_token
    device.hear(topics.SHADOW_GET_ACCEPTED, msgspec.structs.replace(old, client_token=asked), shadow="models")
    assert device.shadows.wanted() == ("tiny", "0.9")


def test_a_version_is_desired_again_after_a_job_has_ended_the_wish_for_it() -> None:
    """It was active once: it is tried again, also where nobody has seen the shadow without it."""
    device = Device(active={"tiny": "2.0"})
    device.up()
    held = Shadow({"active": {"tiny": "2.0"}}, {"active": {"tiny": "2.0"}, "refused": {}}, 1)

    def tell() -> list[Said]:
        return device.hear(topics.SHADOW_GET_ACCEPTED, shadow.describe(held, shadow.Get(), BEGIN), shadow="models")

    assert tell() == []
    device.shadows.tried("tiny", "2.0")
    device.active["tiny"] = "3.0"
    device.shadows.acted("tiny")
    ends = decode(of(device.talk.due(device.now), topics.SHADOW_UPDATE).payload, shadow.Update)
    for update in (ends, shadow.Update(state=shadow.Change(desired={"active": {"tiny": "2.0"}}))):
        after = shadow.apply(held, update, BEGIN)
        assert isinstance(after, Shadow)
        held = after
    device.hear(topics.SHADOW_UPDATE_ACCEPTED, shadow.confirm(held, ends, BEGIN), shadow="models")
    assert tell() == []
    assert device.shadows.wanted() == ("tiny", "2.0")


def test_a_wish_is_ended_by_a_job_that_ends_after_a_restart() -> None:
    """The device has not heard since what is desired, but knows it from before."""
    device = Device(active={"tiny": "2.0"})
    device.up()
    state = shadow.State(desired={"active": {"tiny": "2.0"}}, reported={"active": {"tiny": "2.0"}, "refused": {}})
    told = shadow.Document(state=state, version=1, timestamp=BEGIN)
    device.hear(topics.SHADOW_GET_ACCEPTED, told, shadow="models")
    again = Device(device.journal, active={"tiny": "3.0"})
    assert again.shadows.wanted() is None  # what is from before may be desired no more
    again.shadows.acted("tiny")
    again.up()
    said = again.hear(topics.SHADOW_GET_ACCEPTED, told, shadow="models")
    assert again.shadows.wanted() is None
    update = decode(of(said, topics.SHADOW_UPDATE).payload, shadow.Update)
    assert update.state.desired == {"active": {"tiny": None}}


def test_a_shadow_that_is_said_to_hold_too_much_is_left() -> None:
    """What a broken controller says is no reason to stop."""
    device = Device()
    device.up()
    state = shadow.State(reported={f"{number:05}" * 2: 1 for number in range(8500)})
    document = shadow.Document(state=state, version=3, timestamp=BEGIN)
    assert len(encode(document)) > 120_000
    assert topics.SHADOW_UPDATE not in kinds(device.hear(topics.SHADOW_GET_ACCEPTED, document, shadow="models"))
    assert device.hear(topics.RPC, b"{}", method="ping")[0].status == "200"


@settings(max_examples=200)
@given(st.sampled_from([kind for kind in KINDS if kind.sender == "controller"]), st.binary(max_size=40) | json_values)
def test_nothing_that_is_heard_breaks_a_device(kind: Kind, payload: object) -> None:
    """Any bytes and any JSON, on any topic that it hears."""
    device = Device()
    device.up()
    names = {"job": "j", "shadow": "config", "method": "ping", "group": "canary"}
    given_names = {name: names[name] for name in kind.names if name != "thing"}
    device.hear(kind, payload if isinstance(payload, bytes) else json.dumps(payload).encode(), **given_names)


@given(st.text(max_size=60))
def test_no_topic_breaks_a_device(topic: str) -> None:
    """Also one of another device."""
    device = Device()
    for each in (topic, f"edge/v1/things/{topic}", "edge/v1/things/press-18/rpc/ping"):
        assert device.talk.heard(Heard(topic=each, payload=b"{}"), device.now) == []


def test_a_journal_that_fails_is_told_and_nothing_is_acknowledged() -> None:
    """By the error that leaves."""
    device = Device()
    device.up()
    device.journal.close()
    with pytest.raises(InputError, match="closed"):
        device.hear(topics.NOTIFY_NEXT, job("a"))


@given(st.integers(0, 10_000), st.floats(0.0, 1.0))
def test_tries_to_connect_are_spread_up_to_a_bound(failures: int, draw: float) -> None:
    """From none to a minute."""
    assert 0.0 <= pause(failures, draw) <= min(LONGEST, 2.0**16)
    assert pause(failures, 1.0) == min(LONGEST, 2.0 ** min(failures, 10))


class Fleet(RuleBasedStateMachine):
    """A device and a controller, with a network between them that loses, doubles and reorders; either may start again. When
    the network is well again, both agree."""

    def __init__(self) -> None:
        super().__init__()
        self.device = Device()
        self.jobs: dict[str, JobExecution] = {}
        self.shadows = {"config": Shadow(), "models": Shadow()}
        self.to_device: list[tuple[Kind, dict[str, str], bytes]] = []
        self.to_controller: list[Said] = []
        self.connect()

    @rule()
    def connect(self) -> None:
        self.to_controller += self.device.up()[1:]

    @rule()
    def restart(self) -> None:
        mono = self.device.mono
        self.device = Device(self.device.journal, self.device.hands)
        self.device.mono = mono
        self.connect()

    @precondition(lambda self: len(self.jobs) < 4)
    @rule(bad=st.booleans())
    def order(self, bad: bool) -> None:
        id = f"j{len(self.jobs)}"
        told = job(id, "bad" if bad else id).execution
        assert told is not None
        self.jobs[id] = msgspec.structs.replace(told, queued_at=BEGIN + len(self.jobs))
        self.notify()

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        id = data.draw(st.sampled_from(sorted(self.jobs)))
        self.jobs[id] = execution.move(self.jobs[id], "CANCELED", BEGIN, why="a test")
        self.notify()

    @rule(budget=st.floats(0.01, 1.0))
    def desire(self, budget: float) -> None:
        self.change("config", shadow.Update(state=shadow.Change(desired={"budgets": {"tiny": budget}})))

    @rule()
    def act(self) -> None:
        self.device.duty.act(self.device.now.unix)
        self.to_controller += self.device.talk.due(self.device.now)

    @rule(seconds=st.floats(0.0, 100.0))
    def wait(self, seconds: float) -> None:
        self.device.mono += seconds
        self.to_controller += self.device.talk.due(self.device.now)

    @precondition(lambda self: self.to_device or self.to_controller)
    @rule(data=st.data(), fate=st.sampled_from(["comes", "comes", "comes", "is lost", "comes twice"]))
    def message(self, data: st.DataObject, fate: str) -> None:
        bag = data.draw(st.sampled_from([bag for bag in (self.to_device, self.to_controller) if bag]))
        at = data.draw(st.integers(0, len(bag) - 1))
        found = bag[at]
        if fate != "comes twice":
            del bag[at]
        if fate != "is lost":
            self.deliver(found)

    def deliver(self, found: Any) -> None:
        if isinstance(found, Said):
            self.serve(found)
        else:
            kind, names, payload = found
            self.to_controller += self.device.hear(kind, payload, **names)

    def notify(self) -> None:
        first = execution.first(self.jobs.values())
        self.reply(topics.NOTIFY_NEXT, Next(timestamp=BEGIN, execution=first))

    def reply(self, kind: Kind, told: msgspec.Struct, **names: str) -> None:
        self.to_device.append((kind, names, encode(told)))

    def change(self, name: str, update: shadow.Update) -> None:
        found = shadow.apply(self.shadows[name], update, BEGIN)
        if isinstance(found, shadow.Rejected):
            self.reply(topics.SHADOW_UPDATE_REJECTED, found, shadow=name)
            return
        self.shadows[name] = found
        self.reply(topics.SHADOW_UPDATE_ACCEPTED, shadow.confirm(found, update, BEGIN), shadow=name)
        if (delta := shadow.delta(found, BEGIN)) is not None:
            self.reply(topics.SHADOW_DELTA, delta, shadow=name)

    def serve(self, said: Said) -> None:
        kind, names = TREE.parse(said.topic)
        id, name = names.get("job", ""), names.get("shadow", "")
        match kind:
            case topics.START_NEXT:
                asked = decode(said.payload, jobs.StartNext)
                if (first := execution.first(self.jobs.values())) is not None:
                    first = self.jobs[first.job_id] = execution.start(first, asked, BEGIN)
                self.reply(topics.START_NEXT_ACCEPTED, Next(timestamp=BEGIN, execution=first))
            case topics.JOB_GET:
                got = execution.describe(self.jobs.get(id), decode(said.payload, jobs.Get), BEGIN)
                answer = topics.JOB_GET_ACCEPTED if isinstance(got, Next) else topics.JOB_GET_REJECTED
                self.reply(answer, got, job=id)
            case topics.JOB_UPDATE:
                update = decode(said.payload, jobs.Update)
                done = execution.apply(self.jobs.get(id), update, BEGIN)
                if isinstance(done, JobExecution):
                    self.jobs[id] = done
                    self.reply(topics.JOB_UPDATE_ACCEPTED, execution.confirm(done, update, BEGIN), job=id)
                else:
                    self.reply(topics.JOB_UPDATE_REJECTED, done, job=id)
            case topics.SHADOW_GET:
                told = shadow.describe(self.shadows[name], decode(said.payload, shadow.Get), BEGIN)
                there = isinstance(told, shadow.Document)
                self.reply(topics.SHADOW_GET_ACCEPTED if there else topics.SHADOW_GET_REJECTED, told, shadow=name)
            case topics.SHADOW_UPDATE:
                self.change(name, decode(said.payload, shadow.Update))

    def teardown(self) -> None:
        """The network is well again: everything comes, in order."""
        self.connect()
        for _ in range(2000):
            if self.to_device:
                self.deliver(self.to_device.pop(0))
            elif self.to_controller:
                self.deliver(self.to_controller.pop(0))
            elif self.device.duty.act(self.device.now.unix):
                self.to_controller += self.device.talk.due(self.device.now)
            elif self.device.mono < 1e5:
                self.wait(SLOWEST * 2)
                if not self.to_controller:
                    break
        assert not self.to_device, "they never come to rest"
        assert not self.to_controller
        assert {each.status for each in self.jobs.values()} <= TERMINAL
        for id, each in self.jobs.items():
            known = self.device.journal.find(id)
            assert known is None or known.state in TERMINAL
            if each.status == "SUCCEEDED":
                assert self.device.hands.did.count(id) >= 1
        assert self.device.journal.outbox() == ()
        for held in self.shadows.values():
            assert shadow.difference(held.desired, held.reported) == {}


TestFleet = Fleet.TestCase
TestFleet.settings = settings(max_examples=100, stateful_step_count=40)
