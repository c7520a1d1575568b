"""An agent on a real broker: it obeys whoever has signed, once, whatever dies; and it is known whether it is there."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from benchmarks.tiny import tiny_bundle
from cloud_bridge import broker
from cloud_bridge.broker import Broker
from cloud_bridge.protocol.fleet import topics
from cloud_bridge.protocol.fleet.commands import Benchmark, Rollback
from cloud_bridge.signing import generate, read_private
from edge_runtime.bundles.store import Store
from tests.endpoint import eventually
from tests.system.agent_parts import THING, Controller, Device, Operator, deploy, device, holds
from tests.system.artifact_parts import Server, serving
from tests.system.mqtt_parts import WAIT, need


@pytest.fixture(scope="module")
def running() -> Iterator[Broker]:
    """A broker."""
    with broker.start(kind=need("mosquitto")) as started:
        yield started


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    """Who signs, with version 2.0 published."""
    (tmp_path / "operator").mkdir()
    return Operator(tmp_path / "operator")


@pytest.fixture
def server(operator: Operator) -> Iterator[Server]:
    """From what devices fetch bundles."""
    with serving(operator.folder / "repository") as started:
        yield started


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A device's store, with version 1.0 active."""
    made = Store(tmp_path / "store", create=True)
    made.install(tiny_bundle(tmp_path / "tiny-1.0", version="1.0", adds=1.0).folder)
    return made


@pytest.fixture
def controller(running: Broker, request: pytest.FixtureRequest) -> Iterator[Controller]:
    """Who commands."""
    with Controller(running, f"controller-{abs(hash(request.node.name))}") as connected:
        yield connected


@pytest.fixture
def press(running: Broker, store: Store, operator: Operator, server: Server, controller: Controller) -> Iterator[Device]:
    """The agent of the device press-17, of the group canary. Who commands is there before it: this one does not say that
    it has come, and the device would ask it again after half a minute."""
    with device(running, store.path, operator, server.url, "--group", "canary") as started:
        yield started


def test_a_deploy_is_fetched_proved_activated_and_told(
    press: Device, controller: Controller, operator: Operator, store: Store
) -> None:
    """Its success is the digest that is active."""
    digest = operator.publish("2.0")
    controller.order(operator.job("deploy-1", deploy("2.0", digest)), "deploy-1")
    ended = controller.ended("deploy-1")
    assert (ended.status, ended.status_details["digest"]) == ("SUCCEEDED", digest)
    assert (store.active("tiny"), store.trial("tiny")) == ("2.0", None)
    eventually(lambda: controller.reported("models").get("active") == {"tiny": "2.0"}, "it is not reported", WAIT)
    controller.order(operator.job("back-1", Rollback(model="tiny")), "back-1")
    assert controller.ended("back-1").status == "SUCCEEDED"
    assert store.active("tiny") == "1.0"


def test_a_version_with_wrong_outputs_is_never_active(
    press: Device, controller: Controller, operator: Operator, store: Store
) -> None:
    """The job fails, with the reason."""
    digest = operator.publish("3.0", adds=2.0)
    controller.order(operator.job("wrong", deploy("3.0", digest)), "wrong")
    ended = controller.ended("wrong")
    assert ended.status == "FAILED"
    assert "golden" in ended.status_details["reason"] or "off" in ended.status_details["reason"]
    assert store.active("tiny") == "1.0"


def test_a_job_that_comes_again_is_done_once(
    press: Device, controller: Controller, operator: Operator, store: Store
) -> None:
    """Whether it is announced twice, or given anew after its end; its outcome is told again."""
    digest = operator.publish("2.0")
    envelope = operator.job("once", deploy("2.0", digest))
    controller.order(envelope, "once")
    controller.notify()
    assert controller.ended("once").status == "SUCCEEDED"
    store.activate("tiny", "1.0")
    controller.order(json.dumps(json.loads(envelope), indent=1).encode(), "once")  # the same, written otherwise
    assert controller.ended("once").status == "SUCCEEDED"
    assert store.active("tiny") == "1.0"


