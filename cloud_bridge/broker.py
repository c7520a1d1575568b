"""Starts somebody else's MQTT 5 broker on this machine, for a demo, a test or a single machine's own use.

`mosquitto` when it is found on PATH, else `iotcore` (rumqttd in a wheel, extra `demo`); which one is told by `Broker.kind`.
It is a child process of its own that ends when this process ends, however that ends, and it listens on loopback only:
it asks nobody for a password. For anything else run a broker of your own and give its URL.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from types import TracebackType
from typing import Literal, Self, get_args

from cloud_bridge.loopback import is_loopback
from edge_runtime.errors import InputError, RemoteError, UnreachableError

Kind = Literal["mosquitto", "iotcore"]

MAX_PACKET = 64 << 20
"""Bytes of one MQTT packet that a broker takes, at most. mosquitto tells every client in its CONNACK, iotcore nobody."""

INFLIGHT, QUEUED = 100, 10_000
"""Messages of QoS 1 that are under way to a client at once, and those that wait for it beside them."""

_PORT_TRIES = 5
_INSTALL = "install mosquitto (Debian, Ubuntu: apt-get install mosquitto) or `pip install iotcore`, or give a broker's URL"
_log = logging.getLogger(__name__)


def find(kind: Kind) -> str | None:
    """Where this kind of broker is installed here: a path or a module's name; None when it is not."""
    if kind == "mosquitto":
        # Debian installs it where only root's PATH looks.
        return shutil.which(
            "mosquitto", path=os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"))
        )
    return "iotcore" if importlib.util.find_spec("iotcore") else None


def start(
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    kind: Kind | None = None,
    max_packet: int = MAX_PACKET,
    inflight: int = INFLIGHT,
    queued: int = QUEUED,
    timeout: float = 20.0,
) -> Broker:
    """Start a broker and return when it has answered an MQTT 5 CONNECT.

    `port` 0 takes a free one; `kind` None takes the first that is installed; `max_packet` is in bytes, `timeout` in
    seconds. `inflight` messages of QoS 1 may be under way to a client at once, and `queued` more wait for it; what comes
    beyond that is lost. Raises InputError for an address that is not loopback, UnreachableError when no broker is installed
    here or it does not come up.
    """
    _check_loopback(host)
    if not 0 <= port <= 65535:
        raise InputError(f"{port} is no port: give one from 1 to 65535, or 0 for a free one")
    if kind is not None and kind not in get_args(Kind):
        raise InputError(f"no broker is called {kind!r}; known are {', '.join(get_args(Kind))}")
    chosen = next((k for k in ((kind,) if kind else get_args(Kind)) if find(k)), None)
    if chosen == "iotcore" and (inflight, queued) != (INFLIGHT, QUEUED):
        raise InputError("iotcore has queues of its own: `inflight` and `queued` are mosquitto's")
    if chosen is None:
        raise UnreachableError(f"no MQTT broker ({kind or 'mosquitto, iotcore'}) is installed here: {_INSTALL}")
    deadline = time.monotonic() + timeout
    for left in reversed(range(1 if port else _PORT_TRIES)):
        broker = Broker(chosen, host, port or _free_port(host), max_packet, inflight, queued)
        try:
            broker._wait_until_it_answers(deadline)
        except BaseException as error:
            broker.close()
            # Somebody else may have taken the free port between our look and the broker's bind.
            if not (left and isinstance(error, RemoteError) and "address already in use" in str(error).lower()):
                raise
        else:
            return broker
    raise AssertionError("the last try returns or raises")


def run(host: str = "127.0.0.1", port: int = 1883, *, kind: Kind | None = None, announce_json: bool = False) -> int:
    """Start a broker, say so in a line on standard output, and stay until Ctrl-C; returns the exit status.

    Raises what `start` raises, and UnreachableError when the broker ends by itself.
    """
    with start(host, port, kind=kind) as broker:
        ready = {"ready": True, "kind": broker.kind, "url": broker.url, "pid": broker.pid}
        print(json.dumps(ready) if announce_json else f"{broker.kind} listens on {broker.url}; Ctrl-C stops it", flush=True)
        try:
            broker.wait()
        except KeyboardInterrupt:
            return 0
        raise UnreachableError(broker._obituary())


