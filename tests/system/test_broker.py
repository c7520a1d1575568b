"""Starting a broker as a child process: it answers, it is reported, it ends when it should."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from typing import get_args

import pytest

from cloud_bridge import broker
from edge_runtime.errors import InputError, UnreachableError
from tests.endpoint import eventually
from tests.system.mqtt_parts import need


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.fixture(params=get_args(broker.Kind))
def kind(request: pytest.FixtureRequest) -> broker.Kind:
    return need(request.param)


def test_starts_answers_and_stops(kind: broker.Kind) -> None:
    """A started broker answers an MQTT 5 CONNECT, says what it is, and frees its port when it is closed."""
    with broker.start(kind=kind) as running:
        assert running.kind == kind
        assert running.running
        assert broker._answers(running.host, running.port)
        assert running.url == f"mqtt://127.0.0.1:{running.port}"
    assert not running.running
    assert not broker._answers(running.host, running.port)
    running.close()


def test_two_at_once(kind: broker.Kind) -> None:
    """Free ports are found for brokers side by side."""
    with broker.start(kind=kind) as one, broker.start(kind=kind) as two:
        assert one.port != two.port
        assert broker._answers(one.host, one.port)
        assert broker._answers(two.host, two.port)


def test_a_port_that_is_taken(kind: broker.Kind) -> None:
    """A port that somebody else has is one error with the broker's own words, at once."""
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(UnreachableError, match=r"(?i)in use"):
        broker.start(port=taken.getsockname()[1], kind=kind)


def test_only_loopback() -> None:
    """A broker without passwords is not opened to other machines."""
    with pytest.raises(InputError, match="loopback"):
        broker.start("0.0.0.0")  # noqa: S104 - it is refused


def test_an_unknown_kind() -> None:
    """A broker that we do not know is refused by name."""
    with pytest.raises(InputError, match="mosquitto, iotcore"):
        broker.start(kind="hivemq")  # type: ignore[arg-type]


def test_queues_are_mosquitto_s() -> None:
    """iotcore has its own, and says so."""
    need("iotcore")
    with pytest.raises(InputError, match="queues of its own"):
        broker.start(kind="iotcore", queued=20_000)


def test_nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any broker the error tells what to install."""
    monkeypatch.setattr(broker, "find", lambda kind: None)
    with pytest.raises(UnreachableError, match="apt-get install mosquitto"):
        broker.start()


def test_it_is_killed(kind: broker.Kind) -> None:
    """Its pid is the broker's own: a SIGKILL to it ends the service at once."""
    with broker.start(kind=kind) as running:
        os.kill(running.pid, signal.SIGKILL)
        assert running.wait(30) == -signal.SIGKILL
        assert not broker._answers(running.host, running.port)


def test_it_does_not_outlive_its_parent(kind: broker.Kind) -> None:
    """When the process that started it is killed, the broker goes too."""
    program = f"from cloud_bridge import broker; b = broker.start(kind={kind!r}); print(b.pid, b.port, flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid, port = map(int, parent.stdout.readline().split())
        assert broker._answers("127.0.0.1", port)
        parent.kill()
    eventually(lambda: gone(pid), "the broker is still there")
    assert not broker._answers("127.0.0.1", port)


def test_in_the_foreground(kind: broker.Kind) -> None:
    """`run` announces the broker as JSON, stays while it lives, and says so when it ends by itself."""
    program = f"from cloud_bridge import broker; broker.run(port=0, kind={kind!r}, announce_json=True)"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as foreground:
        assert foreground.stdout is not None
        ready = json.loads(foreground.stdout.readline())
        assert ready["kind"] == kind
        assert broker._answers("127.0.0.1", int(ready["url"].rsplit(":", 1)[1]))
        os.kill(ready["pid"], signal.SIGKILL)
        _, said = foreground.communicate(timeout=60)
    assert foreground.returncode == 1
    assert f"{kind} on {ready['url'].removeprefix('mqtt://')} ended with status -9" in said
