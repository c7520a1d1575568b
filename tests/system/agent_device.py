"""A device that loses its power at each of its writes in turn: the program of test_agent_power.py.

`python -m tests.system.agent_device JOB FOLDER` does one job again and again, each time in a fresh copy of the same device,
and each time killed one write later: before it creates, renames or deletes a file, before each fsync, before each statement
that changes the journal, and around each message. After each kill the device starts again, is sent the job again, and goes
on to the end; with `twice` it is killed once more on the way. It prints a line of JSON for each: what was found on the
disk, and how the job ended.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import msgspec

from benchmarks.tiny import tiny_bundle
from cloud_bridge.agent.child import Asked
from cloud_bridge.agent.duty import Duty
from cloud_bridge.agent.journal import Journal
from cloud_bridge.agent.measure import run
from cloud_bridge.agent.obey import Hands
from cloud_bridge.agent.work import OPEN, Done, Order
from cloud_bridge.protocol.fleet.commands import Activate, Command, Deploy, Health, Rollback
from edge_runtime import backends
from edge_runtime.bundles.store import Store, read_bundle

NOW = 1000.0
WRITES = ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.chmod", "shutil.rmtree")


class Outcome(msgspec.Struct):
    """What one kill led to."""

    where: str = ""
    """The write before which the device was killed; "" where it was not."""
    found: tuple[str, bool] = ("", False)
    """The version that was active when it started again, and whether it was on trial."""
    versions: tuple[str, ...] = ()
    """Installed then, each of them whole."""
    state: str = ""
    reason: str = ""
    active: str = ""
    before: str = ""
    trial: bool = False
    kept: tuple[str, ...] = ()
    """Installed at the end."""
    unsent: int = 0
    told: tuple[str, ...] = ()
    """The states that the server was told, in order."""
    leftovers: tuple[str, ...] = ()
    """Files in the store that belong to nothing, after one more install."""


def prepare(folder: Path) -> dict[str, Command]:
    """A device with version 1.1 active, 1.0 before it and 0.9 before that; and the jobs that it is given."""
    store = Store(folder / "store", create=True)
    for version in ("0.9", "1.0", "1.1"):
        store.install(tiny_bundle(folder / version, version=version, adds=1.0).folder)
    store.install(tiny_bundle(folder / "0.8", version="0.8", adds=1.0).folder, activate=False)
    tiny_bundle(folder / "2.0", version="2.0", adds=1.0)
    tiny_bundle(folder / "3.0", version="3.0", adds=2.0)

    def deploy(version: str, soak: float) -> Deploy:
        digest = read_bundle(folder / version).digest
        return Deploy(model="tiny", version=version, digest=digest, target=version, health=Health(p99=10.0), soak=soak)

    return {
        "deploy": deploy("2.0", 0.0), "wrong": deploy("3.0", 0.0), "ill": deploy("2.0", 0.5),
        "activate": Activate(model="tiny", version="0.8"), "rollback": Rollback(model="tiny"),
    }  # fmt: skip


def start(folder: Path, work: Command) -> tuple[Duty, Journal, Store]:
    """The agent, with a real store and journal; it measures in this process, which is one of many."""
    store = Store(folder / "store")

    def measure(asked: Asked, halt: Event) -> Done:
        return run(Path(asked.store), asked.work, asked.step, asked.device)

    def ill(model: str, failures: float) -> str:
        return "it is ill" if isinstance(work, Deploy) and work.soak else ""

    journal = Journal(folder / "journal")
    hands = Hands(store, lambda target, halt: folder / target, health=ill, device="onnx", measure=measure)
    return Duty(journal, lambda document: Order("job", work, NOW + 60.0), hands), journal, store


def serve(folder: Path, work: Command, server: int, count: Callable[[str], None]) -> tuple[Journal, Store]:
    """The job from its message to the last accepted report. `server` is a file that what was told is written to."""
    duty, journal, store = start(folder, work)
    refused = duty.receive("job", b"document", NOW)
    assert refused is None
    more = True
    while more:
        more = duty.act(NOW)
        for sent in duty.letters():
            count("publish")
            os.write(server, sent.report.state.encode() + b"\n")
            count("published")
            duty.accepted(sent, sent.version + 1)
    return journal, store


def watch(folder: Path, count: Callable[[str], None]) -> None:
    """Have each write counted before it is done, from now on in this process."""
    fsync, connect = os.fsync, sqlite3.connect

    def counted(handle: int) -> None:
        count("fsync")
        fsync(handle)

    def traced(*arguments: Any, **named: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*arguments, **named)
        connection.set_trace_callback(statement)
        return connection

    def statement(text: str) -> None:
        if not text.startswith("SELECT"):
            count(f"sqlite {text.split()[0]}")

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        writes = event in WRITES or (event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
        if writes and str(arguments[0]).startswith(str(folder)):
            count(f"{event} {Path(str(arguments[0])).name}")

    vars(os)["fsync"], vars(sqlite3)["connect"] = counted, traced
    sys.addaudithook(hook)


def killed(folder: Path, work: Command, at: int) -> tuple[str, bool]:
    """Do the job in a process that is killed before its write number `at`: before what, and whether it came to that."""
    reader, writer = os.pipe()
    server = os.open(folder / "server", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    if not (child := os.fork()):
        left = at

        def count(where: str) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                os.write(writer, where.encode())
                os.kill(os.getpid(), signal.SIGKILL)

        watch(folder, count)
        serve(folder, work, server, count)
        os._exit(0)
    os.close(writer)
    os.close(server)
    _, status = os.waitpid(child, 0)
    with os.fdopen(reader, "rb") as told:
        where = told.read().decode()
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return where, True
    assert os.waitstatus_to_exitcode(status) == 0
    return "", False


def restarted(folder: Path, work: Command, where: str) -> Outcome:
    """What is on the disk, and what comes of the job when the device starts again."""
    found = Store(folder / "store")
    for version in found.versions("tiny"):
        found.verify(found.bundle("tiny", version))
    seen = Outcome(where, (found.active("tiny") or "", found.trial("tiny") is not None), found.versions("tiny"))
    server = os.open(folder / "server", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    journal, store = serve(folder, work, server, lambda where: None)
    os.close(server)
    job = journal.find("job")
    assert job is not None
    assert job.state not in OPEN
    seen.state, seen.reason = job.state, job.details.get("reason", "")
    seen.kept = store.versions("tiny")
    seen.active, seen.before = store.bundle("tiny").manifest.version, store.before("tiny")
    seen.trial, seen.unsent = store.trial("tiny") is not None, len(journal.outbox())
    seen.told = tuple((folder / "server").read_text().split())
    journal.close()
    if "0.8" in store.versions("tiny"):
        (store.bundle("tiny", "0.8").folder / "add.onnx").unlink()  # so that there is something to install
    store.install(folder / "0.8", activate=False)
    names = {path.name for path in (*store.path.iterdir(), *(store.path / "tiny").iterdir())}
    seen.leftovers = tuple(sorted(names - {"tiny", ".lock", "state.json", *store.versions("tiny")}))
    return seen


def main(job: str, folder: Path, twice: bool) -> None:
    """Kill it at every write, or at every third and then once more, until it is not killed any more."""
    work = prepare(folder / "device")[job]
    assert backends.backend("onnx").devices()  # imported here, once, and not in each of the processes
    at, more = 0, True
    while more:
        copy = folder / "copy"
        shutil.copytree(folder / "device", copy)
        where, more = killed(copy, work, at)
        if twice:
            where += f", then {killed(copy, work, 7 * at % 60)[0]}"
        if not (child := os.fork()):
            sys.stdout.buffer.write(msgspec.json.encode(restarted(copy, work, where)) + b"\n")
            sys.stdout.buffer.flush()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        shutil.rmtree(copy)
        at += 3 if twice else 1


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), "twice" in sys.argv)
