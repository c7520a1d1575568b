"""What the tests of enrolment share: a broker with the files that `fleet enroll` wrote, and clients that do what they
like.
"""

from __future__ import annotations

import getpass
import json
import queue
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from cloud_bridge import broker
from tests.endpoint import eventually
from tests.system.mqtt_parts import WAIT, need

HOST = "127.0.0.1"
PROGRAM = (sys.executable, "-c", "import sys; from cloud_bridge.cli import main; sys.exit(main(sys.argv[1:]))")
_TRIES = 5


def enroll(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """`cloud-bridge fleet enroll`, as an operator types it."""
    command = [*PROGRAM, "fleet", "enroll", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=4 * WAIT)


class Secured:
    """A fleet's folder, and Mosquitto with its files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = free(2)
        (folder.parent / f"{folder.name}-data").mkdir()
        options = ["--port", self.ports[0], "--control-port", self.ports[1], "--broker-folder", folder / "broker"]
        options += ["--broker-data", folder.parent / f"{folder.name}-data"]
        made = enroll("init", folder, "--broker-name", HOST, *map(str, options))
        assert made.returncode == 0, made.stderr
        self._process: subprocess.Popen[str] | None = None

    def add(self, *names: str, role: str = "device") -> None:
        """Certify these."""
        done = enroll("add", self.folder, *names, *([] if role == "device" else [f"--{role}"]))
        assert done.returncode == 0, done.stderr

    def run(self, name: str, instead: Mapping[str, str | Path]) -> list[str]:
        """What the holder of a name is told to run, with its files where they are, and these options otherwise."""
        done = enroll("renew", self.folder, name, "--json", "--at", self.files(name))
        assert done.returncode == 0, done.stderr
        (told,) = json.loads(done.stdout)
        program, *options = told["run"]
        assert program == "cloud-bridge"
        for option, value in instead.items():
            options[options.index(option) + 1] = str(value)
        return [*PROGRAM, *options]

    def files(self, name: str) -> Path:
        """Where a client's files lie."""
        return self.folder / "clients" / name

    def start(self) -> bool:
        """Whether it listens; else somebody was faster at its ports."""
        program = broker.find(need("mosquitto"))
        assert program
        config = self.folder.parent / f"{self.folder.name}.conf"
        mine = f"user {getpass.getuser()}\nlog_type information\n"
        config.write_text(mine + (self.folder / "broker" / "mosquitto.conf").read_text())
        with (self.folder.parent / f"{self.folder.name}.log").open("w") as log:
            self._process = subprocess.Popen([program, "-c", str(config)], stderr=log, text=True)
        eventually(lambda: self._ended() or " running\n" in self.log, "the broker does not begin", WAIT)
        return not self._ended()

    def stop(self) -> None:
        """As systemd does."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(WAIT)

    def reload(self) -> None:
        """As `systemctl reload` does."""
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    @property
    def log(self) -> str:
        """What the broker said."""
        return (self.folder.parent / f"{self.folder.name}.log").read_text()

    def _ended(self) -> bool:
        return self._process is None or self._process.poll() is not None


@contextmanager
def secured(folder: Path, names: Mapping[str, Sequence[str]]) -> Iterator[Secured]:
    """A broker that listens, for these names by their roles; stopped at the end."""
    for again in range(_TRIES):
        made = Secured(folder / f"fleet-{again}")
        try:
            for role, some in names.items():
                made.add(*some, role=role)
            if made.start():
                yield made
                return
        finally:
            made.stop()
    raise AssertionError(f"the broker does not start: {made.log}")


class Peer:
    """A client with some certificate, which says and asks to hear what it likes."""

    def __init__(
        self, at: Secured, port: int, files: Path | None, name: str = "peer", *, will: str = "", session: int = 0
    ) -> None:  # fmt: skip
        self.heard: queue.Queue[MQTTMessage] = queue.Queue()
        self.kept: queue.Queue[MQTTMessage] = queue.Queue()
        """What was said before it asked."""
        self.ended: queue.Queue[str] = queue.Queue()
        self._answers: queue.Queue[Sequence[int]] = queue.Queue()
        self._let_in: queue.Queue[int] = queue.Queue()
        self._client = client = Client(CallbackAPIVersion.VERSION2, name, protocol=MQTTProtocolVersion.MQTTv5)
        context = ssl.create_default_context(cafile=str(at.folder / "broker" / "control.pem"))
        if files is not None:
            context.load_cert_chain(files / "cert.pem", files / "key.pem")
        client.tls_set_context(context)
        if will:
            client.will_set(will, b"will", 1, True)
        client.on_connect = lambda client, data, flags, code, properties: self._let_in.put(code.value)
        client.on_message = lambda client, data, message: (self.kept if message.retain else self.heard).put(message)
        client.on_subscribe = lambda client, data, mid, codes, properties: self._answers.put([c.value for c in codes])
        client.on_publish = lambda client, data, mid, code, properties: self._answers.put([code.value])
        client.on_disconnect = lambda client, data, flags, code, properties: self.ended.put(str(code))
        client.reconnect_delay_set(3600, 3600)
        told = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        told.SessionExpiryInterval = session
        client.connect(HOST, port, properties=told, clean_start=not session)
        client.loop_start()

    def __enter__(self) -> Self:
        assert self.code() == 0
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def drop(self) -> None:
        """End as a power cut ends it: the broker says the will."""
        sock = self._client.socket()
        assert isinstance(sock, ssl.SSLSocket)
        sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Leave."""
        self._client.disconnect()
        self._client.loop_stop()

    def code(self) -> int:
        """Of the broker's answer to its CONNECT."""
        return self._let_in.get(timeout=WAIT)

    def say(self, topic: str, payload: bytes = b"{}", *, retain: bool = False, **told: Any) -> int:
        """Publish: the code of the broker's acknowledgement."""
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        for name, value in told.items():
            setattr(properties, name, value)
        self._client.publish(topic, payload, 1, retain, properties)
        return self._answers.get(timeout=WAIT)[0]

    def ask(self, *filters: str) -> Sequence[int]:
        """Subscribe: the codes of the broker's answer."""
        self._client.subscribe([(each, 1) for each in filters])
        return self._answers.get(timeout=WAIT)

    def next(self) -> tuple[str, bytes]:
        """The next message."""
        message = self.heard.get(timeout=WAIT)
        return message.topic, bytes(message.payload)


def refused(at: Secured, port: int, files: Path | None) -> bool:
    """Whether a client with these files is not let in, by TLS or by the broker. With TLS 1.3 it may learn so late."""
    try:
        peer = Peer(at, port, files)
    except OSError:
        return True
    try:
        eventually(lambda: not peer.ended.empty() or not peer._let_in.empty(), "neither in nor out", WAIT)
        return peer._let_in.empty() or peer.code() != 0
    finally:
        peer.close()


def free(count: int) -> list[int]:
    """Ports that nobody has now."""
    sockets = [socket.create_server((HOST, 0)) for _ in range(count)]
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports
