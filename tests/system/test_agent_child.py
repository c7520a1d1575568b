"""Steps that open engines, in a process of their own: what comes back, and what a failure in there costs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path
from threading import Event, Thread

import pytest

from benchmarks.tiny import tiny_bundle
from cloud_bridge.agent.child import Asked, ask
from cloud_bridge.agent.duty import Duty
from cloud_bridge.agent.journal import Journal
from cloud_bridge.agent.obey import Hands
from cloud_bridge.agent.work import Order
from cloud_bridge.protocol.fleet.commands import Activate, Benchmark, Deploy, Health, Rollback, Tune
from edge_runtime.bench import report
from edge_runtime.bundles import archive
from edge_runtime.bundles.store import Store, read_bundle
from edge_runtime.errors import CancelledError, RunError
from edge_runtime.profile import PROFILE, load


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """One model: a version without golden outputs is active, one with right ones and one with wrong ones are installed."""
    made = Store(tmp_path / "store", create=True)
    made.install(tiny_bundle(tmp_path / "1.0").folder)
    for version, adds in (("1.1", 1.0), ("1.2", 2.0)):
        made.install(tiny_bundle(tmp_path / version, version=version, adds=adds).folder, activate=False)
    return made


def check(store: Store, version: str, budget: float | None = None, **fields: object) -> dict[str, str]:
    work = Activate(model="tiny", version=version, health=Health(p99=budget))
    return ask(Asked(str(store.path), work, "check", **fields), Event()).details  # type: ignore[arg-type]


def test_a_check(store: Store) -> None:
    """Right outputs in time pass; wrong ones do not, nor what takes too long, nor an engine that is not here."""
    told = check(store, "1.1", budget=10.0, device="onnx")
    assert told["engine"] == "fp32-onnx on onnx:CPU"
    assert (float(told["distance"]), told["p99"].endswith(" ms")) == (0.0, True)
    assert set(check(store, "1.0")) == {"engine"}
    with pytest.raises(RunError, match="from the golden ones, over its tolerance"):
        check(store, "1.2")
    with pytest.raises(RunError, match=r"its budget is 1e-05 ms"):
        check(store, "1.1", budget=1e-8)
    with pytest.raises(RunError, match="DeviceMissingError"):
        check(store, "1.1", device="onnx:CRYSTAL")
    with pytest.raises(RunError, match="NotInstalledError"):
        check(store, "7")


def test_a_benchmark_comes_back(store: Store) -> None:
    """As the report that `bench` writes."""
    asked = Asked(str(store.path), Benchmark(models=("tiny",), runs=5, seconds=0.05, device="onnx"), "benchmark")
    done = ask(asked, Event())
    found = report.decode(zlib.decompress(done.body))
    assert ([entry.model for entry in found.entries], done.details) == (["tiny"], {"measured": "1", "failed": "0"})


def test_a_tournament_s_outcome_is_used(store: Store) -> None:
    """It is in the profile, and comes back."""
    done = ask(Asked(str(store.path), Tune(models=("tiny",), device="tflite"), "tune"), Event())
    choice = load(store.path / PROFILE).choice("tiny", "1.0")
    assert choice is not None
    assert done.details["tiny"].startswith(choice.winner.name)
    assert choice.winner.name.encode().split()[0] in zlib.decompress(done.body)


def test_a_process_that_takes_too_long_or_is_not_wanted_any_more(store: Store) -> None:
    """Is ended, and what it was for has failed."""
    asked = Asked(str(store.path), Activate(model="tiny", version="1.1"), "check")
    with pytest.raises(RunError, match=r"more than 0\.01 s"):
        ask(asked, Event(), limit=0.01)
    halt = Event()
    halt.set()
    with pytest.raises(CancelledError, match="given up"):
        ask(asked, halt)


def children(pid: int) -> list[int]:
    """The processes that it has started and that are there."""
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(text) for text in found.stdout.split()]


def test_a_process_that_crashes_fails_its_step(store: Store) -> None:
    """As an engine may; the agent goes on."""
    asked = Asked(str(store.path), Benchmark(models=("tiny",), runs=100_000, seconds=60.0), "benchmark")
    errors: list[str] = []

    def work() -> None:
        try:
            ask(asked, Event())
        except RunError as error:
            errors.append(str(error))

    before = set(children(os.getpid()))
    thread = Thread(target=work)
    thread.start()
    while not (mine := [pid for pid in children(os.getpid()) if pid not in before and children(pid)]):
        time.sleep(0.05)  # until it has started a candidate
        assert thread.is_alive()
    os.kill(mine[0], signal.SIGSEGV)
    thread.join(30)
    assert errors
    assert "ended with status -11" in errors[0]


def test_it_dies_with_the_agent(store: Store, tmp_path: Path) -> None:
    """An agent that is killed leaves no process behind that goes on measuring."""
    script = f"""
from threading import Event
from cloud_bridge.agent.child import Asked, ask
from cloud_bridge.protocol.fleet.commands import Benchmark
ask(Asked({str(store.path)!r}, Benchmark(models=("tiny",), runs=100_000, seconds=60.0), "benchmark"), Event())
"""
    agent = subprocess.Popen([sys.executable, "-c", script])
    while not (inside := [pid for child in children(agent.pid) for pid in (child, *children(child))])[1:]:
        time.sleep(0.05)
        assert agent.poll() is None
    agent.kill()
    agent.wait()
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in inside):
        time.sleep(0.05)
        assert time.monotonic() < deadline


def test_a_deploy_with_all_that_belongs_to_it(store: Store, tmp_path: Path) -> None:
    """From a document to the version that serves: tuned, checked in a process of its own, kept; and a bad one refused."""
    folder = tiny_bundle(tmp_path / "2.0", version="2.0", adds=1.0).folder
    packed = tmp_path / "2.0.bundle"
    bundle = read_bundle(folder)
    archive.write(folder, bundle.manifest, packed)
    jobs = {
        b"good": Order("good", Deploy(
            model="tiny", version="2.0", digest=bundle.digest, target="2.0.bundle", health=Health(p99=10.0),
            tune=True,
        ), 60.0),
        b"bad": Order("bad", Activate(model="tiny", version="1.2"), 60.0),
        b"back": Order("back", Rollback(model="tiny"), 60.0),
    }  # fmt: skip
    journal = Journal(tmp_path / "journal")
    hands = Hands(store, lambda target, halt: tmp_path / target, device="tflite", keep=3)
    duty = Duty(journal, jobs.__getitem__, hands)
    for document, order in jobs.items():
        assert duty.receive(order.id, document, 0.0) is None
    while duty.act(0.0):
        pass
    good, bad, back = (sent.report for sent in duty.letters())
    assert (good.state, good.details["digest"], "p99" in good.details) == ("SUCCEEDED", bundle.digest, True)
    assert (bad.state, bad.details["active"], "golden" in bad.details["reason"]) == ("FAILED", "2.0", True)
    assert (back.state, back.details["active"]) == ("SUCCEEDED", "1.0")
    assert load(store.path / PROFILE).choice("tiny", "2.0") is not None
    journal.close()
