"""A fleet by mutual TLS, on Mosquitto with the very files that `fleet enroll` writes: who is let in, and who may what."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from benchmarks.tiny import tiny_bundle
from cloud_bridge.client import connect
from cloud_bridge.fleet.registry import Registry
from edge_runtime.bundles.store import Store
from tests.endpoint import eventually
from tests.system.agent_parts import deploy, holds
from tests.system.artifact_parts import serving
from tests.system.enroll_parts import HOST, Peer, Secured, enroll, refused, secured
from tests.system.mqtt_parts import WAIT, call, make_store, soon
from tests.system.test_fleet_service import Fleet

THINGS = "edge/v1/things"
REFUSED = 0x87
HEARD_BY_NOBODY = 0x10
NAMES = {
    "device": ("press-17", "press-18", "press-17-app", "gone"),
    "controller": ("control-1",), "operator": ("operator-1",), "worker": ("worker-1",),
}  # fmt: skip


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """A broker of a fleet that is enrolled."""
    with secured(tmp_path_factory.mktemp("enrolled"), NAMES) as at:
        yield at


@contextmanager
def running(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    """A command that says when it is ready; killed at the end."""
    with subprocess.Popen([*command, "--json"], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline()
            yield process
        finally:
            process.kill()


def client(at: Secured, name: str, door: int = 0) -> Peer:
    """A client with this name's files."""
    return Peer(at, at.ports[door], at.files(name), name)


def test_a_deploy_goes_by_mutual_tls(fleet: Secured, tmp_path: Path) -> None:
    """An agent and a controller, each by the command that it is told to run; nothing is refused to either."""
    made = Store(tmp_path / "store", create=True)
    made.install(tiny_bundle(tmp_path / "1.0", version="1.0", adds=1.0).folder)
    theirs = Fleet(tmp_path, tmp_path / "fleet.db")
    digest = theirs.operator.publish("1.1")
    with theirs.registry, serving(theirs.operator.folder / "repository") as artifacts:
        agent = fleet.run("press-17", {"--store": made.path, "--keys": theirs.operator.public})
        agent += ["--artifacts", artifacts.url, "--root-metadata", str(theirs.operator.root), "--device", "onnx"]
        control = fleet.run("control-1", {"--registry": theirs.where})
        with running(control), running([*agent, "--group", "canary"]):
            eventually(lambda: bool(theirs.registry.devices.all(state="ready")), "the device is not there", WAIT)
            theirs.order("d1", deploy("1.1", digest), "press-17")
            assert theirs.over("d1") == {"press-17": "SUCCEEDED"}
            assert made.active("tiny") == "1.1"
            with client(fleet, "operator-1", 1) as operator:
                assert operator.ask(f"{THINGS}/press-17/rpc-rsp", f"{THINGS}/press-17/shadow/name/config/#") == [1, 1]
                assert operator.say(f"{THINGS}/press-17/rpc/status", CorrelationData=b"c") == 0
                topic, answer = operator.next()
                assert topic == f"{THINGS}/press-17/rpc-rsp"
                assert b"grants no" not in answer
                assert operator.say(f"{THINGS}/press-17/shadow/name/config/get") == 0
                assert {operator.next()[0] for _ in range(2)} == {
                    f"{THINGS}/press-17/shadow/name/config/get", f"{THINGS}/press-17/shadow/name/config/get/accepted",
                }  # fmt: skip


def test_inference_goes_by_mutual_tls(fleet: Secured, tmp_path: Path) -> None:
    """A worker and an application of a device, each with a certificate of its own in the broker's URL; a device that joins
    the workers' usual pool takes nothing away from one with another name."""
    files = fleet.files("press-17-app")
    url = f"mqtts://{HOST}:{fleet.ports[0]}?thing=press-17-app&ca={files}/ca.pem&cert={files}/cert.pem&key={files}/key.pem"
    command = fleet.run("worker-1", {})
    command[command.index("/var/lib/edge/store")] = str(make_store(tmp_path))
    with running([*command, "--pool", "0f3d9c"]), client(fleet, "press-17") as thief:
        thief.ask("$share/workers/edge/v1/infer/+/+", "edge/v1/infer/+/+")
        remote = connect(url)
        try:
            eventually(lambda: remote.health(1.0), "no worker is there", WAIT)
            for _ in range(6):
                answer = remote.send(call(), deadline=soon()).result(WAIT)
                assert answer.outputs["y"].tolist() == [[0.0, 2.0, 4.0, 6.0]]
            assert thief.heard.empty()
        finally:
            remote.close()


