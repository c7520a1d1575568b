"""The steps of a deploy against a real store, without an engine."""

from __future__ import annotations

import zlib
from pathlib import Path
from threading import Event

import pytest

from cloud_bridge.agent.child import Asked
from cloud_bridge.agent.commands import steps_of
from cloud_bridge.agent.duty import Duty
from cloud_bridge.agent.journal import Journal
from cloud_bridge.agent.obey import Hands
from cloud_bridge.agent.work import LONGEST_BODY, Done, Order, Report
from cloud_bridge.protocol.fleet.commands import Activate, CollectLog, Command, Deploy, Health, Rollback
from edge_runtime.bundles.store import Store, read_bundle
from edge_runtime.errors import (
    BundleError,
    CancelledError,
    DigestError,
    DiskFullError,
    InputError,
    NotInstalledError,
    RunError,
)
from tests.bundles import write_bundle

NOW = 1000.0


class Device:
    """A store with version 1.0 of a model active, and what the steps are done by: doubles of all that is not the store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = Store(folder / "store", create=True)
        self.store.install(write_bundle(folder / "1.0", "1.0"))
        self.fetched: list[str] = []
        self.measured: list[Asked] = []
        self.ill = ""
        self.clock = 0.0
        self.bad = self.failed = ""
        self.counted: list[str] = []
        self.allowed = 0.0
        self.hands = self.restarted()

    def restarted(self, log: Path | None = None, keep: int = 1) -> Hands:
        return Hands(
            self.store, self.fetch, health=self.health, log=log, device="onnx", measure=self.measure,
            clock=lambda: self.clock, keep=keep, calls=self,
        )  # fmt: skip

    def fetch(self, target: str, halt: Event) -> Path:
        self.fetched.append(target)
        return self.folder / target

    def health(self, model: str, failures: float) -> str:
        self.allowed = failures
        self.clock += 3.0
        return self.ill

    def begin(self, model: str, version: str) -> None:
        self.counted.append(f"begin {version} after {self.store.active(model)}")

    def wrong(self, model: str, failures: float) -> str:
        assert self.counted[-1].startswith("begin")
        return self.failed

    def end(self, model: str) -> None:
        self.counted.append("end")

    def measure(self, asked: Asked, halt: Event) -> Done:
        self.measured.append(asked)
        if self.bad:
            raise RunError(self.bad)
        return Done({"engine": "e"})

    def deploy(self, version: str = "1.1", **fields: object) -> Deploy:
        """The order of a version that can be had."""
        if not (folder := self.folder / version).exists():
            write_bundle(folder, version)
        known = {
            "model": "double",
            "version": version,
            "digest": read_bundle(folder).digest,
            "target": version,
            "soak": 3.0,
        }
        return Deploy(**(known | fields))  # type: ignore[arg-type]  # what a test says instead

    def do(self, work: Command, id: str = "j") -> Report:
        """A job from its message to its report."""
        journal = Journal(":memory:")
        duty = Duty(journal, lambda document: Order(id, work, NOW + 60.0), self.hands)
        assert duty.receive(id, b"", NOW) is None
        while duty.act(NOW):
            pass
        [sent] = duty.letters()
        journal.close()
        return sent.report


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


def test_a_deploy(device: Device) -> None:
    """Fetched, installed, checked, on trial, watched, kept: success is the digest that is active."""
    order = device.deploy(health=Health(failures=0.01))
    report = device.do(order)
    assert device.allowed == 0.01
    assert (report.state, report.details["active"], report.details["digest"]) == ("SUCCEEDED", "1.1", order.digest)
    assert report.details == {"active": "1.1", "digest": order.digest, "engine": "e", "soaked": "3.0 s", "step": "commit"}
    assert (device.store.active("double"), device.store.trial("double")) == ("1.1", None)
    assert device.fetched == ["1.1"]
    assert [(asked.step, asked.device) for asked in device.measured] == [("check", "onnx")]


def test_a_deploy_of_what_is_here(device: Device) -> None:
    """Is not fetched; of what is active already, changes nothing."""
    device.do(device.deploy())
    assert device.do(device.deploy()).state == "SUCCEEDED"
    assert device.fetched == ["1.1"]
    assert device.store.before("double") == "1.0"
    (device.store.bundle("double", "1.1").folder / "model.onnx").write_bytes(b"damaged")
    assert device.do(device.deploy()).state == "SUCCEEDED"
    assert device.fetched == ["1.1", "1.1"]
    device.store.verify(device.store.bundle("double", "1.1"))


def test_a_version_that_fails_its_check_is_never_active(device: Device) -> None:
    """It is installed, and that is all."""
    device.bad = "its outputs are wrong"
    report = device.do(device.deploy())
    assert (report.state, report.details["reason"], report.details["active"]) == ("FAILED", "its outputs are wrong", "1.0")
    assert report.details["step"] == "check"
    assert device.store.active("double") == "1.0"


def test_a_version_that_is_not_well_goes_back(device: Device) -> None:
    """As soon as that is seen."""
    device.ill = "half of its calls fail"
    report = device.do(device.deploy(soak=600.0))
    assert (report.state, report.details["step"], report.details["active"]) == ("FAILED", "soak", "1.0")
    assert "half of its calls fail" in report.details["reason"]
    assert (device.store.active("double"), device.store.trial("double"), device.clock) == ("1.0", None, 3.0)


def test_a_version_whose_calls_fail_goes_back(device: Device) -> None:
    """They are counted from before it serves until it does no more, or is kept."""
    device.failed = "3 of 9 calls failed"
    report = device.do(device.deploy(soak=600.0))
    assert (report.state, report.details["active"]) == ("FAILED", "1.0")
    assert "3 of 9 calls failed" in report.details["reason"]
    assert device.counted == ["begin 1.1 after 1.0", "end"]
    device.failed = ""
    assert device.do(device.deploy()).state == "SUCCEEDED"
    assert device.counted[2:] == ["begin 1.1 after 1.0", "end"]


def test_old_versions_go_after_a_deploy(device: Device) -> None:
    """As many stay as are to; after the activation of what is installed all do."""
    for version, removed in (("1.1", None), ("1.2", "1.0"), ("1.3", "1.1")):
        assert device.do(device.deploy(version)).details.get("removed") == removed
    assert device.store.versions("double") == ("1.2", "1.3")
    device.hands = device.restarted(keep=2)
    assert "removed" not in device.do(device.deploy("1.4")).details
    device.hands = device.restarted()
    assert "removed" not in device.do(Activate(model="double", version="1.3")).details
    assert device.store.versions("double") == ("1.2", "1.3", "1.4")


def test_an_old_version_that_cannot_be_removed_fails_nothing(device: Device) -> None:
    """What was deployed serves; why the other one is still there is told."""
    device.do(device.deploy())
    (device.store.path / "double" / "1.0" / "manifest.json").write_bytes(b"?")
    report = device.do(device.deploy("1.2"))
    assert (report.state, device.store.versions("double")) == ("SUCCEEDED", ("1.0", "1.1", "1.2"))
    assert report.details["removed"]


def test_a_deploy_that_finds_no_room_makes_some(device: Device) -> None:
    """Versions that serve nothing any more go, of every model; where there are none it has failed, and all is as it was."""
    device.store.install(write_bundle(device.folder / "other", name="other"))
    for version in ("1.1", "1.2"):
        device.store.install(write_bundle(device.folder / version, version))

    def fetch(target: str, halt: Event) -> Path:
        device.fetched.append(target)
        if len(device.store.versions("double")) > 2:
            raise DiskFullError("no room")
        return device.folder / target

    device.hands = Hands(device.store, fetch, measure=device.measure, keep=5)
    assert device.do(device.deploy("1.3")).state == "SUCCEEDED"
    assert (device.fetched, device.store.versions("double")) == (["1.3", "1.3"], ("1.1", "1.2", "1.3"))
    assert device.store.versions("other") == ("1.0",)
    device.store.prune("double", 1)

    def full(target: str, halt: Event) -> Path:
        raise DiskFullError("no room")

    device.hands = Hands(device.store, full, measure=device.measure)
    report = device.do(device.deploy("1.4"))
    assert (report.state, report.details["reason"], report.details["active"]) == ("FAILED", "no room", "1.3")
    assert device.store.versions("double") == ("1.2", "1.3")


def test_a_first_version_that_is_not_well(device: Device) -> None:
    """Leaves none active."""
    device.store = Store(device.folder / "empty", create=True)
    device.hands, device.ill = device.restarted(), "ill"
    report = device.do(device.deploy())
    assert (report.state, report.details["active"]) == ("FAILED", "none")
    assert device.store.active("double") is None


@pytest.mark.parametrize(("field", "value"), [("digest", "0" * 64), ("target", "2.0")])
def test_a_file_that_is_not_what_was_ordered(device: Device, field: str, value: str) -> None:
    """Another digest, or another version: nothing of it gets into the store."""
    write_bundle(device.folder / "2.0", "2.0")
    report = device.do(device.deploy(**{field: value}))
    assert report.state == "FAILED"
    assert "as it was ordered" in report.details["reason"]
    assert device.store.versions("double") == ("1.0",)


def test_another_bundle_under_an_installed_version(device: Device) -> None:
    """Is not fetched at all."""
    report = device.do(device.deploy("1.0", digest="0" * 64))
    assert report.state == "FAILED"
    assert "new version" in report.details["reason"]
    assert device.fetched == []


def test_somebody_activates_another_version_meanwhile(device: Device) -> None:
    """On the device itself: theirs stays, and the job has failed."""
    device.store.install(write_bundle(device.folder / "3.0", "3.0"), activate=False)

    def meddle(model: str, failures: float) -> str:
        device.store.activate("double", "3.0")
        return ""

    device.hands = Hands(device.store, device.fetch, health=meddle, measure=device.measure, clock=lambda: device.clock)
    report = device.do(device.deploy())
    assert (report.state, report.details["active"]) == ("FAILED", "3.0")
    assert "3.0 was activated while 1.1 was on trial" in report.details["reason"]


def test_activate_and_rollback(device: Device) -> None:
    """An installed version serves after the same trial; a rollback takes one step back, at once."""
    device.do(device.deploy())
    report = device.do(Activate(model="double", version="1.0"))
    assert (report.state, report.details["active"]) == ("SUCCEEDED", "1.0")
    report = device.do(Rollback(model="double"))
    assert (report.state, report.details["from"], report.details["to"], report.details["active"]) == (
        "SUCCEEDED", "1.0", "1.1", "1.1",
    )  # fmt: skip
    assert device.do(Activate(model="double", version="9.9")).state == "FAILED"
    assert device.do(Rollback(model="none")).state == "FAILED"


def test_a_rollback_is_done_once(device: Device) -> None:
    """However often its step is: it goes to what was chosen, not one further. And not over what somebody did meanwhile."""
    device.hands = device.restarted(keep=2)
    device.do(device.deploy())
    device.do(device.deploy("1.2"))
    halt = Event()
    chosen = device.hands.run(Rollback(model="double"), "choose", {}, halt)
    for _ in range(3):
        done = device.hands.run(Rollback(model="double"), "rollback", chosen.details, halt)
        assert done.details["active"] == "1.1"
    device.store.activate("double", "1.0")
    with pytest.raises(BundleError, match="activated meanwhile"):
        device.hands.run(Rollback(model="double"), "rollback", chosen.details, halt)


def test_nothing_to_roll_back_to(device: Device) -> None:
    """Is told as it is."""
    report = device.do(Rollback(model="double"))
    assert (report.state, "nothing to roll back" in report.details["reason"]) == ("FAILED", True)


def test_every_step_may_be_done_twice(device: Device) -> None:
    """As after an interruption: the same outcome, and one step back in the history."""
    order, halt = device.deploy(soak=0.0), Event()
    for step in steps_of(order):
        first = device.hands.run(order, step.name, {}, halt)
        assert device.hands.run(order, step.name, {}, halt) == first
    assert (device.store.active("double"), device.store.before("double")) == ("1.1", "1.0")


def test_what_is_on_trial_at_the_start_goes_back(device: Device) -> None:
    """Of every model; one whose state is damaged is named, and keeps nobody from starting."""
    device.do(device.deploy())
    device.store.activate("double", "1.0", trial=True)
    device.store.install(write_bundle(device.folder / "other", name="other"))
    (device.store.path / "other" / "state.json").write_bytes(b"?")
    [trouble] = device.hands.settle()
    assert trouble.startswith("other:")
    assert (device.store.active("double"), device.store.trial("double")) == ("1.1", None)


def test_a_soak_that_is_given_up(device: Device) -> None:
    """Ends at once."""
    halt = Event()
    halt.set()
    order = device.deploy(soak=600.0)
    for step in ("install", "activate"):
        device.hands.run(order, step, {}, Event())
    with pytest.raises(CancelledError, match="given up on trial"):
        device.hands.run(order, "soak", {}, halt)


def test_errors_of_the_ports_are_the_job_s(device: Device) -> None:
    """A download that fails, a step that does not exist."""

    def fail(target: str, halt: Event) -> Path:
        raise DigestError("not what was signed")

    device.hands = Hands(device.store, fail, measure=device.measure)
    assert device.do(device.deploy()).details["reason"] == "not what was signed"
    with pytest.raises(InputError, match="no step"):
        device.hands.run(Rollback(model="double"), "dream", {}, Event())
    with pytest.raises(NotInstalledError):
        device.hands.run(Activate(model="double", version="7"), "activate", {}, Event())


def test_the_decision_log_is_collected(device: Device) -> None:
    """The newest whole lines of both of its files that fit, and how many older ones there are."""
    log = device.folder / "log"
    assert "keeps no decision log" in device.do(CollectLog()).details["reason"]
    device.hands = device.restarted(log)
    assert "can be read" in device.do(CollectLog()).details["reason"]
    log.with_name("log.1").write_bytes(b"1\n2\n")
    log.write_bytes(b"3\n4\nhalf")
    report = device.do(CollectLog(most=6))
    assert (zlib.decompress(report.body), report.details["lines"], report.details["older"]) == (
        b"2\n3\n4\n",
        "3",
        "1",
    )


def test_a_log_that_does_not_shrink_is_cut(device: Device) -> None:
    """What travels is bounded, whatever is asked for."""
    log = device.folder / "log"
    noise = [zlib.crc32(str(number).encode()).to_bytes(4, "big").hex() * 4 for number in range(20_000)]
    log.write_text("".join(f"{line[::-1]}{number}{line[3:17]}\n" for number, line in enumerate(noise)))
    device.hands = device.restarted(log)
    report = device.do(CollectLog(most=8 << 20))
    assert len(report.body) <= LONGEST_BODY
    lines = zlib.decompress(report.body).splitlines()
    assert log.read_bytes().splitlines()[-len(lines) :] == lines
    assert int(report.details["lines"]) == len(lines) > 1000
    assert int(report.details["older"]) == 20_000 - len(lines)
