"""What the tests of an agent on the wire share: who commands it, from what it fetches, and the agent as a process."""

from __future__ import annotations

import json
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from benchmarks.tiny import tiny_bundle
from cloud_bridge.artifacts.bundle import target_path
from cloud_bridge.artifacts.repository import Repository
from cloud_bridge.broker import Broker
from cloud_bridge.protocol.fleet import execution, jobs, shadow, topics
from cloud_bridge.protocol.fleet.commands import Command, Deploy, Document
from cloud_bridge.protocol.fleet.jobs import JobExecution, Next
from cloud_bridge.protocol.fleet.presence import Presence, Status
from cloud_bridge.protocol.fleet.shadow import Shadow
from cloud_bridge.protocol.fleet.telemetry import Figures
from cloud_bridge.protocol.fleet.topics import Kind, Tree
from cloud_bridge.protocol.fleet.wire import decode, encode
from cloud_bridge.signing import PrivateKey, generate, read_private, sign
from tests.endpoint import eventually
from tests.system.mqtt_parts import WAIT

THING = "press-17"
TREE = Tree()


class Controller:
    """Keeps jobs and shadows of devices, and answers what they ask, by the pure functions of the protocol. On a session of
    its own at the broker: what is said while it is away waits for it."""

    def __init__(self, broker: Broker, name: str = "controller") -> None:
        self.broker, self._name = broker, name
        self.jobs: dict[tuple[str, str], JobExecution] = {}
        self.shadows: dict[tuple[str, str], Shadow] = {}
        self.presence: dict[str, Presence] = {}
        self.told: list[tuple[str, str]] = []
        """The states that a device moved each job to, in order."""
        self.results: dict[str, bytes] = {}
        self.figures: list[Figures] = []
        self.answers: queue.Queue[tuple[str, bytes, bytes]] = queue.Queue()
        """The status, the correlation and the payload of each."""
        self.mute = False
        """Whether it answers nothing, and forgets what it is told."""
        self._lock = threading.RLock()
        self._subscribed = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2, name, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.on_message = self._heard
        self._client.on_connect = lambda client, *_: client.subscribe([(each, 1) for each in TREE.heard_from()])
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.reconnect_delay_set(0.05, 0.2)  # type: ignore[arg-type]

    def __enter__(self) -> Self:
        self._client.connect(self.broker.host, self.broker.port, clean_start=False)
        self._client.loop_start()
        assert self._subscribed.wait(WAIT)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def say(self, kind: Kind, payload: bytes, told: Mapping[str, Any] = {}, /, **names: str) -> None:
        """Say anything."""
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        for name, value in told.items():
            setattr(properties, name, value)
        self._client.publish(TREE.topic(kind, **names), payload, kind.qos, kind.retain, properties)

    def order(self, envelope: bytes, job: str, *, thing: str = THING, notify: bool = True) -> None:
        """Give a job to a device."""
        now = time.time()
        with self._lock:
            before = self.jobs.get((thing, job))
            self.jobs[thing, job] = JobExecution(
                job_id=job, thing_name=thing, status="QUEUED", queued_at=now, last_updated_at=now, version_number=1,
                execution_number=1 if before is None else before.execution_number + 1, job_document=msgspec.Raw(envelope),
            )  # fmt: skip
        if notify:
            self.notify(thing)

    def notify(self, thing: str = THING) -> None:
        """Tell it which is next."""
        told = Next(timestamp=time.time(), execution=self._first(thing))
        self.say(topics.NOTIFY_NEXT, encode(told), thing=thing)

    def cancel(self, job: str, thing: str = THING) -> None:
        """Take a job back, and tell which is next now."""
        with self._lock:
            self.jobs[thing, job] = execution.move(self.jobs[thing, job], "CANCELED", time.time(), why="a test")
        self.notify(thing)

    def desire(self, name: str, desired: Mapping[str, Any], thing: str = THING) -> None:
        """Desire a state, as anybody does by hand."""
        payload = json.dumps({"state": {"desired": desired}}).encode()
        self.say(topics.SHADOW_UPDATE, payload, thing=thing, shadow=name)

    def ask(self, method: str, payload: bytes = b"{}", thing: str = THING) -> tuple[str, bytes]:
        """Ask a question: the status and the answer."""
        token = method.encode() + str(time.monotonic()).encode()
        told = {"CorrelationData": token, "MessageExpiryInterval": 10, "ResponseTopic": "elsewhere"}
        self.say(topics.RPC, payload, told, thing=thing, method=method)
        while True:
            status, correlation, answer = self.answers.get(timeout=WAIT)
            if correlation == token:
                return status, answer

    def state(self, job: str, thing: str = THING) -> str:
        """How an execution stands."""
        return self.jobs[thing, job].status

    def ended(self, job: str, thing: str = THING) -> JobExecution:
        """The execution, once it has ended."""
        eventually(lambda: self.state(job, thing) in jobs.TERMINAL, f"{job} has not ended", WAIT)
        return self.jobs[thing, job]

    def reported(self, name: str, thing: str = THING) -> dict[str, Any]:
        """What a device has reported."""
        return self.shadows.get((thing, name), Shadow()).reported

    def is_there(self, state: str, thing: str = THING) -> None:
        """Wait until a device is in this state."""
        eventually(lambda: self.presence.get(thing, Presence()).state == state, f"{thing} is not {state}", WAIT)

    def _first(self, thing: str) -> JobExecution | None:
        with self._lock:
            return execution.first(each for (whose, _), each in self.jobs.items() if whose == thing)

    def _heard(self, client: Client, data: Any, message: MQTTMessage) -> None:
        if self.mute:
            return
        kind, names = TREE.parse(message.topic)
        thing, payload, now = names["thing"], bytes(message.payload), time.time()
        with self._lock:
            match kind:
                case topics.STATUS:
                    self.presence[thing] = self.presence.get(thing, Presence()).fold(decode(payload, Status))
                case topics.START_NEXT:
                    self._start(thing, decode(payload, jobs.StartNext), now)
                case topics.JOB_GET:
                    found = execution.describe(self.jobs.get((thing, names["job"])), decode(payload, jobs.Get), now)
                    self._reply(kind, found, **names)
                case topics.JOB_UPDATE:
                    self._update(thing, names["job"], decode(payload, jobs.Update), now)
                case topics.SHADOW_GET:
                    held = self.shadows.get((thing, names["shadow"]), Shadow())
                    self._reply(kind, shadow.describe(held, decode(payload, shadow.Get), now), **names)
                case topics.SHADOW_UPDATE:
                    self._change(thing, names["shadow"], decode(payload, shadow.Update), now)
                case topics.RPC_ANSWER:
                    told: dict[str, Any] = vars(message.properties)
                    self.answers.put((dict(told["UserProperty"])["status"], told.get("CorrelationData", b""), payload))
                case topics.TELEMETRY:
                    self.figures.append(decode(payload, Figures))
                case topics.RESULT:
                    self.results[names["job"]] = payload

    def _reply(self, request: Kind, answer: msgspec.Struct, **names: str) -> None:
        rejected = isinstance(answer, jobs.Rejected | shadow.Rejected)
        kind = next(
            kind for kind in topics.KINDS if kind.path == f"{request.path}/{'rejected' if rejected else 'accepted'}"
        )
        self.say(kind, encode(answer), **names)

    def _start(self, thing: str, asked: jobs.StartNext, now: float) -> None:
        if (found := self._first(thing)) is not None:
            found = self.jobs[thing, found.job_id] = execution.start(found, asked, now)
        self._reply(topics.START_NEXT, Next(timestamp=now, execution=found, client_token=asked.client_token), thing=thing)

    def _update(self, thing: str, job: str, update: jobs.Update, now: float) -> None:
        found = execution.apply(self.jobs.get((thing, job)), update, now)
        if isinstance(found, JobExecution):
            if found != self.jobs[thing, job]:
                self.told.append((job, found.status))
            self.jobs[thing, job] = found
            self._reply(topics.JOB_UPDATE, execution.confirm(found, update, now), thing=thing, job=job)
        else:
            self._reply(topics.JOB_UPDATE, found, thing=thing, job=job)

    def _change(self, thing: str, name: str, update: shadow.Update, now: float) -> None:
        found = shadow.apply(self.shadows.get((thing, name), Shadow()), update, now)
        if isinstance(found, Shadow):
            self.shadows[thing, name] = found
            self._reply(topics.SHADOW_UPDATE, shadow.confirm(found, update, now), thing=thing, shadow=name)
            if (delta := shadow.delta(found, now)) is not None:
                self.say(topics.SHADOW_DELTA, encode(delta), thing=thing, shadow=name)
        else:
            self._reply(topics.SHADOW_UPDATE, found, thing=thing, shadow=name)