def test_who_has_no_certificate_of_the_fleet_is_not_let_in(fleet: Secured, tmp_path: Path) -> None:
    """None, another authority's with the same name, and one that is for the other door; the right one is."""
    thief = trustme.CA(key_type=trustme.KeyType.ECDSA).issue_cert(common_name="press-17")
    thief.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    thief.private_key_pem.write_to_path(tmp_path / "key.pem")
    devices, control = fleet.ports
    for door in (devices, control):
        assert refused(fleet, door, None)
        assert refused(fleet, door, tmp_path)
    assert refused(fleet, control, fleet.files("press-17"))
    assert refused(fleet, devices, fleet.files("control-1"))
    assert not refused(fleet, devices, fleet.files("press-17"))
    assert not refused(fleet, control, fleet.files("control-1"))


def test_who_is_revoked_is_not_let_in(fleet: Secured) -> None:
    """As soon as the broker has read its files anew; the others are, and so is a name that was renewed."""
    devices = fleet.ports[0]
    assert not refused(fleet, devices, fleet.files("gone"))
    assert enroll("revoke", fleet.folder, "gone").returncode == 0
    assert enroll("renew", fleet.folder, "press-18").returncode == 0
    fleet.reload()
    eventually(lambda: refused(fleet, devices, fleet.files("gone")), "it is still let in", WAIT)
    assert not refused(fleet, devices, fleet.files("press-18"))


def test_a_device_says_what_is_its_own(fleet: Secured) -> None:
    """What it says for another, for a controller or for a worker is refused, and heard by nobody."""
    with client(fleet, "press-17") as device, client(fleet, "operator-1", 1) as witness:
        assert witness.ask("edge/v1/#") == [1]
        for topic in (
            f"{THINGS}/press-18/status", f"{THINGS}/press-18/jobs/start-next", f"{THINGS}/press-18/jobs/j/update",
            f"{THINGS}/press-18/shadow/name/config/update", f"{THINGS}/press-18/rpc-rsp", f"{THINGS}/press-18/rpc/ping",
            f"{THINGS}/press-17/jobs/notify-next", f"{THINGS}/press-18/jobs/notify-next",
            f"{THINGS}/press-17/jobs/start-next/accepted", "edge/v1/controller/status", "edge/v1/groups/canary/notify",
            "edge/v1/infer/text-reader/press-18", f"{THINGS}/press-18/infer-rsp", "edge/v1/cancel/press-18",
            "edge/v1/workers/worker-1/status", "elsewhere", "$SYS/broker/log",
        ):  # fmt: skip
            assert device.say(topic) == REFUSED, topic
        for topic in (f"{THINGS}/press-17/status", f"{THINGS}/press-17/jobs/j/update", f"{THINGS}/press-17/results/j"):
            assert device.say(topic, b"own") == 0
            assert witness.next() == (topic, b"own")
        assert witness.heard.empty()


def test_a_device_hears_what_is_said_to_it(fleet: Secured) -> None:
    """Mosquitto grants it whatever it asks to hear, and sends it nothing of the others'."""
    private = [
        f"{THINGS}/press-18/jobs/notify-next", f"{THINGS}/press-18/jobs/start-next/accepted", f"{THINGS}/press-18/rpc/ping",
        f"{THINGS}/press-18/shadow/name/config/update/delta",
    ]  # fmt: skip
    with (
        client(fleet, "press-17") as thief, client(fleet, "press-18") as device, client(fleet, "control-1", 1) as control
    ):  # fmt: skip
        thief.ask("#", "edge/v1/#", f"{THINGS}/press-18/#", f"{THINGS}/+/status", *private)
        device.ask(*private)
        device.say(f"{THINGS}/press-18/status", b"mine", retain=True)
        thief.ask(f"{THINGS}/press-18/status")
        for topic in private:
            assert control.say(topic, b"secret") == 0
            assert device.next() == (topic, b"secret")
        control.say(f"{THINGS}/press-17/rpc/ping", b"yours")
        control.say("edge/v1/controller/status", b"all")
        last, heard = ("edge/v1/controller/status", b"all"), set()
        while last not in heard:  # once for each filter that it fits
            heard.add(thief.next())
        assert heard == {(f"{THINGS}/press-17/rpc/ping", b"yours"), last}
        assert all(message.topic.startswith(("edge/v1/controller/", "edge/v1/workers/")) for message in thief.kept.queue)


