"""All the processes of a run: the broker, the proxy before it, controllers, devices; and the server of bundles."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.chaos.broker import HOST, Mosquitto
from benchmarks.chaos.device import Owed, Settings
from benchmarks.chaos.mortal import Mortal
from benchmarks.chaos.operator import Operator
from benchmarks.chaos.plan import FIRST, Plan, Size
from benchmarks.chaos.way import Done
from benchmarks.tiny import tiny_bundle
from edge_runtime.bundles.store import Store

_CONTROL = (
    "import sys; from edge_runtime.bench.worker import die_with_parent; die_with_parent(); "
    "from cloud_bridge.cli import main; sys.exit(main(sys.argv[1:]))"
)


class Process(Mortal):
    """One that is killed and started again."""

    def __init__(self, command: Sequence[str], log: Path) -> None:
        self._command, self.log = command, log

    def start(self) -> None:
        """Begin; it is not ready yet."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own modules
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
            )

    def tell(self, line: str) -> None:
        """A line to its standard input."""
        assert self._process is not None and self._process.stdin is not None  # noqa: S101, PT018
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def hear(self) -> str:
        """The next line of its standard output; "" when it has ended."""
        assert self._process is not None and self._process.stdout is not None  # noqa: S101, PT018
        return self._process.stdout.readline()


class Stage:
    """Where it happens."""

    def __init__(self, folder: Path, plan: Plan, size: Size, seed: int, artifacts: str, operator: Operator) -> None:
        self.folder, self.registry = folder, folder / "fleet.db"
        self.broker = Mosquitto(folder / "broker")
        self.broker.start()
        python, module = sys.executable, "benchmarks.chaos"
        self.proxy = Process([python, "-m", f"{module}.proxy", str(self.broker.port), str(seed)], folder / "proxy.log")
        self.proxy.start()
        self.url = f"mqtt://{HOST}:{json.loads(self.proxy.hear())['port']}"
        control = [
            python,
            "-c",
            _CONTROL,
            "fleet",
            "control",
            "--broker",
            self.url,
            "--registry",
            str(self.registry),
            "--json",
        ]
        self.controllers = [Process(control, folder / f"control-{number}.log") for number in range(size.controllers)]
        settings = folder / "settings.json"
        settings.write_bytes(msgspec.json.encode(Settings(
            str(folder / "devices"), self.url, str(operator.public), artifacts, str(operator.root), plan.groups,
            plan.versions("ill"),
        )))  # fmt: skip
        things = [[*plan.groups][number :: size.processes] for number in range(size.processes)]
        self.devices = [
            Process([python, "-m", f"{module}.device", str(settings), *some], folder / f"devices-{number}.log")
            for number, some in enumerate(things)
        ]

    def start(self) -> None:
        """Everything, and return when it is ready."""
        for process in (*self.controllers, *self.devices):
            process.start()
        for process in (*self.controllers, *self.devices):
            process.hear()

    def disturb(self, told: dict[str, Any]) -> None:
        """A line to the proxy."""
        self.proxy.tell(json.dumps(told))

    def done(self) -> Done:
        """What the proxy has done."""
        self.disturb({"act": "count"})
        return msgspec.json.decode(self.proxy.hear(), type=Done)

    def owed(self) -> dict[str, Owed]:
        """By thing, what it owes yet; those are missing whose process is not ready."""
        found: dict[str, Owed] = {}
        for process in self.devices:
            with suppress(BrokenPipeError):
                process.tell("")
                line = process.hear()
                if "ready" in line:
                    line = process.hear()
                found |= msgspec.json.decode(line or "{}", type=dict[str, Owed])
        return found

    def dead(self) -> tuple[str, ...]:
        """Processes that have ended by themselves, with what they said last."""
        parts: dict[str, Process | Mosquitto] = {"proxy": self.proxy, "broker": self.broker}
        parts |= {f"control-{number}": each for number, each in enumerate(self.controllers)}
        parts |= {f"devices-{number}": each for number, each in enumerate(self.devices)}
        return tuple(
            f"{name}, status {each.status}: {each.log.read_text()[-2000:]}" for name, each in parts.items() if not each.runs
        )

    def kill(self) -> None:
        """Everything."""
        for process in (*self.devices, *self.controllers, self.proxy):
            process.kill()
        self.broker.kill()


@contextmanager
def staged(folder: Path, plan: Plan, size: Size, seed: int) -> Iterator[tuple[Stage, Operator]]:
    """A fleet that runs, with nothing ordered yet; killed at the end."""
    operator = Operator(folder / "operator")
    right = dict.fromkeys(plan.versions("good", "slow", "ill"), True)
    operator.publish({**right, **dict.fromkeys(plan.versions("wrong"), False)})
    prepare(folder / "devices", plan)
    with serving(operator.site) as artifacts:
        stage = Stage(folder, plan, size, seed, artifacts, operator)
        try:
            stage.start()
            yield stage, operator
        finally:
            stage.kill()


def prepare(folder: Path, plan: Plan) -> None:
    """Each device's disk, as it left the factory."""
    first = folder / "first"
    store = Store(first / "store", create=True)
    for version in FIRST:
        store.install(tiny_bundle(first / version, version=version, adds=1.0).folder)
    for thing in plan.groups:
        shutil.copytree(first / "store", folder / thing / "store")
        (folder / thing / "decisions").write_bytes(decisions(thing))


def decisions(thing: str) -> bytes:
    """What a device's decision log holds: what it sends has to be this."""
    return b"".join(json.dumps({"thing": thing, "number": number}).encode() + b"\n" for number in range(20))


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """A static server of this folder, and its URL."""
    with _Server((HOST, 0), partial(_Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1})
        thread.start()
        try:
            yield f"http://{HOST}:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """A device that was killed hangs up: nothing to tell."""


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing is told of what goes well."""
