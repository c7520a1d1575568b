"""A controller on a registry of its own: what it says, and what comes of what things say. The broker is a list."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cloud_bridge.control.link import Heard, Said
from cloud_bridge.fleet.controller import Controller, cancel, order, tell
from cloud_bridge.fleet.events import Aborted, Paused, Resumed
from cloud_bridge.fleet.log import replay
from cloud_bridge.fleet.orders import UPDATES
from cloud_bridge.fleet.registry import Job, Registry
from cloud_bridge.fleet.spec import Constant, Group, Rollout, Timeouts
from cloud_bridge.protocol.fleet.shadow import Shadow
from edge_runtime.errors import InputError, UnreachableError

T = "edge/v1/things"


class Site:
    """A registry, a controller or several, a clock that the tests move, and all that was said."""

    def __init__(self, path: Path) -> None:
        self.registry, self.now, self.broken = Registry(path), 1000.0, False
        self.said: list[Said] = []
        self.controller = self.another("one")

    def another(self, name: str) -> Controller:
        return Controller(self.registry, self, lambda: self.now, name=name)

    def publish(self, messages: Sequence[Said]) -> None:
        """The port."""
        if self.broken:
            raise UnreachableError("no broker")
        self.said += messages

    def order(self, job: str, *things: str, expires: float | None = None, **rollout: Any) -> None:
        spec = Rollout((Group("all", things),), **rollout)
        assert order(self.registry, Job(job, b'{"do": "ping"}', b'{"signed": 1}', spec, self.now, expires))

    def step(self, seconds: float = 1.0, controller: Controller | None = None) -> list[tuple[str, Any]]:
        self.now += seconds
        (controller or self.controller).step()
        return self.heard()

    def ask(self, *requests: tuple[str, str, object]) -> list[tuple[str, Any]]:
        """What things say, and what they are answered."""
        self.controller.receive([Heard(f"{T}/{thing}/{tail}", msgspec.json.encode(body)) for thing, tail, body in requests])
        return self.heard()

    def heard(self) -> list[tuple[str, Any]]:
        """What was said since, as (topic, JSON)."""
        said, self.said = self.said, []
        return [(each.topic.removeprefix(f"{T}/"), msgspec.json.decode(each.payload)) for each in said]

    def status(self, job: str) -> dict[str, str]:
        return {thing: each.status for thing, each in self.registry.jobs.executions(job).items()}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path / "fleet.db")
    yield made
    made.registry.close()


def test_a_job_from_its_order_to_its_end(site: Site) -> None:
    """Things are told, begin, and succeed; the log gives the same rollout."""
    site.order("j1", "a", "b")
    told = site.step()
    assert [topic for topic, _ in told] == ["a/jobs/notify-next", "b/jobs/notify-next"]
    assert told[0][1]["execution"] == {
        "jobId": "j1", "status": "QUEUED", "queuedAt": 1001.0, "lastUpdatedAt": 1001.0, "versionNumber": 1,
        "executionNumber": 1, "jobDocument": {"signed": 1}, "thingName": "a",
    }  # fmt: skip
    assert site.step() == []
    (topic, answer), _ = site.ask(("a", "jobs/start-next", {"clientToken": "x"}), ("b", "jobs/start-next", {}))
    assert (topic, answer["clientToken"]) == ("a/jobs/start-next/accepted", "x")
    assert (answer["execution"]["status"], answer["execution"]["jobDocument"]) == ("IN_PROGRESS", {"signed": 1})
    done = {"status": "SUCCEEDED", "expectedVersion": 2}
    assert [topic for topic, _ in site.ask(("a", "jobs/j1/update", done))] == ["a/jobs/j1/update/accepted"]
    assert site.step() == []
    assert site.registry.jobs.get("j1").phase == "running"
    site.ask(("b", "jobs/j1/update", {"status": "FAILED"}))
    site.step()
    assert site.registry.jobs.get("j1").phase == "failed"
    began, state = replay(site.registry.jobs.log("j1"))
    assert (began.job, state.ended) == ("j1", {"a": "SUCCEEDED", "b": "FAILED"})
    assert site.ask(("a", "jobs/start-next", {})) == [("a/jobs/start-next/accepted", {"timestamp": site.now})]


def test_what_comes_twice_or_late_does_nothing_more(site: Site) -> None:
    """The same update is accepted again; another one after the end is rejected, as is an old version."""
    site.order("j1", "a")
    site.step()
    begun: tuple[str, str, object] = ("a", "jobs/j1/update", {"status": "IN_PROGRESS", "expectedVersion": 1})
    done: tuple[str, str, object] = ("a", "jobs/j1/update", {"status": "SUCCEEDED", "expectedVersion": 2})
    early = site.ask(done)
    assert [(topic, answer["code"]) for topic, answer in early] == [("a/jobs/j1/update/rejected", "VersionMismatch")]
    said = site.ask(begun, begun, done, begun, done)
    assert [topic.rpartition("/")[2] for topic, _ in said] == ["accepted", "accepted", "accepted", "rejected", "accepted"]
    assert site.registry.jobs.executions("j1")["a"].version_number == 3
    assert len(site.registry.jobs.log("j1")) == 4
    site.step()
    assert len(site.registry.jobs.log("j1")) == 5
    late = site.ask(("a", "jobs/j1/update", {"status": "FAILED"}))
    assert late[0][0] == "a/jobs/j1/update/rejected"
    assert site.status("j1") == {"a": "SUCCEEDED"}


def test_an_end_waits_for_the_file_that_it_names(site: Site) -> None:
    """The two may be heard by two controllers, in any order, and either may be lost: the end is not accepted alone."""
    site.order("j1", "a", "b")
    site.step()
    file = b"packed"
    done: tuple[str, str, object] = ("a", "jobs/j1/update", {
        "status": "SUCCEEDED", "expectedVersion": 1, "statusDetails": {"result": hashlib.sha256(file).hexdigest()},
    })  # fmt: skip
    ((topic, answer),) = site.ask(done)
    assert (topic, answer["code"]) == ("a/jobs/j1/update/rejected", "InvalidStateTransition")
    assert "has not come" in answer["message"]
    assert site.status("j1") == {"a": "QUEUED", "b": "QUEUED"}
    for body in (b"another one", file):
        site.controller.receive([Heard(f"{T}/a/results/j1", body)])
        ((topic, _),) = site.ask(done)
    assert topic == "a/jobs/j1/update/accepted"
    assert [topic for topic, _ in site.ask(done)] == ["a/jobs/j1/update/accepted"]
    assert site.registry.jobs.results("j1") == {"a": file}
    assert site.status("j1") == {"a": "SUCCEEDED", "b": "QUEUED"}


def test_a_retry_is_another_execution(site: Site) -> None:
    """It is told again, with the next number; words of the first one are not taken for its own."""
    site.order("j1", "a", retries=1)
    site.step()
    site.ask(("a", "jobs/j1/update", {"status": "FAILED", "executionNumber": 1, "statusDetails": {"why": "full"}}))
    ((_, told),) = site.step()
    assert (told["execution"]["executionNumber"], told["execution"]["versionNumber"]) == (2, 3)
    ((topic, answer),) = site.ask(("a", "jobs/j1/update", {"status": "SUCCEEDED", "executionNumber": 1}))
    assert (topic, answer["code"]) == ("a/jobs/j1/update/rejected", "ResourceNotFound")
    site.ask(("a", "jobs/j1/update", {"status": "SUCCEEDED", "executionNumber": 2}))
    site.step()
    assert site.registry.jobs.get("j1").phase == "succeeded"


def test_the_next_job_is_told_when_one_has_ended(site: Site) -> None:
    """The oldest first; one that a controller ends is told as well, with what follows, or that nothing does."""
    site.order("j1", "a", timeouts=Timeouts(execution=50.0))
    site.step()
    site.order("j2", "a")
    assert site.step() == []
    assert [told["execution"]["jobId"] for _, told in site.step(60)] == ["j2"]
    assert site.status("j1") == {"a": "TIMED_OUT"}
    assert cancel(site.registry, "j2", "a", site.now)
    assert not cancel(site.registry, "j2", "a", site.now)
    assert site.step() == [("a/jobs/notify-next", {"timestamp": site.now})]
    assert site.registry.jobs.get("j2").phase == "failed"


def test_pause_resume_abort(site: Site) -> None:
    """An operator's words reach the rollout through the registry; the job says why it stands."""
    site.order("j1", "a", "b", "c", in_flight=1)
    site.step()
    tell(site.registry, "j1", Paused(site.now, "lunch"))
    site.ask(("a", "jobs/j1/update", {"status": "SUCCEEDED"}))
    assert site.step() == []
    assert (site.registry.jobs.get("j1").phase, site.registry.jobs.get("j1").why) == ("paused", "lunch")
    tell(site.registry, "j1", Resumed(site.now))
    assert len(site.step()) == 1
    tell(site.registry, "j1", Aborted(site.now, why="bad"))
    assert site.step() == [("b/jobs/notify-next", {"timestamp": site.now})]
    assert site.status("j1") == {"a": "SUCCEEDED", "b": "CANCELED"}
    assert site.registry.jobs.get("j1").phase == "aborted"
    with pytest.raises(InputError, match="there is no job 'j9'"):
        tell(site.registry, "j9", Paused(site.now))


