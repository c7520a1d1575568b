"""A link to a broker, by paho-mqtt: what it acknowledges, what it does not send, and peers that are no brokers."""

from __future__ import annotations

import queue
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest
import trustme

from cloud_bridge import broker
from cloud_bridge.broker import Broker
from cloud_bridge.control.link import Down, Event, Heard, Said, Taken, Up
from cloud_bridge.control.paho import PahoLink
from cloud_bridge.protocol.topics import Address
from edge_runtime.errors import InputError
from tests.system.mqtt_parts import WAIT, Stranger, need

WILL = Said(topic="will", payload=b"gone")
_Kind = TypeVar("_Kind", Up, Down, Heard, Taken)


@pytest.fixture(scope="module")
def running() -> Iterator[Broker]:
    """A broker that takes small packets."""
    with broker.start(kind=need("mosquitto"), max_packet=4096) as started:
        yield started


class Opened:
    """A link, and what it tells."""

    def __init__(self, link: PahoLink) -> None:
        self.link = link
        self.events: queue.Queue[Event] = queue.Queue()
        self.wills = 0
        link.open(self._will, self.events.put)

    def _will(self) -> Said:
        self.wills += 1
        return WILL

    def next(self, kind: type[_Kind]) -> _Kind:
        """The next event of this kind."""
        while not isinstance(event := self.events.get(timeout=WAIT), kind):
            pass
        return event


@contextmanager
def opened(url: str, *filters: str, thing: str = "thing") -> Iterator[Opened]:
    """A link, closed at the end."""
    made = Opened(PahoLink(Address.parse(url), thing, filters))
    try:
        yield made
    finally:
        made.link.close()


def test_what_was_not_acknowledged_comes_again(running: Broker) -> None:
    """On the next connection; what was, does not. And what is said meanwhile waits."""
    with Stranger(running) as stranger, opened(running.url, "told/+", thing="acks") as device:
        assert device.next(Up) == Up()
        for topic in ("told/a", "told/b"):
            stranger._client.publish(topic, topic.encode(), 1)
        first, second = device.next(Heard), device.next(Heard)
        assert (first.payload, second.payload) == (b"told/a", b"told/b")
        device.link.ack(first)
        device.link.renew()
        device.next(Down)
        stranger._client.publish("told/c", b"told/c", 1)
        again = {device.next(Heard).payload for _ in range(2)}
        assert again == {b"told/b", b"told/c"}
        device.link.ack(second)  # of a connection that is over: for nobody
        assert device.wills == 2


def test_what_is_too_large_for_the_broker_is_not_sent(running: Broker) -> None:
    """It would end the connection, again and again."""
    with Stranger(running, "said") as stranger, opened(running.url, "x", thing="large") as device:
        device.next(Up)
        with pytest.raises(InputError, match="takes 4096"):
            device.link.say(Said(topic="said", payload=b"x" * 5000))
        assert device.link.say(Said(
            topic="said", payload=b"small", expiry=9.2, correlation=b"c", status="200", form="text/plain"
        ))  # fmt: skip
        heard = stranger.hear()
        assert (heard.payload, heard.correlation, heard.told, heard.content_type) == (
            b"small", b"c", {"status": "200"}, "text/plain",
        )  # fmt: skip
        assert heard.expiry is not None
        assert 8 <= heard.expiry <= 10


def test_it_is_told_what_the_broker_has_taken(running: Broker) -> None:
    """By the number that it was given when it was said, for more at once than may be under way."""
    with opened(running.url, "x", thing="taken") as device:
        device.next(Up)
        said = [device.link.say(Said(topic="said", payload=b"x")) for _ in range(100)]
        assert sorted(device.next(Taken).number for _ in said) == said


def test_a_window_is_what_the_broker_takes() -> None:
    """One that takes fewer at once than paho sends would end the connection; one that takes more is made use of."""

    def handshakes(window: int | None, wanted: int) -> int:
        told = b"" if window is None else b"\x21" + window.to_bytes(2, "big")
        connections = []

        def grant(connection: socket.socket) -> None:
            connections.append(connection.recv(1000))
            connection.sendall(b"\x20" + bytes([3 + len(told)]) + b"\x00\x00" + bytes([len(told)]) + told)
            if asked := connection.recv(1000):
                if asked[0] == 0xE0:
                    return
                connection.sendall(b"\x90\x04" + asked[2:4] + b"\x00\x01")
                connection.recv(1000)

        with peer(grant) as url:
            made = Opened(PahoLink(Address.parse(url), "window", ["x"], window=wanted))
            made.next(Up)
            made.link.close()
        return len(connections)

    assert handshakes(20, 20) == 1
    assert handshakes(5, 20) == 2
    assert handshakes(None, 1000) == 2
    assert handshakes(None, 20) == 1