def test_another_document_under_a_known_id_is_refused(
    press: Device, controller: Controller, operator: Operator, store: Store
) -> None:
    """Though it is signed."""
    controller.order(operator.job("same", deploy("2.0", operator.publish("2.0"))), "same")
    assert controller.ended("same").status == "SUCCEEDED"
    controller.order(operator.job("same", Rollback(model="tiny")), "same")
    ended = controller.ended("same")
    assert ended.status == "REJECTED"
    assert "another document" in ended.status_details["reason"]
    assert store.active("tiny") == "2.0"


def test_what_is_forged_expired_or_for_others_is_refused(
    press: Device, controller: Controller, operator: Operator, store: Store, tmp_path: Path
) -> None:
    """Each with its reason; the device goes on."""
    order = deploy("2.0", operator.publish("2.0"))
    generate(tmp_path / "thief")
    thief = read_private(tmp_path / "thief")
    signed = json.loads(operator.job("changed", order))
    changed = signed | {"payload": json.loads(operator.job("changed", Rollback(model="tiny")))["payload"]}
    for job, envelope, reason in (
        ("unknown-key", operator.job("unknown-key", order, key=thief), "not known"),
        ("changed", json.dumps(changed).encode(), "wrong"),
        ("expired", operator.job("expired", order, since=100.0, life=50.0), "expired"),
        ("others", operator.job("others", order, things=("press-18",), groups=("stable",)), "not for this device"),
        ("renamed", operator.job("another-id", order), "another-id"),
        ("no-envelope", b'{"operation": "reboot"}', "Envelope"),
    ):
        controller.order(envelope, job)
        ended = controller.ended(job)
        assert ended.status == "REJECTED"
        assert reason in ended.status_details["reason"]
    assert store.active("tiny") == "1.0"
    controller.order(operator.job("for-the-group", order, things=(), groups=("canary",)), "for-the-group")
    assert controller.ended("for-the-group").status == "SUCCEEDED"


def test_messages_that_are_none_do_no_harm(press: Device, controller: Controller) -> None:
    """Garbage on every topic that a device hears."""
    for kind in topics.KINDS:
        if kind.sender == "controller":
            names = {"thing": THING, "job": "j", "shadow": "config", "method": "ping", "group": "canary"}
            given = {name: names[name] for name in kind.names}
            for payload in (
                b"",
                b"\xff\x00",
                b"[1, 2",
                b'{"execution": {"jobId": "../../x"}}',
                b"[" * 100_000,
                b"x" * 200_000,
            ):
                if kind is not topics.RPC and not kind.retain:
                    controller.say(kind, payload, **given)
    assert controller.ask("ping")[0] == "200"


def test_an_agent_killed_in_a_deploy_goes_on_with_it(
    running: Broker, store: Store, operator: Operator, server: Server, controller: Controller
) -> None:
    """Killed while it fetches: it is fetched to the end. Killed on trial: the old version is back, the job has failed."""
    digest = operator.publish("2.0")
    path = next(f"/{file.relative_to(server.folder)}" for file in (server.folder / "targets").rglob("*.bundle"))
    server.silent.add(path)
    with device(running, store.path, operator, server.url) as first:
        controller.order(operator.job("cut", deploy("2.0", digest)), "cut")
        eventually(lambda: any(asked == path for asked, _ in server.asked), "it does not fetch", WAIT)
        first.kill()
    controller.is_there("lost")
    server.silent.clear()
    with device(running, store.path, operator, server.url) as second:
        assert controller.ended("cut").status == "SUCCEEDED"
        assert store.active("tiny") == "2.0"
        controller.order(operator.job("trial", deploy("4.0", operator.publish("4.0"), soak=600.0)), "trial")
        eventually(lambda: store.trial("tiny") == "4.0", "it is not on trial", WAIT)
        second.kill()
    assert store.active("tiny") == "4.0"
    with device(running, store.path, operator, server.url):
        ended = controller.ended("trial")
        assert ended.status == "FAILED"
        assert "stopped during" in ended.status_details["reason"]
        assert store.active("tiny") == "2.0"
    assert [state for job, state in controller.told if job == "trial"].count("FAILED") == 1