def test_without_a_broker_nothing_is_forgotten(site: Site) -> None:
    """What was decided is told when the broker is back, once, though the rollout may be over by then."""
    site.order("j1", "a")
    site.broken = True
    assert site.step() == []
    tell(site.registry, "j1", Aborted(site.now))
    assert site.step() == []
    assert site.registry.jobs.get("j1").phase == "aborted"
    site.broken = False
    assert [topic for topic, _ in site.step()] == ["a/jobs/notify-next"]
    assert site.step() == []


def test_another_controller_takes_over(site: Site) -> None:
    """When the claim of the first has ended, where it left off: the rate holds over both."""
    site.order("j1", *"abcdefgh", rate=Constant(60))
    other = site.another("two")
    assert len(site.step()) == 1
    for _ in range(5):
        assert site.step(0.1, other) == []
    assert len(site.step(40, other)) == 1
    assert site.step(0.1) == []
    assert len(site.step(1.0, other)) == 1
    other.close()
    assert len(site.step(1.0)) == 1
    assert len(site.status("j1")) == 4


def test_a_job_that_expires_is_over_by_then(site: Site) -> None:
    """Messages about it do not outlive it."""
    site.order("j1", "a", "b", in_flight=1, expires=site.now + 100)
    site.now += 1.0
    site.controller.step()
    assert [each.expiry for each in site.said] == [99.0]
    site.step(100)
    assert site.registry.jobs.get("j1").phase == "aborted"
    assert site.status("j1") == {"a": "TIMED_OUT"}
    with pytest.raises(InputError, match="expires before"):
        site.order("j2", "a", expires=site.now)


