"""Several processes on one registry, in a real file or on a real server; some of them killed."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from random import Random

import msgspec
import pytest

from cloud_bridge.control.link import Heard, Said
from cloud_bridge.fleet.controller import order
from cloud_bridge.fleet.events import Decided, Notify
from cloud_bridge.fleet.inbox import receive
from cloud_bridge.fleet.log import replay
from cloud_bridge.fleet.registry import Job, Registry
from cloud_bridge.fleet.spec import Constant, Group, Rollout
from cloud_bridge.protocol.fleet.jobs import decode_next
from tests.system.fleet_parts import TREE, started
from tests.system.postgresql_parts import schema

Where = Path | str
"""A file, or the URL of a server."""

WAIT = 120.0
"""Seconds after which something that ought to happen counts as not happening."""

THINGS = tuple(f"t{number}" for number in range(40))


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Where]:
    """Where the registry is."""
    if request.param == "sqlite":
        yield tmp_path / "fleet.db"
    else:
        with schema() as url:
            yield url


def ordered(registry: Registry, job: str, rollout: Rollout) -> None:
    assert order(registry, Job(job, job.encode(), b"{}", rollout, time.time()))


class Things:
    """All devices: each does what it is told, says everything twice, and takes what it is told twice for once."""

    def __init__(self, registry: Registry, *files: Path) -> None:
        self._registry, self._files = registry, files
        self._read = dict.fromkeys(files, 0)
        self.told = Counter[tuple[str, str, int]]()

    def live(self) -> None:
        """What was said to them since."""
        said: list[Heard] = []
        for path in self._files:
            data = path.read_bytes()[self._read[path] :] if path.exists() else b""
            data = data[: data.rfind(b"\n") + 1]
            self._read[path] += len(data)
            for line in data.splitlines():
                said += self._hear(msgspec.json.decode(line, type=Said))
        receive(self._registry, TREE, said, time.time())

    def _hear(self, message: Said) -> list[Heard]:
        told = decode_next(message.payload).execution
        if told is None or told.status != "QUEUED":
            return []
        thing = message.topic.split("/")[3]
        self.told[told.job_id, thing, told.execution_number] += 1
        place, number = f"{TREE.root}/things/{thing}/jobs/{told.job_id}/update", told.execution_number
        ending = "FAILED" if thing == "t7" and number == 1 else "SUCCEEDED"
        begun, done = (
            Heard(place, msgspec.json.encode({"status": status, "executionNumber": number} | more))
            for status, more in (("IN_PROGRESS", {"expectedVersion": told.version_number}), (ending, {}))
        )
        return [begun, done, begun, done]


def until(over: Callable[[], bool], things: Things) -> None:
    deadline = time.monotonic() + WAIT
    while not over():
        assert time.monotonic() < deadline
        things.live()
        time.sleep(0.01)
    things.live()


def stands(registry: Registry) -> tuple[int, int]:
    """The version of the one execution, and the lines of the log, at one moment: a server may still be at work on the last
    change of a process that is gone."""
    while True:
        version = registry.jobs.executions("j1")["t0"].version_number
        lines = len(registry.jobs.log("j1"))
        if registry.jobs.executions("j1")["t0"].version_number == version:
            return version, lines


def decided(registry: Registry, job: str) -> Counter[tuple[str, int]]:
    """How often its log says that a thing is to be told of an execution."""
    acts = [act for line in registry.jobs.log(job) if isinstance(line, Decided) for act in line.actions]
    return Counter((act.thing, act.number) for act in acts if isinstance(act, Notify))


WANTED = {(thing, 1) for thing in THINGS} | {("t7", 2)}


def test_two_controllers_tell_each_thing_once(where: Where, tmp_path: Path) -> None:
    """Both step, things speak to a third process; nobody is told twice or forgotten, and the logs agree."""
    files = tmp_path / "a", tmp_path / "b"
    with ExitStack() as stack:
        registry = stack.enter_context(Registry(where))
        for number, file in enumerate(files):
            stack.enter_context(started("control", where, f"c{number}", 60, file))
        for job in ("j1", "j2", "j3"):
            ordered(registry, job, Rollout((Group("all", THINGS),), in_flight=7, retries=1))
        things = Things(registry, *files)
        until(lambda: not registry.jobs.list(active=True), things)
        for job in ("j1", "j2", "j3"):
            assert registry.jobs.get(job).phase == "succeeded"
            assert decided(registry, job) == Counter(WANTED)
            assert {key[1:]: count for key, count in things.told.items() if key[0] == job} == dict.fromkeys(WANTED, 1)
            assert replay(registry.jobs.log(job))[1].ended == dict.fromkeys(THINGS, "SUCCEEDED")


def test_a_killed_controller_costs_nothing_but_time(where: Where, tmp_path: Path) -> None:
    """One after the other is killed in the middle of it; another takes over when its claim has ended. Everything is decided
    once and said at least once, and the file is whole."""
    random = Random(7)
    files = [tmp_path / f"c{number}" for number in range(8)]
    with Registry(where) as registry:
        things = Things(registry, *files)
        for job in ("j1", "j2"):
            ordered(registry, job, Rollout((Group("all", THINGS),), Constant(600), in_flight=9, retries=1))
        for number, file in enumerate(files):
            with ExitStack() as stack:
                process = stack.enter_context(started("control", where, f"c{number}", 0.3, file))
                if number < len(files) - 1:
                    life = time.monotonic() + random.uniform(0.4, 0.9)
                    until(lambda until=life: time.monotonic() > until, things)  # type: ignore[misc]
                    process.kill()
                    continue
                until(lambda: not registry.jobs.list(active=True), things)
        for job in ("j1", "j2"):
            assert registry.jobs.get(job).phase == "succeeded"
            assert decided(registry, job) == Counter(WANTED)
            assert {key[1:] for key in things.told if key[0] == job} == WANTED
            assert replay(registry.jobs.log(job))[1].ended == dict.fromkeys(THINGS, "SUCCEEDED")
    if isinstance(where, Path):
        with closing(sqlite3.connect(where)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_no_update_is_lost(where: Where, tmp_path: Path) -> None:
    """Two processes speak for one thing, and count in one shadow."""
    times = 50
    with ExitStack() as stack:
        registry = stack.enter_context(Registry(where))
        ordered(registry, "j1", Rollout((Group("all", ("t0",)),)))
        with started("control", where, "c", 60, tmp_path / "c"):
            deadline = time.monotonic() + WAIT
            while not registry.jobs.executions("j1"):
                assert time.monotonic() < deadline
                time.sleep(0.01)
        talking = [stack.enter_context(started("talk", where, "j1", "t0", times)) for _ in range(2)]
        counting = [stack.enter_context(started("count", where, "t0", times)) for _ in range(2)]
        assert [process.wait(WAIT) for process in (*talking, *counting)] == [0, 0, 0, 0]
        assert registry.jobs.executions("j1")["t0"].version_number == 1 + 2 * times
        assert len(registry.jobs.log("j1")) == 2 + 2 * times
        shadow = registry.devices.shadow("t0", "count")
        assert (shadow.desired, shadow.version) == ({"n": 2 * times}, 2 * times)


def test_killed_in_the_middle_of_a_change(where: Where, tmp_path: Path) -> None:
    """What a process had not ended is as if it had never begun: versions and lines of the log agree."""
    random = Random(3)
    with Registry(where) as registry:
        ordered(registry, "j1", Rollout((Group("all", ("t0",)),)))
        with started("control", where, "c", 60, tmp_path / "c"):
            deadline = time.monotonic() + WAIT
            while not registry.jobs.executions("j1"):
                assert time.monotonic() < deadline
                time.sleep(0.01)
        before = 0
        for _ in range(6):
            with started("talk", where, "j1", "t0", 900) as process:
                time.sleep(random.uniform(0.02, 0.2))
                process.kill()
                process.wait()
            version, lines = stands(registry)
            assert lines == version + 1
            assert version >= before
            before = version
        assert before > 1


def test_a_new_one_may_be_opened_by_several_at_once(where: Where, tmp_path: Path) -> None:
    """One makes the tables, the others wait for it."""
    command = [sys.executable, "-m", "tests.system.fleet_parts", "count", str(where), "t0", "1"]
    processes = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(4)]
    assert [process.wait(WAIT) for process in processes] == [0, 0, 0, 0]
    with Registry(where) as registry:
        assert registry.devices.shadow("t0", "count").desired == {"n": 4}