class Broker:
    """A broker that runs as this process's child; a context manager that stops it."""

    kind: Kind
    """Which broker it is."""
    url: str
    """Where it listens: "mqtt://127.0.0.1:1883"."""
    pid: int
    """The broker's own process, to be killed in a test."""

    def __init__(self, kind: Kind, host: str, port: int, max_packet: int, inflight: int, queued: int) -> None:
        self.kind, self.host, self.port = kind, host, port
        self.url = f"mqtt://[{host}]:{port}" if ":" in host else f"mqtt://{host}:{port}"
        options = {
            "kind": kind, "program": find(kind), "host": host, "port": port, "max_packet": max_packet, "inflight": inflight,
            "queued": queued,
        }  # fmt: skip
        # Big payloads pass through malloc's mmap threshold; past it every message costs page faults.
        environment = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(512 << 20)} | os.environ
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter, our own module
            [sys.executable, "-P", "-m", "cloud_bridge.broker_child", json.dumps(options)],
            stdin=subprocess.PIPE,  # never written: it closes when this process ends, and the child watches it
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=True,  # Ctrl-C is for us; we stop the broker
        )
        self.pid = self._process.pid
        self._last_lines: deque[str] = deque(maxlen=5)
        self._reader = threading.Thread(target=self._read_log, name="broker-log", daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Broker {self.kind} {self.url} pid {self.pid}>"

    @property
    def running(self) -> bool:
        """Whether its process is there."""
        return self._process.poll() is None

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended; its exit status. Raises subprocess.TimeoutExpired after `timeout` seconds."""
        return self._process.wait(timeout)

    def kill(self) -> None:
        """End it as a power cut would (SIGKILL), and wait until it is gone."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Stop it. Safe to repeat."""
        if self.running:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(5.0)
            except subprocess.TimeoutExpired:
                self.kill()
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._reader.join()
        if self._process.stderr is not None:
            self._process.stderr.close()

    def _read_log(self) -> None:
        for line in self._process.stderr or ():
            text = line.decode("utf-8", "replace").strip()
            self._last_lines.append(text)
            _log.info("%s: %s", self.kind, text)

    def _obituary(self) -> str:
        self._reader.join(5.0)
        said = "; ".join(self._last_lines) or "it said nothing"
        return (
            f"the MQTT broker {self.kind} on {self.host}:{self.port} ended with status {self._process.returncode} ({said})"
        )

    def _wait_until_it_answers(self, deadline: float) -> None:
        while time.monotonic() < deadline:
            if not self.running:
                raise UnreachableError(self._obituary())
            if _answers(self.host, self.port) and self.running:
                return
            time.sleep(0.01)
        raise UnreachableError(f"the MQTT broker {self.kind} did not answer on {self.host}:{self.port} in time")


def _check_loopback(host: str) -> None:
    if not is_loopback(host):
        raise InputError(
            f"the embedded broker asks for no password, so it listens on loopback only, not on {host!r}: "
            "run a broker with users and TLS for other machines and give its URL"
        )


def _free_port(host: str) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def _answers(host: str, port: int) -> bool:
    """Whether an MQTT 5 broker accepts a CONNECT there (MQTT 5.0, 3.1 and 3.2)."""
    client = b"ready"
    variable = b"\0\4MQTT\5\2\0\x0a\0" + len(client).to_bytes(2, "big") + client  # clean start, keepalive 10 s
    try:
        with socket.create_connection((host, port), timeout=1.0) as link:
            link.sendall(b"\x10" + bytes([len(variable)]) + variable)
            answer = link.recv(64)
            link.sendall(b"\xe0\0")
    except OSError:
        return False
    return len(answer) >= 4 and answer[0] == 0x20 and answer[3] == 0
