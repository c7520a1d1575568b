"""What hostile people try against a real agent and a real controller: it is refused, it is logged, and it does no harm.

A broker that is broken into is one whose controllers' certificates are stolen: `control-2`. A device that is broken into
is `press-18`. Where the operator's own keys are lost, what arrives is signed, and the archive itself is the last thing
that is not believed. After each of them an honest job succeeds, by the same processes.
"""

from __future__ import annotations

import json
import logging
import re
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cloud_bridge import broker
from cloud_bridge.control.link import Heard
from cloud_bridge.fleet.inbox import receive
from cloud_bridge.fleet.registry import Registry
from cloud_bridge.protocol.fleet.commands import Rollback
from cloud_bridge.protocol.fleet.topics import Tree
from cloud_bridge.signing import generate, read_private
from tests.endpoint import eventually
from tests.system.agent_parts import THING, deploy, device
from tests.system.artifact_parts import serving
from tests.system.hostile_parts import TOPICS, Besieged, besieged, notice
from tests.system.mqtt_parts import WAIT, Stranger, need
from tests.system.test_fleet_service import Fleet, controller, store

REFUSED = 0x87
LARGE = b"x" * 10_000_000
MIB = 1 << 20
BOMB = 512 * MIB


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Besieged]:
    """A fleet at work."""
    with besieged(tmp_path_factory.mktemp("besieged")) as made:
        yield made


def test_a_forged_job(fleet: Besieged, tmp_path: Path) -> None:
    """By an unknown key, with another document under a right signature, or with none: from the registry, and from a
    broker that is broken into."""
    before, (version, digest) = fleet.store.active("tiny"), fleet.publish()
    generate(tmp_path / "thief")
    key = read_private(tmp_path / "thief")

    def forge(job: str) -> Iterator[tuple[str, bytes]]:
        order = deploy(version, digest)
        signed, other = (json.loads(fleet.operator.job(job, each)) for each in (Rollback(model="tiny"), order))
        yield "is not known here", fleet.operator.job(job, order, key=key)
        yield "is wrong", json.dumps(signed | {"payload": other["payload"]}).encode()
        yield "too few have signed", json.dumps(other | {"signatures": []}).encode()

    with fleet.stolen("control-2") as thief:
        for number in range(3):
            reason, envelope = [*forge(f"forged-{number}")][number]
            outcome = fleet.give(f"forged-{number}", envelope)
            assert outcome.startswith("REJECTED: ")
            assert reason in outcome
            reason, envelope = [*forge(f"said-{number}")][number]
            assert thief.say(f"{TOPICS}/jobs/notify-next", notice(f"said-{number}", envelope)) == 0
            logged(fleet, "agent", f"job said-{number} is refused: ", reason)
    fleet.is_unharmed(before)


def test_a_replayed_job(fleet: Besieged) -> None:
    """Said again as it was, as another execution, and under another name, after the device has moved on."""
    version, digest = fleet.publish()
    envelope = fleet.operator.job("replayed", deploy(version, digest))
    assert fleet.give("replayed", envelope) == "SUCCEEDED: "
    assert fleet.deploy("newer") == "SUCCEEDED: "
    before = fleet.store.active("tiny")
    with fleet.stolen("control-2") as thief:
        thief.ask(f"{TOPICS}/jobs/replayed/update")
        for execution in (1, 2):
            assert thief.say(f"{TOPICS}/jobs/notify-next", notice("replayed", envelope, execution=execution)) == 0
        assert thief.say(f"{TOPICS}/jobs/notify-next", notice("renamed", envelope)) == 0
        logged(fleet, "agent", "job renamed is refused: ", "replayed")
        fleet.is_unharmed(before)
        eventually(lambda: not thief.heard.empty(), "its outcome is not told again", WAIT)
        assert {json.loads(message.payload)["status"] for message in thief.heard.queue} == {"SUCCEEDED"}, "it began again"
    assert fleet.outcome("replayed") == "SUCCEEDED: "


def test_an_expired_job(fleet: Besieged) -> None:
    """That was kept back until it did not hold any more."""
    before, (version, digest) = fleet.store.active("tiny"), fleet.publish()
    envelope = fleet.operator.job("late", deploy(version, digest), since=100.0, life=50.0)
    assert "is not valid any more: it expired" in fleet.give("late", envelope)
    with fleet.stolen("control-2") as thief:
        assert thief.say(f"{TOPICS}/jobs/notify-next", notice("later", envelope)) == 0
        logged(fleet, "agent", "job later is refused: ", "expired")
    fleet.is_unharmed(before)