class Operator:
    """Who signs: jobs with one key, bundles with those of a repository."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        generate(folder / "operator")
        self.key: PrivateKey = read_private(folder / "operator")
        self.public = folder / "operator.pub"
        self.repository = Repository(folder / "repository", folder / "tuf")
        self.repository.init(time.time())

    @property
    def root(self) -> Path:
        """What goes to every device with its software."""
        return self.folder / "repository" / "metadata" / "1.root.json"

    def publish(self, version: str, *, adds: float = 1.0) -> str:
        """Put a version of the model "tiny" where devices find it; one that does not add 1 is wrong. Its digest."""
        bundle = tiny_bundle(self.folder / f"tiny-{version}", version=version, adds=adds)
        self.repository.add(bundle.folder, time.time())
        self.repository.publish(time.time())
        return bundle.digest

    def job(
        self, id: str, command: Command, *, things: tuple[str, ...] = (THING,), groups: tuple[str, ...] = (),
        since: float = 0.0, life: float = 3600.0, key: PrivateKey | None = None,
    ) -> bytes:  # fmt: skip
        """A signed job; `since` is how long ago it was issued."""
        issued = time.time() - since
        document = Document(
            job_id=id, issued_at=issued, expires_at=issued + life, things=things, groups=groups, command=command
        )
        return sign(document, key or self.key)


def deploy(version: str, digest: str, soak: float = 0.0) -> Deploy:
    """An order to deploy a version of "tiny"."""
    return Deploy(model="tiny", version=version, digest=digest, target=target_path("tiny", version), soak=soak)


class Device:
    """An agent as a process of its own."""

    def __init__(self, process: subprocess.Popen[str], announced: dict[str, Any]) -> None:
        self.process, self.announced = process, announced

    def kill(self) -> None:
        """As a power cut would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def end(self) -> int:
        """As systemd does: its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(WAIT)


@contextmanager
def device(
    broker: Broker, store: Path, operator: Operator, artifacts: str, *more: str, thing: str = THING
) -> Iterator[Device]:
    """`cloud-bridge agent`, ready; killed at the end."""
    command = [
        sys.executable, "-c", "import sys; from cloud_bridge.cli import main; sys.exit(main(sys.argv[1:]))", "agent",
        "--broker", broker.url, "--thing", thing, "--store", store, "--keys", operator.public, "--artifacts", artifacts,
        "--root-metadata", operator.root, "--device", "onnx", "--json", *more,
    ]  # fmt: skip
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield Device(process, json.loads(process.stdout.readline()))
        finally:
            process.kill()


def holds(condition: Callable[[], bool], seconds: float) -> None:
    """It is so, and stays so."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        assert condition()
        time.sleep(0.05)