def test_a_device_leaves_no_will_for_another(fleet: Secured) -> None:
    """What its broker is to say for it when it dies is held to the same list."""
    with client(fleet, "operator-1", 1) as witness:
        witness.ask(f"{THINGS}/+/status")
        for whose in ("press-18", "press-17"):
            dying = Peer(fleet, fleet.ports[0], fleet.files("press-17"), will=f"{THINGS}/{whose}/status")
            if dying.code() == 0:
                dying.drop()
            dying.close()
        assert witness.next() == (f"{THINGS}/press-17/status", b"will")


def test_a_device_ends_nobody_s_connection(fleet: Secured) -> None:
    """By taking another's client id: its own is the name in its certificate, whatever it says."""
    with client(fleet, "press-18") as device:
        device.ask(f"{THINGS}/press-18/rpc/ping")
        with Peer(fleet, fleet.ports[0], fleet.files("press-17"), "press-18") as thief:
            thief.ask(f"{THINGS}/press-18/rpc/ping")
            with client(fleet, "control-1", 1) as control:
                assert control.say(f"{THINGS}/press-18/rpc/ping", b"for 18") == 0
            assert device.next()[1] == b"for 18"
            assert device.ended.empty()
            assert thief.heard.empty()
    with client(fleet, "press-17") as first, Peer(fleet, fleet.ports[0], fleet.files("press-17"), "another"):
        assert first.ended.get(timeout=WAIT)


def test_a_device_takes_no_messages_away_from_controllers(fleet: Secured, tmp_path: Path) -> None:
    """Mosquitto lets anybody into a group that shares what is heard, and loses what a member may not read: so the name of
    the controllers' group is a secret."""
    path = tmp_path / "fleet.db"
    asks = f"{THINGS}/+/jobs/start-next"
    with (
        Registry(path) as registry, running(fleet.run("control-1", {"--registry": path})),
        client(fleet, "press-17") as thief, client(fleet, "press-18") as device,
    ):  # fmt: skip
        thief.ask(f"$share/controllers/{asks}", f"$share/controllers-/{asks}")
        device.ask(f"{THINGS}/press-18/jobs/start-next/+")
        eventually(lambda: answered(device, 3.0), "no controller answers", WAIT)  # before it is there it hears nothing
        for _ in range(10):
            assert answered(device)
        # What a thief who knew the name would do: the reason for all this, and what proves that the above could fail.
        thief.ask(f"$share/{registry.group}/{asks}")
        for _ in range(10):
            assert device.say(f"{THINGS}/press-18/jobs/start-next") == 0
        holds(lambda: device.heard.qsize() < 10, 1.0)


def answered(device: Peer, patience: float = WAIT) -> bool:
    """Whether a controller answers its question in so many seconds."""
    device.say(f"{THINGS}/press-18/jobs/start-next")
    until = time.monotonic() + patience
    while time.monotonic() < until:
        if not device.heard.empty():
            return device.next()[0] == f"{THINGS}/press-18/jobs/start-next/accepted"
        time.sleep(0.01)
    return False


def test_an_operator_asks_and_desires_and_orders_nothing(fleet: Secured) -> None:
    """By hand; jobs are a controller's to give."""
    with client(fleet, "operator-1", 1) as operator:
        assert operator.say(f"{THINGS}/press-17/shadow/name/config/update") in (0, HEARD_BY_NOBODY)
        assert operator.say("edge/v1/groups/canary/notify") in (0, HEARD_BY_NOBODY)
        for topic in (f"{THINGS}/press-17/jobs/notify-next", f"{THINGS}/press-17/status", "edge/v1/controller/status"):
            assert operator.say(topic) == REFUSED
    with client(fleet, "worker-1", 1) as worker:
        assert worker.say(f"{THINGS}/press-17/infer-rsp") in (0, HEARD_BY_NOBODY)
        assert worker.say(f"{THINGS}/press-17/jobs/notify-next") == REFUSED


def test_what_an_operator_is_told_to_run_runs(fleet: Secured) -> None:
    """As it is written, with Mosquitto's own tools."""
    if shutil.which("mosquitto_sub") is None:
        pytest.skip("mosquitto_sub is not installed here (apt-get install mosquitto-clients)")
    told = enroll("renew", fleet.folder, "operator-1", "--at", fleet.files("operator-1")).stdout
    line = told.splitlines()[-1].strip()
    assert line.startswith("mosquitto_sub")
    with client(fleet, "press-17") as device:
        device.say(f"{THINGS}/press-17/status", b"here", retain=True)
        command = ["sh", "-c", f"{line} -C 1 -W 20 -t edge/v1/things/press-17/status"]
        heard = subprocess.run(command, capture_output=True, text=True, check=True, timeout=WAIT).stdout
    assert heard.strip().endswith("here")