def test_a_cancelled_trial_goes_back(press: Device, controller: Controller, operator: Operator, store: Store) -> None:
    """As soon as it is heard of."""
    controller.order(operator.job("soaks", deploy("2.0", operator.publish("2.0"), soak=600.0)), "soaks")
    eventually(lambda: store.trial("tiny") == "2.0", "it is not on trial", WAIT)
    controller.cancel("soaks")
    eventually(lambda: store.active("tiny") == "1.0", "it is still on trial", WAIT)
    assert controller.state("soaks") == "CANCELED"


def test_whoever_is_offline_finds_its_jobs_when_it_comes_back(
    running: Broker, store: Store, operator: Operator, server: Server, controller: Controller
) -> None:
    """And goes through them one after another."""
    first, second = operator.publish("2.0"), operator.publish("2.1")
    controller.order(operator.job("one", deploy("2.0", first)), "one", notify=False)
    controller.order(operator.job("two", deploy("2.1", second)), "two", notify=False)
    with device(running, store.path, operator, server.url):
        assert controller.ended("two").status == "SUCCEEDED"
        assert controller.state("one") == "SUCCEEDED"
        assert store.active("tiny") == "2.1"


def test_a_group_is_told_that_there_is_something_to_ask_for(
    press: Device, controller: Controller, operator: Operator
) -> None:
    """A hint is enough."""
    controller.is_there("ready")
    controller.ask("ping")  # by now it has asked for its jobs
    controller.order(operator.job("hinted", Rollback(model="tiny")), "hinted", notify=False)
    holds(lambda: controller.state("hinted") == "QUEUED", 0.5)
    controller.say(topics.GROUP_NOTIFY, b'{"spread": 0.2}', group="canary")
    assert controller.ended("hinted").status == "FAILED"  # nothing was active before


def test_presence_knows_a_death_from_a_farewell(
    running: Broker, store: Store, operator: Operator, server: Server, controller: Controller
) -> None:
    """Killed it is lost, ended by SIGTERM it has left; each connection has a higher number."""
    with device(running, store.path, operator, server.url, "--group", "canary") as first:
        controller.is_there("ready")
        birth = controller.presence[THING].birth
        assert birth is not None
        assert (birth.session, birth.groups, birth.models) == (first.announced["session"], ("canary",), {"tiny": "1.0"})
        first.kill()
        controller.is_there("lost")
    with device(running, store.path, operator, server.url) as second:
        controller.is_there("ready")
        again = controller.presence[THING].birth
        assert again is not None
        assert again.bd_seq > birth.bd_seq
        assert second.end() == 0
        controller.is_there("disconnected")


def test_a_device_answers_questions(press: Device, controller: Controller, store: Store) -> None:
    """On its own topic, whatever the question says; and says why it does not."""
    status, answer = controller.ask("ping")
    assert status == "200"
    assert abs(json.loads(answer)["timestamp"] - time.time()) < 60
    status, answer = controller.ask("status")
    told = json.loads(answer)
    assert (status, told["thing"], told["session"]) == ("200", THING, press.announced["session"])
    assert told["models"] == {"tiny": {"version": "1.0", "digest": store.bundle("tiny").digest}}
    assert "problems" not in told
    assert controller.ask("reboot")[0] == "404"
    assert controller.ask("ping", b"[]")[0] == "400"