def test_another_tenant_s_topic(fleet: Besieged) -> None:
    """A device says for another what is not its to say, and hears what is not for it; a job goes to the wrong device; a
    device speaks of a job that is not its own."""
    before, (version, digest) = fleet.store.active("tiny"), fleet.publish()
    theirs = fleet.operator.job("theirs", deploy(version, digest), things=("press-18",))
    with fleet.stolen("press-18") as thief:
        thief.ask("#", f"{TOPICS}/#", "$share/controllers/edge/v1/things/+/jobs/start-next")
        for topic, said in (
            ("status", b'{"state": "lost", "session": "s", "bdSeq": 9999999999999}'), ("jobs/theirs/update", b"{}"),
            ("jobs/notify-next", notice("theirs", theirs)), ("results/theirs", b"x"), ("rpc/status", b"{}"),
            ("shadow/name/config/update", b'{"state": {"desired": {"budgets": {"tiny": 1e-9}}}}'),
        ):  # fmt: skip
            assert thief.say(f"{TOPICS}/{topic}", said) == REFUSED
        outcome = fleet.give("theirs", theirs)
        assert outcome.startswith("REJECTED: ")
        assert "is not for this device" in outcome
        assert thief.say("edge/v1/things/press-18/jobs/theirs/update", b'{"status": "SUCCEEDED"}') == 0
        assert thief.say("edge/v1/things/press-18/results/theirs", b"x") == 0
        logged(fleet, "control", "press-18 brings a result of job theirs, which it does not carry out")
        assert set(fleet.fleet.registry.jobs.executions("theirs")) == {THING}
        fleet.is_unharmed(before)
        heard = {message.topic for message in (*thief.heard.queue, *thief.kept.queue)}
        assert heard
        assert all(topic.startswith(("edge/v1/things/press-18/", "edge/v1/controller/")) for topic in heard)


