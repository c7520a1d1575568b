"""A candidate in a process of its own: on real engines, and when the process is hostile."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from benchmarks.tiny import SHAPE, tiny_bundle
from edge_runtime import backends
from edge_runtime.bench.process import Limits, Request, Worker, request_of
from edge_runtime.bundles import golden
from edge_runtime.bundles.bundle import Bundle
from edge_runtime.engines import candidates
from edge_runtime.errors import RunError
from edge_runtime.values import Settings


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """y = x + 1 for every engine."""
    return tiny_bundle(tmp_path_factory.mktemp("worker") / "tiny")


@pytest.fixture(params=backends.NAMES)
def request_(request: pytest.FixtureRequest, tiny: Bundle) -> Request:
    """A request for each engine."""
    devices = list(backends.backend(request.param).devices())
    return request_of(tiny, candidates(tiny.manifest, devices[:1])[0])


def test_it_loads_takes_turns_and_keeps_a_pace(request_: Request) -> None:
    """Each turn has the runs or the time that it was asked for; at a pace, CPU time counts and no run is skipped."""
    with Worker(request_) as worker:
        started = worker.started()
        assert started == worker.started()
        assert started.device.backend == request_.backend
        assert started.distance is None
        assert started.cold.seconds > 0
        assert len(worker.turn(7, 10.0).times) == 7
        turn = worker.turn(3, 0.01, both=True)
        assert len(turn.times) >= 3
        assert sum(turn.times) >= 10_000_000
        begin = time.monotonic()
        paced = worker.paced(5, 0.02)
        assert time.monotonic() - begin >= 0.1
        assert len(paced.times) == 5
        assert paced.cpu > 0
        assert (worker.resident or 1) > 0
    with pytest.raises(RunError, match="ended before"):
        worker.turn(1, 0.0)


def test_calls_at_once_on_rows_together(request_: Request) -> None:
    """So many threads, each for as long as it was asked; a model whose rows do not run together says so."""
    with Worker(request_) as worker:
        turn = worker.together(2, 1, 0.05)
        assert len(turn.times) >= 2
        assert sum(turn.times) >= 100_000_000
        with pytest.raises(RunError, match="do not run together"):
            worker.together(1, 4, 0.05)


def _with_golden(request: Request, folder: Path, bundle: Bundle, add: float, tolerance: float | None) -> Request:
    x = np.full(SHAPE, 3.0, np.float32)
    golden.write(folder / "golden.npz", bundle.manifest.signature, [{"x": x}], [{"y": x + np.float32(add)}])
    return msgspec.structs.replace(request, golden=str(folder / "golden.npz"), tolerance=tolerance)


def test_outputs_are_held_against_the_golden_ones_first(request_: Request, tiny: Bundle, tmp_path: Path) -> None:
    """Right ones go on, and tell how far they were; wrong ones are an error with both figures."""
    with Worker(_with_golden(request_, tmp_path, tiny, 1.0, 1e-5)) as worker:
        assert worker.started().distance == pytest.approx(0.0, abs=1e-6)
    with (
        Worker(_with_golden(request_, tmp_path, tiny, 2.0, 1e-5)) as worker,
        pytest.raises(RunError, match=r"^its outputs are 0\.2 from the golden ones, over its tolerance of 1e-05$"),
    ):
        worker.started()
    with Worker(_with_golden(request_, tmp_path, tiny, 2.0, None)) as worker:
        assert worker.started().distance == pytest.approx(0.2, rel=0.01)


def test_golden_samples_that_are_none_are_an_error(request_: Request, tiny: Bundle, tmp_path: Path) -> None:
    """NaN in the golden outputs, or no file of them at all."""
    bad = _with_golden(request_, tmp_path, tiny, 1.0, 1e-5)
    np.savez(tmp_path / "golden.npz", x=np.ones((1, *SHAPE), np.float32), y=np.full((1, *SHAPE), np.nan, np.float32))
    with Worker(bad) as worker, pytest.raises(RunError, match=r"BundleError.*NaN"):
        worker.started()
    (tmp_path / "golden.npz").write_bytes(b"nothing")
    with Worker(bad) as worker, pytest.raises(RunError, match=r"BundleError.*golden\.npz"):
        worker.started()


def test_the_engines_own_error_arrives(request_: Request, tmp_path: Path) -> None:
    """A device that is not there, a setting that is not the engine's, an artifact that is none."""
    for changes, told in (
        ({"device": "NPU7"}, "DeviceMissingError"),
        ({"settings": Settings(threads=0)}, "BackendError"),
        ({"artifact": str(tmp_path / f"cut{Path(request_.artifact).suffix}")}, "ArtifactError"),
    ):
        (tmp_path / f"cut{Path(request_.artifact).suffix}").write_bytes(Path(request_.artifact).read_bytes()[:40])
        with Worker(msgspec.structs.replace(request_, **changes)) as worker, pytest.raises(RunError, match=told):
            worker.started()


CHILD = """
import ctypes, os, sys, time
TURN = '{"turn": {"times": [1], "cpu": 1}}'
request = sys.stdin.readline()
"""
ANSWERS = """
import json
print(json.dumps({"started": {"cold": {"engine_seconds": 1, "load_seconds": 1, "first_seconds": 1, "memory": 1},
                              "device": {"backend": "x", "name": "x"}, "distance": None}}), flush=True)
sys.stdin.readline()
"""
HOSTILE = {
    "crashes": ("ctypes.string_at(0)", r"signal 11 \(SIGSEGV\)"),
    "is killed": ("os.kill(os.getpid(), 9)", r"signal 9 \(SIGKILL\): it said nothing"),
    "says why and ends": ("sys.exit('double free')", "exit status 1: double free"),
    "ends without a word": ("os._exit(0)", "exit status 0: it said nothing"),
    "hangs": ("time.sleep(60)", "took more than 1 s"),
    "spins": ("while True: pass", "took more than 1 s"),
    "answers nonsense": ("print('hello', flush=True); time.sleep(60)", "answered nonsense: b'hello'"),
    "answers half a line": ("sys.stdout.write('{'); sys.stdout.flush(); time.sleep(60)", "took more than 1 s"),
    "answers out of turn": ("print(TURN, flush=True); time.sleep(9)", "out of turn"),
    "answers without end": ("while True: sys.stdout.write('x' * 65536)", "without end|took more than 1 s"),
    "eats memory": ("hoard = []\nwhile True: hoard.append(bytearray(b'x') * 10**7)", "over the limit of 200 MB"),
}  # fmt: skip


@pytest.fixture
def no_leak() -> Iterator[None]:
    """No file stays open."""
    before = set(os.listdir("/proc/self/fd"))
    yield
    assert len(set(os.listdir("/proc/self/fd")) - before) <= 1  # listing them opens one


@pytest.mark.usefixtures("no_leak")
@pytest.mark.parametrize("when", ["at its start", "in its turn"])
@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_process_loses_and_says_why(tiny: Bundle, what: str, when: str) -> None:
    """Whatever it does, it is one error in words, it is gone, and nothing of it stays."""
    act, told = HOSTILE[what]
    script = CHILD + ("" if when == "at its start" else ANSWERS) + act
    request = request_of(tiny, candidates(tiny.manifest, list(backends.backend("tflite").devices()))[0])
    limits = Limits(start=1.0 if when == "at its start" else 20.0, slack=1.0, memory=200_000_000)
    with Worker(request, limits, (sys.executable, "-c", script)) as worker:
        if when == "at its start":
            with pytest.raises(RunError, match=told):
                worker.started()
        else:
            worker.started()
            if "TURN" in act:
                assert worker.turn(1, 0.0).times == (1,)
                return
            with pytest.raises(RunError, match=told):
                worker.turn(1, 0.0)
        assert worker._process.returncode is not None  # it was waited for: no zombie
        with pytest.raises(RunError, match="ended before"):
            worker.turn(1, 0.0)


def test_what_a_vendor_prints_is_no_answer(request_: Request) -> None:
    """Words on stdout, from Python or from below it, do not reach the answers."""
    script = (
        "import os, sys\n"
        "from edge_runtime.bench import worker\n"
        "class Loud(worker.Backends):\n"
        "    def load(self, request):\n"
        "        print('{\"error\": \"loud\"}', flush=True); os.write(1, b'nonsense\\n')\n"
        "        return super().load(request)\n"
        "worker.main(Loud())\n"
    )
    with Worker(request_, command=(sys.executable, "-c", script)) as worker:
        assert len(worker.turn(2, 1.0).times) == 2


def test_it_dies_with_its_parent(request_: Request) -> None:
    """A parent that is killed leaves nobody behind."""
    script = (
        "import sys, time, msgspec\n"
        "from edge_runtime.bench.process import Request, Worker\n"
        f"worker = Worker(msgspec.json.decode({msgspec.json.encode(request_)!r}, type=Request)); worker.started()\n"
        "print(worker._process.pid, flush=True); time.sleep(60)\n"
    )
    import subprocess

    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.communicate()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{child}/statm").exists() and Path(f"/proc/{child}/statm").read_text().split()[1] != "0":
        assert time.monotonic() < deadline, "it is still there"
        time.sleep(0.02)
