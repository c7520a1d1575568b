"""The processes of a fleet that is measured, each a real one: Mosquitto, `cloud-bridge fleet control`, a static server, and
the herd of simulated devices. And what each of them has taken of the processors and of memory.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import psutil

from benchmarks.fleet.herd import Order, Setting
from benchmarks.tiny import tiny_bundle
from cloud_bridge import broker
from cloud_bridge.artifacts.bundle import target_path
from cloud_bridge.artifacts.repository import Repository
from cloud_bridge.broker import Broker
from cloud_bridge.protocol.fleet.commands import Command, Deploy, Document, Health
from cloud_bridge.protocol.fleet.envelope import LARGEST, Envelope
from cloud_bridge.protocol.fleet.wire import decode
from cloud_bridge.signing import generate, read_private, sign
from edge_runtime.errors import RunError, UnreachableError

INFLIGHT, QUEUED = 1000, 200_000
"""Messages that the broker lets be under way to one client, and keeps for it beside those: a controller hears thousands of
devices at once, and what a queue does not hold is lost."""

SPARE = 500
"""Files of a process beside its connections."""

PATIENCE = 600.0

CLI = "import sys; from cloud_bridge.cli import main; sys.exit(main(sys.argv[1:]))"
"""`cloud-bridge`, by this interpreter."""

_Read = TypeVar("_Read")


class Usage(msgspec.Struct, frozen=True):
    """What a process has taken: seconds of processors, and bytes that are resident."""

    cpu: float
    memory: int

    def since(self, before: Usage) -> Usage:
        """What it took since then."""
        return Usage(self.cpu - before.cpu, self.memory)


def usage(pid: int) -> Usage:
    """Of this process: the processors with what its children have taken, the memory without. Raises RunError when it is
    gone."""
    try:
        process = psutil.Process(pid)
        times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
        own = times[0].children_user + times[0].children_system
        return Usage(own + sum(each.user + each.system for each in times), process.memory_info().rss)
    except psutil.NoSuchProcess as error:
        raise RunError(f"process {pid} has ended while it was measured") from error


class Asked:
    """A process that answers lines by lines."""

    def __init__(self, process: subprocess.Popen[bytes], name: str) -> None:
        assert process.stdin is not None  # noqa: S101 - it was asked for
        assert process.stdout is not None  # noqa: S101
        self.pid, self._process = process.pid, process
        self._name, self._in, self._out = name, process.stdin, process.stdout

    def ask(self, what: msgspec.Struct, answer: type[_Read]) -> _Read:
        """Raises RunError when it has ended."""
        self.tell(what)
        return self.answer(answer)

    def tell(self, what: msgspec.Struct) -> None:
        """Without waiting for the answer."""
        self._in.write(msgspec.json.encode(what) + b"\n")
        self._in.flush()

    def answer(self, kind: type[_Read]) -> _Read:
        """The answer to what was told. Raises RunError when it has ended."""
        if not (line := self._out.readline()):
            raise RunError(f"the process of {self._name} has ended with status {self._process.wait(10.0)}")
        return msgspec.json.decode(line, type=kind)

    def finish(self) -> None:
        """Nothing more is asked: it may end by itself, with its children."""
        self._in.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(10.0)


class Herd(Asked):
    """The process of simulated devices."""

    def do(self, act: str, answer: type[_Read], **about: Any) -> _Read:
        """One order."""
        return self.ask(Order(act, **about), answer)


@contextmanager
def brokered() -> Iterator[Broker]:
    """Mosquitto, that keeps what a fleet says. Raises UnreachableError where it is not installed."""
    with broker.start(kind="mosquitto", inflight=INFLIGHT, queued=QUEUED) as started:
        yield started


@contextmanager
def controlled(running: Broker, registry: Path) -> Iterator[int]:
    """`cloud-bridge fleet control`: its process."""
    command = [sys.executable, "-c", CLI, "fleet", "control", "--broker", running.url, "--registry", registry, "--json"]
    with started(command) as process:
        assert process.stdout is not None  # noqa: S101
        if not process.stdout.readline():
            raise RunError("the controller did not start: see above why")
        yield process.pid


@contextmanager
def herded(setting: Setting) -> Iterator[Herd]:
    """The devices, made and not connected yet."""
    with _module("benchmarks.fleet.herd") as process:
        herd = Herd(process, "the devices")
        herd.ask(setting, dict)
        yield herd
        herd.finish()


@contextmanager
def barely(running: Broker) -> Iterator[Asked]:
    """The controller of bare conversations."""
    with _module("benchmarks.fleet.bare", running.url) as process:
        asked = Asked(process, "the bare controller")
        asked.answer(dict)
        yield asked


@contextmanager
def served(folder: Path) -> Iterator[tuple[int, str]]:
    """A static server of this folder: its process, and its URL."""
    with _module("benchmarks.fleet.static", str(folder)) as process:
        asked = Asked(process, "the static server")
        yield process.pid, asked.answer(dict[str, str])["url"]


class Operator:
    """Who signs: jobs with one key, bundles with those of a repository."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        generate(folder / "operator")
        self._key = read_private(folder / "operator")
        self.public = folder / "operator.pub"
        self.repository = folder / "repository"
        self._repository = Repository(self.repository, folder / "tuf")

    @property
    def root(self) -> Path:
        """What goes to every device with its software."""
        return self.repository / "metadata" / "1.root.json"

    def publish(self, versions: Mapping[str, float], now: float) -> Mapping[str, str]:
        """Put versions of the model "tiny" where devices find them; one that does not add 1.0 is wrong. Their digests."""
        self._repository.init(now)
        digests = {}
        for version, adds in versions.items():
            bundle = tiny_bundle(self._folder / f"tiny-{version}", version=version, adds=adds)
            self._repository.add(bundle.folder, now)
            digests[version] = bundle.digest
        self._repository.publish(now)
        return digests

    def sign(self, job: str, command: Command, group: str, now: float) -> bytes:
        """A signed order for a group."""
        document = Document(job_id=job, issued_at=now, expires_at=now + 3600.0, groups=(group,), command=command)
        return sign(document, self._key)

    def document(self, envelope: bytes) -> bytes:
        """What is signed in there."""
        return decode(envelope, Envelope, LARGEST).payload


def deploy(version: str, digest: str, p99: float | None = None) -> Deploy:
    """An order to deploy a version of "tiny"."""
    health = Health(p99=p99)
    return Deploy(model="tiny", version=version, digest=digest, target=target_path("tiny", version), health=health)


def raise_limit(devices: int) -> None:
    """As many open files as there may be, for this process and those that it starts. Raises UnreachableError where they do
    not do."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < devices + SPARE:
        raise UnreachableError(
            f"{devices} connections need {devices + SPARE} open files, and {hard} are allowed here: raise `ulimit -Hn`"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _module(name: str, *arguments: str) -> Any:
    return started([sys.executable, "-m", name, *arguments])


@contextmanager
def started(command: list[Any]) -> Iterator[subprocess.Popen[bytes]]:
    """Killed at the end, if it has not ended by itself when its stdin did."""
    process = subprocess.Popen(  # noqa: S603 - our own interpreter, our own modules
        list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for end in (process.stdin, process.stdout):
            with suppress(OSError):  # what was still to be written is nobody's
                assert end is not None  # noqa: S101 - it was asked for
                end.close()
