"""MQTT where the broker itself is the trouble: it says no, it says nonsense, it stops reading."""

from __future__ import annotations

import os
import resource
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trustme

from cloud_bridge import broker, mqtt
from cloud_bridge.client.mqtt import MqttRemote
from cloud_bridge.endpoint.jobs import Answer
from cloud_bridge.endpoint.mqtt import Worker
from cloud_bridge.protocol.oip import InferRequest, InferResponse, decode_request, encode_response
from edge_runtime.errors import CancelledError, InputError, UnreachableError
from tests.endpoint import eventually
from tests.system.mqtt_parts import WAIT, HeldService, Stranger, call, need, soon


def why(remote: MqttRemote) -> str:
    """Why the remote cannot send."""
    with pytest.raises(UnreachableError) as caught:
        remote.send(call(), deadline=soon())
    return str(caught.value)


@contextmanager
def mosquitto_with(folder: Path, **files: str) -> Iterator[int]:
    """A mosquitto of somebody else's with this `config` and these files in `folder`; its port on 127.0.0.1."""
    need("mosquitto")
    program = broker.find("mosquitto")
    assert program is not None
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    for name, text in files.items():
        (folder / name).write_text(text)
    # Run as root, it gives its rights up and could not read the files any more.
    (folder / "config").write_text(f"user {os.environ.get('USER', 'root')}\nlistener {port} 127.0.0.1\n" + files["config"])
    with subprocess.Popen([program, "-c", str(folder / "config")], stderr=subprocess.DEVNULL) as process:
        try:
            eventually(lambda: _listens(port), "mosquitto does not come up")
            yield port
        finally:
            process.kill()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1.0).close()
    except OSError:
        return False
    return True


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[int]:
    """A broker that knows two users: `camera` with all rights, `guest` with none."""
    need("mosquitto")
    passwords = tmp_path / "passwords"
    passwords.touch()
    for user in ("camera", "guest"):
        subprocess.run(
            ["mosquitto_passwd", "-b", passwords, user, f"pass:{user}"], check=True, env={"PATH": "/usr/bin:/usr/sbin"}
        )
    config = f"allow_anonymous false\npassword_file {passwords}\nacl_file {tmp_path / 'rights'}\n"
    rights = "user camera\ntopic readwrite #\ntopic readwrite $share/#\n"
    with mosquitto_with(tmp_path, config=config, rights=rights) as port:
        yield port


def test_a_wrong_password(guarded: int) -> None:
    """A broker that refuses the user is no connection, and the reason is told without the password."""
    with closing(MqttRemote(f"mqtt://camera:wrong@127.0.0.1:{guarded}")) as remote:
        eventually(lambda: "Not authorized" in why(remote), "the refusal is not told")
        assert "wrong" not in why(remote) + remote.name
        assert not remote.health(0.1)


def test_the_right_password(guarded: int) -> None:
    """Credentials in the URL are used, percent-encoded as URLs have them."""
    with closing(MqttRemote(f"mqtt://camera:pass%3Acamera@127.0.0.1:{guarded}")) as remote:
        eventually(remote.up, "not connected")


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    """A folder with an authority, and a certificate of it for 127.0.0.1."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    server = authority.issue_cert("127.0.0.1")
    server.private_key_pem.write_to_path(tmp_path / "server.key")
    server.cert_chain_pems[0].write_to_path(tmp_path / "server.pem")
    (tmp_path / "names").write_text("no certificate\n")
    return tmp_path


def test_tls(certificates: Path) -> None:
    """mqtts:// verifies the broker: with its authority tensors go there and back, without it says why not."""
    here = certificates
    config = f"allow_anonymous true\ncertfile {here / 'server.pem'}\nkeyfile {here / 'server.key'}\n"
    with mosquitto_with(here, config=config) as port:
        url = f"mqtts://127.0.0.1:{port}"
        trusting, service = f"{url}?ca={here / 'ca.pem'}", HeldService()
        with closing(MqttRemote(trusting)) as remote, closing(Worker(trusting, service)) as worker:  # type: ignore[arg-type]
            worker.start(WAIT)
            assert remote.health(WAIT)
            asked = call(1_000_000)
            pending = remote.send(asked, deadline=soon())
            *_, message, future = service.asked.get(timeout=WAIT)
            given = InferResponse("double", decode_request(message).inputs)
            future.set_result(Answer(200, encode_response(given, InferRequest({}, binary=True))))
            np.testing.assert_array_equal(pending.result(WAIT).outputs["x"], asked.inputs["x"])
        with closing(MqttRemote(url)) as remote:
            eventually(lambda: "certificate verify failed" in why(remote), "the reason is not told")
        with pytest.raises(InputError, match="certificates"):
            MqttRemote(f"{url}?ca={here / 'names'}")
        with pytest.raises(InputError, match="certificates"):
            MqttRemote(f"{url}?ca={here / 'nothing'}")