def test_budgets_and_policy_are_taken_reported_and_kept(
    running: Broker, store: Store, operator: Operator, server: Server, controller: Controller
) -> None:
    """As far as they can be; what cannot is told by name. What is deleted goes; a restart keeps it."""
    with device(running, store.path, operator, server.url):
        controller.desire("config", {"budgets": {"tiny": 1e-9}, "policy": {"quantile": 0.95}})
        eventually(lambda: controller.reported("config").get("budgets") == {"tiny": 1e-9}, "no budget is reported", WAIT)
        assert controller.reported("config")["policy"]["quantile"] == 0.95
        controller.desire("config", {"budgets": {"other": -1}, "policy": {"quantile": 7}})
        eventually(lambda: {"other", "policy"} <= set(controller.reported("config").get("refused", {})), "not told", WAIT)
        assert controller.reported("config")["budgets"] == {"tiny": 1e-9}
    controller.mute = True
    with device(running, store.path, operator, server.url) as press:
        controller.mute = False
        controller.order(operator.job("slow", deploy("2.0", operator.publish("2.0"))), "slow")
        ended = controller.ended("slow")
        assert ended.status == "FAILED"  # it is held to its budget
        assert "budget" in ended.status_details["reason"]
        controller.desire("config", {"budgets": None, "policy": None})
        eventually(lambda: controller.reported("config").get("budgets") == {}, "it is still there", WAIT)
        assert controller.reported("config")["refused"] == {}
        assert press.end() == 0


def test_the_version_that_is_desired_goes_through_the_same_gate(
    press: Device, controller: Controller, operator: Operator, store: Store, tmp_path: Path
) -> None:
    """One that is right is activated, one that is wrong or not there is refused; a job that comes later ends the wish."""
    for version, adds in (("1.1", 1.0), ("1.2", 5.0)):
        store.install(tiny_bundle(tmp_path / version, version=version, adds=adds).folder, activate=False)
    controller.desire("models", {"active": {"tiny": "1.1"}})
    eventually(lambda: controller.reported("models").get("active") == {"tiny": "1.1"}, "it is not activated", WAIT)
    for version in ("1.2", "9.9"):
        controller.desire("models", {"active": {"tiny": version}})
        eventually(partial(refused, controller, version), f"{version} is not refused", WAIT)
        assert store.active("tiny") == "1.1"
    controller.order(operator.job("newer", deploy("2.0", operator.publish("2.0"))), "newer")
    assert controller.ended("newer").status == "SUCCEEDED"
    wish = controller.shadows[THING, "models"]
    eventually(lambda: controller.shadows[THING, "models"].desired == {"active": {}}, f"the wish stands: {wish}", WAIT)
    holds(lambda: store.active("tiny") == "2.0", 1.0)


def refused(controller: Controller, version: str) -> bool:
    """Whether the device has said so of this version."""
    return str(controller.reported("models").get("refused", {}).get("tiny", "")).startswith(f"{version}: ")


def test_figures_are_told_now_and_then(
    running: Broker, store: Store, operator: Operator, server: Server, controller: Controller
) -> None:
    """As often as the device was told."""
    with device(running, store.path, operator, server.url, "--telemetry", "1s"):
        eventually(lambda: len(controller.figures) > 1, "they are not told", WAIT)
    first, second = controller.figures[:2]
    assert second.uptime >= first.uptime + 0.9
    assert second.free is not None
    assert second.free > 0


def test_a_report_comes_back(press: Device, controller: Controller, operator: Operator) -> None:
    """Of a benchmark, before its job has ended."""
    import zlib

    command = Benchmark(models=("tiny",), runs=5, seconds=0.2, device="onnx")
    controller.order(operator.job("bench", command), "bench")
    assert controller.ended("bench").status == "SUCCEEDED"
    assert b"tiny" in zlib.decompress(controller.results["bench"])


def test_a_broker_that_dies_costs_nothing(store: Store, operator: Operator, server: Server, tmp_path: Path) -> None:
    """Killed in the middle of a job, without having kept anything: what was not accepted is told again."""
    digest = operator.publish("2.0")
    with (
        broker.start(kind=need("mosquitto")) as first,
        Controller(first) as controller,
        device(first, store.path, operator, server.url),
    ):
        controller.is_there("ready")
        controller.order(operator.job("deploy", deploy("2.0", digest)), "deploy")
        eventually(lambda: controller.state("deploy") == "IN_PROGRESS", "it does not begin", WAIT)
        first.kill()
        with broker.start(port=first.port, kind="mosquitto"):
            assert controller.ended("deploy").status == "SUCCEEDED"
            controller.is_there("ready")
    assert store.active("tiny") == "2.0"