def test_shadows(site: Site) -> None:
    """A change is accepted and the difference told; an old version is refused, and so is what is no shadow."""
    said = site.ask(
        ("a", "shadow/name/config/get", {}),
        ("a", "shadow/name/config/update", {"state": {"desired": {"budget": 0.2}}, "version": 0}),
        ("a", "shadow/name/config/update", {"state": {"reported": {"budget": 0.2}}, "version": 0}),
        ("a", "shadow/name/config/update", {"state": {"reported": {"budget": 0.2}}}),
        ("a", "shadow/name/config/get", {}),
    )
    assert [(topic.removeprefix("a/shadow/name/config/"), answer.get("code")) for topic, answer in said] == [
        ("get/rejected", 404), ("update/accepted", None), ("update/delta", None), ("update/rejected", 409),
        ("update/accepted", None), ("get/accepted", None),
    ]  # fmt: skip
    assert said[2][1]["state"] == {"budget": 0.2}
    assert site.registry.devices.shadow("a", "config") == Shadow({"budget": 0.2}, {"budget": 0.2}, 2)


def test_presence(site: Site) -> None:
    """A birth brings a thing and its groups; a will of an older connection tells nothing."""
    birth = {"state": "ready", "session": "s", "bdSeq": 2, "groups": ["line-1"], "models": {"m": "1.0"}}
    site.ask(("a", "status", {"state": "lost", "session": "r", "bdSeq": 1}), ("a", "status", birth))
    site.ask(("a", "status", {"state": "lost", "session": "r", "bdSeq": 1}), ("b", "status", birth | {"groups": []}))
    (device,) = site.registry.devices.all(group="line-1")
    assert (device.thing, device.presence.state, device.groups, device.seen) == ("a", "ready", ("line-1",), 1000.0)
    assert device.presence.birth is not None
    assert device.presence.birth.models == {"m": "1.0"}
    site.ask(("a", "status", {"state": "lost", "session": "s", "bdSeq": 2}))
    assert [each.thing for each in site.registry.devices.all(state="lost")] == ["a"]


