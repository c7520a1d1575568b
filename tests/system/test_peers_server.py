"""The servers that ours is measured beside: ready, held still, and ended whatever happens."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from benchmarks.peers.server import Program, Server, peer
from edge_runtime.errors import EngineMissingError, UnreachableError

CHILD = f"import subprocess; child = subprocess.Popen([{sys.executable!r}, '-c', 'import time; time.sleep(600)'])"
READY = "import json, sys; print('chatter'); print(json.dumps({'http': 'there', 'pid': child.pid}), flush=True)"
AMPLE = 60.0


def program(*lines: str) -> Program:
    return Program((sys.executable, "-c", "\n".join((CHILD, *lines))))


def gone(pid: int) -> bool:
    deadline = time.monotonic() + AMPLE
    while time.monotonic() < deadline:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.02)
    return False


def settled(pid: int, status: str) -> bool:
    deadline = time.monotonic() + AMPLE
    while time.monotonic() < deadline:
        if (psutil.Process(pid).status() == psutil.STATUS_STOPPED) == (status == "held"):
            return True
        time.sleep(0.02)
    return False


def test_held_but_when_it_is_measured(tmp_path: Path) -> None:
    """A server and what it started take no processor time from the others, until it is their turn."""
    with Server(program(READY, "sys.stdin.read(); child.kill()"), tmp_path / "log") as server:
        child = server.ready()["pid"]
        assert settled(child, "held")
        with server.awake():
            assert settled(child, "awake")
        assert settled(child, "held")
    assert gone(child)


def test_children_that_it_leaves_are_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that ends without its children leaves none behind."""
    monkeypatch.setattr("benchmarks.peers.server.GRACE", 0.5)
    with Server(program(READY, "sys.stdin.read()"), tmp_path / "log") as server:
        child = server.ready()["pid"]
    assert gone(child)


def test_what_does_not_start_says_why(tmp_path: Path) -> None:
    """The last words of a server that ends before it is ready are in the error."""
    failing = Program((sys.executable, "-c", "raise SystemExit('no port')"))
    with Server(failing, tmp_path / "log") as server, pytest.raises(UnreachableError, match="no port"):
        server.ready()


def test_a_benchmark_that_is_killed_leaves_nothing(tmp_path: Path) -> None:
    """Servers end with the process that measures them, held as they are, even when that one is killed."""
    script = (
        "import sys, pathlib; from tests.system.test_peers_server import *\n"
        f"server = Server(program(READY, 'sys.stdin.read()'), pathlib.Path({str(tmp_path / 'log')!r}))\n"
        "print(server.ready()['pid'], flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        child = int(owner.stdout.readline())
        owner.kill()
    assert gone(child)


def test_an_environment_that_is_missing_is_named(tmp_path: Path) -> None:
    """Whoever has not made a peer's environment is told which, and how."""
    with pytest.raises(EngineMissingError, match=r"make \.venv-peers-nobody/ready"):
        peer("nobody", tmp_path)
