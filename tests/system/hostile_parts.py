"""The fleet that hostile people meet: a real agent and a real controller, on Mosquitto with its access lists."""

from __future__ import annotations

import hashlib
import json
import subprocess
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from tuf.api.metadata import Root, TargetFile, Targets

from benchmarks.tiny import tiny_bundle
from cloud_bridge.artifacts.bundle import Described, served_path, target_path
from cloud_bridge.fleet.controller import order
from cloud_bridge.fleet.registry import Job
from cloud_bridge.fleet.spec import Group, Rollout
from cloud_bridge.protocol.fleet.jobs import JobExecution, Next
from cloud_bridge.protocol.fleet.wire import encode
from edge_runtime.bundles.store import Store
from tests.endpoint import eventually
from tests.system.agent_parts import THING, deploy
from tests.system.artifact_parts import Server, serving
from tests.system.enroll_parts import Peer, Secured, secured
from tests.system.mqtt_parts import WAIT
from tests.system.test_fleet_service import Fleet

TOPICS = f"edge/v1/things/{THING}"
NAMES = {"device": (THING, "press-18"), "controller": ("control-1", "control-2")}
"""press-18 is a device that is broken into; the certificate of control-2 is stolen."""

Change = Callable[[zipfile.ZipFile, zipfile.ZipInfo, bytes], None]


class Besieged:
    """A fleet of one device, with version 1.0 of "tiny", and all that is said about it."""

    def __init__(self, broker: Secured, folder: Path, server: Server, fleet: Fleet) -> None:
        self.broker, self.server, self.fleet, self.operator = broker, server, fleet, fleet.operator
        self.store = Store(folder / "store", create=True)
        self.store.install(tiny_bundle(folder / "1.0", version="1.0", adds=1.0).folder)
        self._folder, self._version = folder, 0
        self.agent = self._started("agent", self._agent())
        self.control = self._started("control", broker.run("control-1", {"--registry": fleet.where}))

    def said(self, who: str) -> str:
        """All that the agent, or the controller, has logged."""
        return (self._folder / f"{who}.log").read_text()

    def give(self, job: str, envelope: bytes, *, thing: str = THING) -> str:
        """Give a job to a device through the registry and the controller: how it ended, and why."""
        document = zlib.crc32(envelope).to_bytes(4, "big")
        rollout = Rollout((Group("all", (thing,)),))
        assert order(self.fleet.registry, Job(job, document, envelope, rollout, time.time(), time.time() + 3600))
        return self.outcome(job, thing)

    def outcome(self, job: str, thing: str = THING) -> str:
        """How a job ended, and why."""
        state = self.fleet.over(job)[thing]
        return f"{state}: {self.fleet.registry.jobs.executions(job)[thing].status_details.get('reason', '')}"

    def publish(self) -> tuple[str, str]:
        """One version more, signed: its name and its digest."""
        self._version += 1
        version = f"1.{self._version}"
        return version, self.operator.publish(version)

    def deploy(self, job: str) -> str:
        """Sign the next version, and give it to the device: how that ended."""
        version, digest = self.publish()
        return self.give(job, self.operator.job(job, deploy(version, digest)))

    def plant(self, change: Change, then: Callable[[bytes], bytes] = bytes) -> tuple[str, str]:
        """A version whose archive was changed, entry by entry and then as bytes, signed with the operator's keys."""
        version, digest = self.publish()
        path, folder = target_path("tiny", version), self.operator.folder / "repository" / "targets"
        honest = next(folder.rglob(f"*.tiny-{version}.bundle"))
        evil = self._folder / f"evil-{version}.bundle"
        with zipfile.ZipFile(honest) as old, zipfile.ZipFile(evil, "w") as new:
            for entry in old.infolist():
                change(new, entry, old.read(entry))
        data, repository = then(evil.read_bytes()), self.operator.repository
        sha256 = hashlib.sha256(data).hexdigest()
        (folder / served_path(path, sha256)).write_bytes(data)
        targets = repository._current(Targets)
        custom = {"custom": msgspec.to_builtins(Described("tiny", version, digest))}
        targets.targets[path] = TargetFile(len(data), {"sha256": sha256}, path, custom)
        repository._save(targets, repository._current(Root), time.time())
        repository.publish(time.time())
        return version, digest

    @contextmanager
    def stolen(self, name: str) -> Iterator[Peer]:
        """A client with a certificate that is not its own."""
        door = self.broker.ports[0 if name in NAMES["device"] else 1]
        with Peer(self.broker, door, self.broker.files(name), f"{name}-thief") as peer:
            yield peer

    def is_unharmed(self, active: str | None) -> None:
        """The same processes run, nothing else is active than before, nothing is on trial, and an honest job succeeds; nor
        was anything else active in between."""
        assert self.agent.poll() is None
        assert self.control.poll() is None
        assert (self.store.active("tiny"), self.store.trial("tiny")) == (active, None)
        assert self.deploy(f"honest-{time.monotonic_ns()}") == "SUCCEEDED: "
        assert (self.store.active("tiny"), self.store.before("tiny")) == (f"1.{self._version}", active)

    def end(self) -> None:
        """Both processes."""
        for process in (self.agent, self.control):
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()

    def _agent(self) -> list[str]:
        command = self.broker.run(THING, {"--store": self.store.path, "--keys": self.operator.public})
        command += ["--artifacts", self.server.url, "--root-metadata", str(self.operator.root), "--device", "onnx"]
        return [*command, "--group", "canary"]

    def _started(self, who: str, command: list[str]) -> subprocess.Popen[str]:
        with (self._folder / f"{who}.log").open("w") as log:
            process = subprocess.Popen([*command, "--json"], stdout=subprocess.PIPE, stderr=log, text=True)
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["ready"]
        return process


@contextmanager
def besieged(folder: Path) -> Iterator[Besieged]:
    """Such a fleet, at work."""
    fleet = Fleet(folder, folder / "fleet.db")
    with (
        fleet.registry, serving(fleet.operator.folder / "repository") as server, secured(folder, NAMES) as broker
    ):  # fmt: skip
        made = Besieged(broker, folder, server, fleet)
        try:
            eventually(lambda: bool(fleet.registry.devices.all(state="ready")), "the device is not there", WAIT)
            yield made
        finally:
            made.end()


def notice(job: str, envelope: bytes, *, thing: str = THING, execution: int = 1) -> bytes:
    """What a controller says of a job that is next."""
    now = time.time()
    told = JobExecution(
        job_id=job, thing_name=thing, status="QUEUED", queued_at=now, last_updated_at=now, version_number=1,
        execution_number=execution, job_document=msgspec.Raw(envelope),
    )  # fmt: skip
    return encode(Next(timestamp=now, execution=told))