class FalseBroker:
    """Accepts MQTT 5 connections, confirms what it is asked with these reasons, says something, and reads no more."""

    def __init__(self, *, connack: int = 0, suback: int = 0, properties: bytes = b"", says: tuple[bytes, ...] = ()) -> None:
        self._answers = bytes([0x20, 3 + len(properties), 0, connack, len(properties)]) + properties, suback
        self._says = says
        self._server = socket.create_server(("127.0.0.1", 0))
        self._links: list[socket.socket] = []
        self.url = f"mqtt://127.0.0.1:{self._server.getsockname()[1]}"
        self.said = 0
        self.mute = False
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        for each in (self._server, *self._links):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        for each in (self._server, *self._links):
            each.close()

    def _serve(self) -> None:
        while True:
            try:
                link, _ = self._server.accept()
            except OSError:
                return
            self._links.append(link)
            with suppress(OSError):
                self._serve_one(link)

    def _serve_one(self, link: socket.socket) -> None:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connack, suback = self._answers
        if not link.recv(4096) or self.mute:
            return
        link.sendall(connack)
        subscribe = link.recv(4096)
        if len(subscribe) < 4:
            return
        start = 3 if subscribe[1] > 127 else 2
        link.sendall(b"\x90\x05" + subscribe[start : start + 2] + bytes([0, suback, suback]))
        if self.said < len(self._says):
            link.sendall(self._says[self.said])
            self.said += 1
            link.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short waits between tries to connect."""
    monkeypatch.setattr(mqtt, "RECONNECT", (0.01, 0.02))


def test_a_refused_subscription() -> None:
    """A client that may not hear its answers does not count as connected, and tells which subscription was refused."""
    with closing(FalseBroker(suback=0x87)) as false, closing(MqttRemote(f"{false.url}?thing=me")) as remote:
        eventually(
            lambda: "refuses the subscription of edge/v1/things/me/infer-rsp: Not authorized" in why(remote), "not told"
        )


def test_a_broker_that_says_nothing(hasty: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection on which nothing comes is given up and tried again, until somebody answers."""
    monkeypatch.setattr(mqtt, "HANDSHAKE", 0.05)
    with closing(FalseBroker()) as false:
        false.mute = True
        with closing(MqttRemote(false.url)) as remote:
            eventually(lambda: "no answer within" in why(remote), "not told")
            false.mute = False
            eventually(remote.up, "not connected")


def test_no_shared_subscriptions() -> None:
    """A broker without shared subscriptions can't have workers, and they say so."""
    with closing(FalseBroker(properties=b"\x2a\x00")) as false, closing(Worker(false.url, HeldService())) as worker:  # type: ignore[arg-type]
        worker.start(0.0)
        eventually(lambda: "no shared subscriptions" in worker._link.why, "not told")


def publication(topic: bytes, properties: bytes, payload: bytes = b"x") -> bytes:
    """A PUBLISH packet of these parts."""
    body = struct.pack("!H", len(topic)) + topic + bytes([len(properties)]) + properties + payload
    return bytes([0x30, len(body)]) + body


def test_nonsense(hasty: None) -> None:
    """Malformed packets cost a connection at most: the client's thread lives and connects again."""
    says = (
        publication(b"\xff\xfe", b""),
        publication(b"a", b"\x26\0\1\xff\0\1\xff"),
        publication(b"a", b"\x7f\1\2"),
        publication(b"a", b"\x26\0\x32\1"),
        publication(b"a", b"\x09\0\xc8\1"),
        b"\x30\1\0",
        b"\x30\0",
        b"\x40\1\1",
        b"\x90\1\0",
        b"\xf0\0",
        b"\xe0\1\xfa",
        b"\x30\xff\xff\xff\xff\xff",
    )
    with closing(FalseBroker(says=says)) as false, closing(MqttRemote(false.url)) as remote:
        eventually(lambda: false.said == len(says), "the client has given up")
        eventually(remote.up, "not connected again")


def test_a_link_that_stands_still() -> None:
    """What a full link holds back is not sent when it is cancelled, and what has left of the first call is counted."""
    with closing(FalseBroker()) as false, closing(MqttRemote(false.url)) as remote:
        eventually(remote.up, "not connected")
        first = remote.send(call(5_000_000), deadline=soon(300))
        second = remote.send(call(1_000), deadline=soon(300))
        assert second.cancel() == 0
        assert 0 <= first.cancel() < 20_000_000
        for pending in (first, second):
            with pytest.raises(CancelledError):
                pending.result(1)


def test_many_open_files(hasty: None) -> None:
    """A process that has more files open than select() knows connects like any other."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2048:
        pytest.skip("this process may not open 2,048 files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), hard))
    files: list[Any] = []
    try:
        files += [open(os.devnull) for _ in range(1100)]  # noqa: SIM115 - closed below, all of them
        with closing(FalseBroker()) as false, closing(MqttRemote(false.url)) as remote:
            eventually(remote.up, "not connected")
    finally:
        for file in files:
            file.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_the_news_of_a_lost_worker_is_kept(tmp_path: Path) -> None:
    """Who comes later hears from the broker which workers are ready, for as long as they are."""
    with broker.start(kind=need("mosquitto")) as running, closing(Worker(running.url, HeldService())) as worker:  # type: ignore[arg-type]
        worker.start(WAIT)
        with Stranger(running, "edge/v1/workers/+/status") as stranger:
            heard = stranger.hear()
            assert heard.topic == f"edge/v1/workers/{worker.id}/status"
            assert b'"state":"ready"' in heard.payload
            assert heard.expiry is None
            worker.close()
            heard = stranger.hear()
            assert b'"state":"disconnected"' in heard.payload
            assert heard.expiry is not None