def test_a_tampered_artifact(fleet: Besieged) -> None:
    """Whoever runs the server changes a byte of a bundle, or gives another one in its place."""
    before, (earlier, _), (version, digest) = fleet.store.active("tiny"), fleet.publish(), fleet.publish()
    targets = fleet.server.folder / "targets"
    honest, other = (next(targets.rglob(f"*.tiny-{each}.bundle")) for each in (version, earlier))
    data = bytearray(honest.read_bytes())
    data[len(data) // 2] ^= 1
    for number, bad in enumerate((bytes(data), other.read_bytes(), bytes(data) + b"more")):
        fleet.server.files = {f"/{honest.relative_to(fleet.server.folder)}": bad}
        outcome = fleet.give(f"tampered-{number}", fleet.operator.job(f"tampered-{number}", deploy(version, digest)))
        assert outcome.startswith("FAILED: ")
        assert version not in fleet.store.versions("tiny")
    fleet.server.files = {}
    fleet.is_unharmed(before)


def test_old_metadata(fleet: Besieged) -> None:
    """A server that goes back to what was right once, so that a version that was withdrawn is current again."""
    assert fleet.deploy("up-to-date") == "SUCCEEDED: "
    old = (fleet.server.folder / "metadata" / "timestamp.json").read_bytes()
    assert fleet.deploy("newest") == "SUCCEEDED: "
    before, (version, digest) = fleet.store.active("tiny"), fleet.publish()
    fleet.server.files = {"/metadata/timestamp.json": old}
    outcome = fleet.give("rolled-back", fleet.operator.job("rolled-back", deploy(version, digest)))
    fleet.server.files = {}
    assert outcome.startswith("FAILED: ")
    assert "old" in outcome
    fleet.is_unharmed(before)


def test_a_path_that_climbs_out_of_an_archive(fleet: Besieged) -> None:
    """Upwards, from the root, and by a link; all of it signed, by keys that were stolen."""
    before, folder = fleet.store.active("tiny"), fleet.store.path.parent

    def add(name: str, mode: int) -> None:
        def change(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, data: bytes) -> None:
            archive.writestr(entry, data)
            if entry.filename == "manifest.json":
                evil = zipfile.ZipInfo(name)
                evil.external_attr = mode << 16
                archive.writestr(evil, b"../../../escaped")

        version, digest = fleet.plant(change)
        job = f"climbs-{version.replace('.', '-')}"
        outcome = fleet.give(job, fleet.operator.job(job, deploy(version, digest)))
        assert outcome.startswith("FAILED: ")
        assert "does not name" in outcome or "not a plain file" in outcome
        assert version not in fleet.store.versions("tiny")

    for name, mode in (("../../escaped", 0o100644), (f"{folder}/escaped", 0o100644), ("link", 0o120777)):
        add(name, mode)
    assert not [*folder.rglob("escaped"), *folder.rglob("link"), *folder.parent.glob("escaped")]
    fleet.is_unharmed(before)


@pytest.mark.parametrize("honest", [True, False], ids=["honest", "lying"])
def test_an_archive_bomb(fleet: Besieged, honest: bool) -> None:
    """Half a megabyte that unpacks to half a gigabyte, which it owns up to or not: no memory and no disk goes."""
    before, agent = fleet.store.active("tiny"), psutil.Process(fleet.agent.pid)
    sizes = []

    def bomb(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, data: bytes) -> None:
        if entry.filename != "add.onnx":
            archive.writestr(entry, data)
            return
        sizes.append(entry.file_size)
        entry.compress_type = zipfile.ZIP_DEFLATED
        with archive.open(entry, "w", force_zip64=False) as sink:
            for _ in range(BOMB // MIB):
                sink.write(bytes(MIB))

    def lie(data: bytes) -> bytes:
        return data if honest else data.replace(BOMB.to_bytes(4, "little"), sizes[0].to_bytes(4, "little"))

    memory, written = max(peak(agent.pid), agent.memory_info().rss + 64 * MIB), agent.io_counters().write_chars
    version, digest = fleet.plant(bomb, lie)
    job = f"bomb-{version.replace('.', '-')}"
    outcome = fleet.give(job, fleet.operator.job(job, deploy(version, digest)))
    assert outcome.startswith("FAILED: ")
    assert ("the manifest says" if honest else "not a readable bundle file") in outcome
    assert peak(agent.pid) <= memory
    assert agent.io_counters().write_chars < written + 64 * MIB
    assert version not in fleet.store.versions("tiny")
    fleet.is_unharmed(before)


def test_large_messages_end_at_the_broker(fleet: Besieged) -> None:
    """It tells what it takes, and cuts off who sends more."""
    before = fleet.store.active("tiny")
    for _ in range(3):
        with fleet.stolen("press-18") as thief:
            thief._client.publish("edge/v1/things/press-18/status", LARGE, 1)
            assert thief.ended.get(timeout=WAIT)
    fleet.is_unharmed(before)


def test_large_messages_do_not_reach_a_controller(tmp_path: Path) -> None:
    """On a broker that takes any: the controller has told it what it takes itself. What is just small enough and makes no
    sense is passed over."""
    theirs = Fleet(tmp_path, tmp_path / "fleet.db")
    path = store(tmp_path / "a")
    digest = theirs.operator.publish("1.1")
    with (
        theirs.registry, broker.start(kind=need("mosquitto")) as open_to_all, Stranger(open_to_all) as stranger,
        serving(theirs.operator.folder / "repository") as artifacts, controller(open_to_all, theirs.where) as control,
    ):  # fmt: skip
        process = psutil.Process(control.pid)
        memory = max(peak(control.pid), process.memory_info().rss + 64 * MIB)
        for number in range(10):
            for payload in (LARGE, b"x" * 130_000, b'{"state": "' + b"x" * 100_000 + b'"}', b"[" * 130_000):
                for topic in ("status", "jobs/start-next", "jobs/j/update", "shadow/name/config/update", "results/j"):
                    stranger.say(f"edge/v1/things/thief-{number}/{topic}", payload)
        with device(open_to_all, path, theirs.operator, artifacts.url, thing="press-1"):
            theirs.order("d1", deploy("1.1", digest), "press-1")
            assert theirs.over("d1") == {"press-1": "SUCCEEDED"}
        assert control.poll() is None
        assert peak(control.pid) <= memory
        assert [each.thing for each in theirs.registry.devices.all()] == ["press-1"]


def test_large_messages_are_not_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Not even from a broker that sends them all the same."""
    with Registry(tmp_path / "fleet.db") as registry, caplog.at_level(logging.WARNING):
        topic = "edge/v1/things/thief/status"
        assert not receive(registry, Tree(), [Heard(topic, LARGE)], time.time())
        assert registry.devices.all() == ()
    assert topic in caplog.text


def peak(pid: int) -> int:
    """The most memory that a process had so far."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def logged(fleet: Besieged, who: str, *words: str) -> None:
    """One line of its log has all of these words, soon."""
    eventually(
        lambda: any(all(word in line for word in words) for line in fleet.said(who).splitlines()),
        f"the {who} does not log {words}", WAIT,
    )  # fmt: skip