def test_a_farewell_is_said_and_the_will_is_not(running: Broker) -> None:
    """Where the link is closed; where its process dies it is the other way round (test_agent.py)."""
    with Stranger(running, "will", "bye") as stranger:
        device = Opened(PahoLink(Address.parse(running.url), "leaves", ["x"]))
        device.next(Up)
        device.link.close(Said(topic="bye", payload=b"bye"))
        assert stranger.hear().payload == b"bye"
        assert not device.link.say(WILL)
        assert stranger.heard.empty()


def test_it_works_past_file_number_1024(running: Broker) -> None:
    """As an application's process may come to."""
    import resource

    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < 1400:
        pytest.skip("this process may not open so many files")
    files = [socket.socket() for _ in range(1100)]
    try:
        with opened(running.url, "x", thing="many") as device:
            device.next(Up)
            assert device.link.say(WILL)
    finally:
        for each in files:
            each.close()


@contextmanager
def peer(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """Something that listens where a broker should; its address."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    answer(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"mqtt://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
    thread.join()


@pytest.mark.parametrize(
    "answer",
    [
        b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x20\x03\x00\x87\x00", b"\x20\x02\x00\x01", b"\xff" * 64,
        b"\x20\xff\xff\xff\xff\xff", b"\x20\x03\x00\x00\x05", b"\x90\x03\x00\x01\x00", b"\x20\x03\x00\x00\x00\xf0\x00",
    ],
    ids=["nothing", "http", "not-authorized", "mqtt-3", "ones", "length", "cut", "suback", "auth"],
)  # fmt: skip
def test_what_is_no_broker_is_told_and_tried_again(answer: bytes) -> None:
    """Whatever it says."""

    def say(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(answer)

    with peer(say) as url, opened(url, "x") as device:
        assert device.next(Down).reason
        assert device.next(Down).reason
        assert device.wills >= 2


def test_a_filter_that_is_not_granted_is_told() -> None:
    """By its name: the device goes on with the others."""

    def grant_one(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(b"\x20\x03\x00\x00\x00")
        asked = connection.recv(1000)
        connection.sendall(b"\x90\x05" + asked[2:4] + b"\x00\x01\x87")
        connection.recv(1000)

    with peer(grant_one) as url, opened(url, "mine", "others") as device:
        assert device.next(Up) == Up(("others",))


def test_a_broker_that_wants_certificates_gets_one(tmp_path: Path) -> None:
    """And a device without, or with one that another authority signed, is told that it is not let in."""
    need("mosquitto")
    authority, stranger = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    server = authority.issue_cert("127.0.0.1")
    server.cert_chain_pems[0].write_to_path(tmp_path / "server.pem")
    server.private_key_pem.write_to_path(tmp_path / "server.key")
    owns = []
    for name, ca in (("device", authority), ("thief", stranger)):
        issued = ca.issue_cert("press-17")
        issued.cert_chain_pems[0].write_to_path(tmp_path / f"{name}.pem")
        issued.private_key_pem.write_to_path(tmp_path / f"{name}.key")
        owns.append(f"&cert={tmp_path}/{name}.pem&key={tmp_path}/{name}.key")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (tmp_path / "mosquitto.conf").write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\nuser root\nrequire_certificate true\ncafile {tmp_path}/ca.pem\n"
        f"certfile {tmp_path}/server.pem\nkeyfile {tmp_path}/server.key\n"
    )
    url = f"mqtts://127.0.0.1:{port}?ca={tmp_path}/ca.pem"
    program = broker.find("mosquitto")
    assert program
    with subprocess.Popen([program, "-c", str(tmp_path / "mosquitto.conf")], stderr=subprocess.DEVNULL) as process:
        try:
            with opened(url + owns[0], "x") as device:
                device.next(Up)
            for wrong in ("", owns[1]):
                with opened(url + wrong, "x") as device:
                    assert device.next(Down).reason
                    for name in ("pem", "key") if wrong else ():  # it is given the right one, and not started again
                        (tmp_path / f"device.{name}").replace(tmp_path / f"thief.{name}")
                    if wrong:
                        device.next(Up)
        finally:
            process.terminate()


def test_files_that_are_no_certificates_are_told(tmp_path: Path) -> None:
    """Before anything is tried."""
    (tmp_path / "no.pem").write_text("no")
    no = tmp_path / "no.pem"
    for url, reason in (
        (f"mqtts://h?ca={no}", "PEM"), (f"mqtts://h?cert={no}&key={no}", "no certificate"),
        (f"mqtt://h?cert={no}&key={no}", "mqtts"), ("mqtt://h?thing=other", "this is thing"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=reason):
            PahoLink(Address.parse(url), "thing", [])