def test_what_is_no_message_does_nothing(site: Site) -> None:
    """It is answered where it can be; what came with it is taken in."""
    site.order("j1", "a")
    site.step()
    site.controller.receive([
        Heard("edge/v1/things/a/jobs/j1/update", b'{"status": "TIMED_OUT"}'),
        Heard("edge/v1/things/a/jobs/j1/update", b"\xff" * 200_000),
        Heard("edge/v1/things/../jobs/j1/update", b"{}"),
        Heard("edge/v1/things/a/status", b"[]"),
        Heard("edge/v1/things/a/shadow/name/config/update", b"nonsense"),
        Heard("edge/v1/things/a/jobs/unknown/get", b""),
        Heard("edge/v1/things/a/jobs/j1/get", b""),
    ])  # fmt: skip
    assert sorted((topic.removeprefix("a/"), answer.get("code")) for topic, answer in site.heard()) == [
        ("jobs/j1/get/accepted", None), ("jobs/j1/update/rejected", "InvalidJson"),
        ("jobs/j1/update/rejected", "InvalidJson"), ("jobs/unknown/get/rejected", "ResourceNotFound"),
        ("shadow/name/config/update/rejected", 400),
    ]  # fmt: skip
    assert site.status("j1") == {"a": "QUEUED"}


def test_a_thing_that_does_not_stop_talking_is_throttled(site: Site) -> None:
    """Its end is heard all the same: the log of a rollout is bounded."""
    site.order("j1", "a")
    site.step()
    word: tuple[str, str, object] = ("a", "jobs/j1/update", {"status": "IN_PROGRESS"})
    said = site.ask(*[word] * (UPDATES + 5))
    assert {answer.get("code") for _, answer in said[-6:]} == {"RequestThrottled"}
    assert [topic for topic, _ in site.ask(("a", "jobs/j1/update", {"status": "SUCCEEDED"}))] == [
        "a/jobs/j1/update/accepted"
    ]
    assert len(site.registry.jobs.log("j1")) <= UPDATES + 3


def test_shadows_beside_a_damaged_one(site: Site, tmp_path: Path) -> None:
    """What comes together with it is answered and kept; it alone is refused."""
    with closing(sqlite3.connect(tmp_path / "fleet.db")) as connection, connection:
        connection.execute("INSERT INTO things VALUES ('f', 'x', 'ready', 0.0)")
        connection.execute("INSERT INTO shadows VALUES ('f', 'config', 'x', 1)")
    update = {"state": {"reported": {"budget": 0.2}}}
    said = site.ask(*((thing, "shadow/name/config/update", update) for thing in "efg"))
    assert [(topic, answer.get("code")) for topic, answer in said] == [
        ("e/shadow/name/config/update/accepted", None), ("f/shadow/name/config/update/rejected", 500),
        ("g/shadow/name/config/update/accepted", None),
    ]  # fmt: skip
    assert [site.registry.devices.shadow(thing, "config").version for thing in "eg"] == [1, 1]


def test_damage_to_one_is_no_reason_to_stop_all(site: Site, tmp_path: Path) -> None:
    """Who asks about a damaged entry is told so; everybody else is served."""
    site.order("j1", "a", "b")
    site.order("j2", "c", "d", in_flight=1)
    site.order("j3", "e", in_flight=1)
    site.step()
    with closing(sqlite3.connect(tmp_path / "fleet.db")) as connection, connection:
        connection.execute("UPDATE executions SET details = 'x' WHERE thing = 'a'")
        connection.execute("UPDATE lines SET line = 'x' WHERE job = 'j3'")
        connection.execute("INSERT INTO things VALUES ('f', 'x', 'ready', 0.0)")
        connection.execute("INSERT INTO shadows VALUES ('f', 'config', 'x', 1)")
    done = {"status": "SUCCEEDED"}
    said = site.ask(
        ("a", "jobs/j1/update", done), ("a", "jobs/start-next", {}), ("c", "jobs/j2/update", done), ("f", "status", {}),
        ("f", "shadow/name/config/get", {}), ("f", "status", {"state": "ready", "session": "s", "bdSeq": 1}),
    )  # fmt: skip
    assert [(topic.rpartition("/")[2], answer.get("code")) for topic, answer in said] == [
        ("rejected", 500), ("accepted", None), ("rejected", "InternalError"), ("accepted", None),
    ]  # fmt: skip
    assert [each.thing for each in site.registry.devices.all(state="ready")] == ["f"]
    again = Controller(site.registry, site, lambda: site.now, name="one")  # one that has followed nothing yet
    assert [topic for topic, _ in site.step(1.0, again)] == ["d/jobs/notify-next"]
