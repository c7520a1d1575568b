"""The adapter of paho-mqtt: a device's link to an MQTT 5 broker.

The session outlives connections: the broker keeps what is said while the device is away. Each connection is a new client of
paho's: an old one would send again, by itself and unasked, what was under way before. What paho calls back never waits.
"""

from __future__ import annotations

import logging
import random
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from math import ceil
from typing import TYPE_CHECKING, Any

import msgspec

from cloud_bridge.agent.link import Down, Event, Heard, Said, Up, pause
from cloud_bridge.extra import required
from cloud_bridge.protocol.fleet.wire import LIMIT
from cloud_bridge.protocol.topics import Address
from edge_runtime.errors import InputError

if TYPE_CHECKING:
    from paho.mqtt.client import Client, MQTTMessage
    from paho.mqtt.properties import Properties
    from paho.mqtt.reasoncodes import ReasonCode

KEEPALIVE = 30
SESSION = 7 * 86_400
"""Seconds that a broker keeps what is said to a device that is away."""

_STEADY = 30.0
"""A connection that held for so long was none of a row of failures."""
_ANSWER = 20.0
_FILTERS = 8  # AWS IoT Core takes so many in one packet
_AROUND = 1024
_UNACKED = 32
_GLANCE_MS = 500
_log = logging.getLogger(__name__)


class Tls(msgspec.Struct, frozen=True):
    """A device's own certificate and key: files in PEM."""

    cert: str
    key: str


class PahoLink:
    """The port over paho-mqtt."""

    def __init__(self, address: Address, thing: str, filters: Sequence[str], *, own: Tls | None = None) -> None:
        """`thing` is the client's id, and the user's name where the address gives none but a password."""
        self._address, self._thing, self._filters = address, thing, tuple(filters)
        self._tls = _context(address, own)
        with required("an agent"):
            import paho.mqtt.client  # noqa: F401  its absence is told before anything begins
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._up: Client | None = None
        self._most = LIMIT
        self._number = 0
        self._last = ""

    def open(self, will: Callable[[], Said], tell: Callable[[Event], None]) -> None:
        """See Link."""
        self._will, self._tell = will, tell
        self._thread = threading.Thread(target=self._run, name="agent-link", daemon=True)
        self._thread.start()

    def say(self, message: Said) -> bool:
        """See Link."""
        client = self._up
        if client is None:
            return False
        if (size := len(message.payload) + len(message.topic) + _AROUND) > self._most:
            raise InputError(f"{message.topic} would have {size} bytes; this broker takes {self._most}")
        sent = client.publish(
            message.topic, message.payload, message.qos, message.retain, properties=_publish_properties(message)
        )
        return bool(sent.rc == 0)

    def ack(self, heard: Heard) -> None:
        """See Link."""
        client, (number, mid, qos) = self._up, heard.key
        if client is not None and number == self._number and qos:
            client.ack(mid, qos)

    def renew(self) -> None:
        """See Link."""
        if (client := self._up) is not None:
            client.disconnect()

    def close(self, farewell: Said | None = None, timeout: float = 2.0) -> None:
        """See Link."""
        self._closing.set()
        if (client := self._up) is not None:
            if farewell is not None:
                sent = client.publish(
                    farewell.topic,
                    farewell.payload,
                    farewell.qos,
                    farewell.retain,
                    properties=_publish_properties(farewell),
                )
                until = time.monotonic() + timeout
                while sent.rc == 0 and not sent.is_published() and self._up is client and time.monotonic() < until:
                    time.sleep(0.01)
            client.disconnect()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        failures = 0
        while not self._closing.is_set():
            begin = time.monotonic()
            self._down(self._connection())
            failures = 0 if time.monotonic() - begin > _STEADY else failures + 1
            self._closing.wait(pause(failures, random.random()))  # noqa: S311 - it spreads devices, no secret

    def _down(self, reason: str) -> None:
        self._up = None
        if not self._closing.is_set() and reason != self._last:
            _log.warning("%s: %s; it is tried again and again", self._address.name, reason)
            self._last = reason
        self._tell(Down(reason))

    def _connection(self) -> str:
        """One connection from beginning to end: why it ended."""
        self._number += 1
        once = _Connection(self._number, self._filters, self._tell, self._took)
        client = once.client(self._thing)
        if self._address.username is not None or self._address.password is not None:
            client.username_pw_set(self._address.username or self._thing, self._address.password)
        if self._tls is not None:
            client.tls_set_context(self._tls)
        will = self._will()
        client.will_set(will.topic, will.payload, will.qos, will.retain)
        try:
            client.connect(
                self._address.host, self._address.port, KEEPALIVE, clean_start=False, properties=_connect_properties()
            )
            return once.drive(client, self._closing)
        except (OSError, ValueError) as error:
            return f"it cannot be reached: {error}"
        except Exception as error:  # noqa: BLE001 - paho raises what a hostile packet makes of it
            return f"it does not speak MQTT 5: {error!r}"
        finally:
            self._up = None
            once.close()

    def _took(self, client: Client, most: int) -> None:
        self._last = ""
        self._most = most
        self._up = client
        if self._closing.is_set():
            client.disconnect()


class _Connection:
    """What paho calls back, on its own thread: nothing here waits."""

    def __init__(
        self, number: int, filters: Sequence[str], tell: Callable[[Event], None], took: Callable[[Client, int], None]
    ) -> None:
        self._number, self._filters, self._tell, self._took = number, filters, tell, took
        self._asked: dict[int, Sequence[str]] = {}
        self._refused: list[str] = []
        self._ready = False
        self._reason = "the connection ended"
        self._wake, self._waker = socket.socketpair()
        for each in (self._wake, self._waker):
            each.setblocking(False)

    def client(self, name: str) -> Client:
        """A client of paho's that tells this."""
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

        client = Client(
            CallbackAPIVersion.VERSION2, name, protocol=MQTTProtocolVersion.MQTTv5, manual_ack=True,
            reconnect_on_failure=False,
        )  # fmt: skip
        client.on_socket_open = _tune
        client.on_socket_register_write = self._to_write
        client.on_connect = self._connected
        client.on_subscribe = self._subscribed
        client.on_message = self._heard
        client.on_publish = self._published
        client.on_disconnect = self._disconnected
        return client

    def drive(self, client: Client, closing: threading.Event) -> str:
        """Read and write until it has ended: why. paho's own loops end at file 1024, which an application has."""
        begin = time.monotonic()
        while (sock := client.socket()) is not None:
            if not self._ready and (closing.is_set() or time.monotonic() - begin > _ANSWER):
                return "it takes the connection and says nothing"
            found = dict(_poll(sock, self._wake, write=client.want_write()))
            if self._wake.fileno() in found:
                self._wake.recv(4096)
            if found.get(sock.fileno(), 0) & ~select.POLLOUT:
                client.loop_read()
            if client.want_write():
                client.loop_write()
            client.loop_misc()
        return self._reason

    def close(self) -> None:
        """Free what it holds."""
        self._wake.close()
        self._waker.close()

    def _to_write(self, client: Client, data: Any, sock: Any) -> None:
        with suppress(OSError):  # it is awake already, or over
            self._waker.send(b"w")

    def _connected(self, client: Client, data: Any, flags: Any, code: ReasonCode, properties: Properties | None) -> None:
        if code.is_failure:
            self._reason = f"it does not let this device in: {code}"
            return
        most = getattr(properties, "MaximumPacketSize", None) or LIMIT + _AROUND
        for start in range(0, len(self._filters), _FILTERS):
            some = self._filters[start : start + _FILTERS]
            _, mid = client.subscribe([(each, 1) for each in some])
            if mid is not None:
                self._asked[mid] = some
        self._took(client, most)

    def _subscribed(self, client: Client, data: Any, mid: int, codes: list[ReasonCode], properties: Any) -> None:
        some = self._asked.pop(mid, ())
        self._refused += [each for each, code in zip(some, codes, strict=False) if code.is_failure]
        if not self._asked and not self._ready:
            self._ready = True
            for each in self._refused:
                _log.error("the broker does not let this device hear %s: look at its access list", each)
            self._tell(Up(tuple(self._refused)))

    def _heard(self, client: Client, data: Any, message: MQTTMessage) -> None:
        told = vars(message.properties) if message.properties is not None else {}
        self._tell(Heard(
            topic=message.topic, payload=bytes(message.payload), correlation=told.get("CorrelationData"),
            expiry=told.get("MessageExpiryInterval"), retained=message.retain, key=(self._number, message.mid, message.qos),
        ))  # fmt: skip

    def _published(self, client: Client, data: Any, mid: int, code: ReasonCode, properties: Any) -> None:
        if code.is_failure:
            _log.error("the broker did not take a message of this device: %s; look at its access list", code)

    def _disconnected(self, client: Client, data: Any, flags: Any, code: ReasonCode, properties: Any) -> None:
        if self._ready:
            self._reason = f"the connection ended: {code}"


def _poll(sock: Any, wake: socket.socket, *, write: bool) -> list[tuple[int, int]]:
    poll = select.poll()
    poll.register(sock, select.POLLIN | select.POLLOUT * write)
    poll.register(wake, select.POLLIN)
    return poll.poll(0 if isinstance(sock, ssl.SSLSocket) and sock.pending() else _GLANCE_MS) or (
        [(sock.fileno(), select.POLLIN)] if isinstance(sock, ssl.SSLSocket) and sock.pending() else []
    )


def _tune(client: Client, data: Any, sock: Any) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _context(address: Address, own: Tls | None) -> ssl.SSLContext | None:
    """Whom it trusts, and who it is. Raises InputError."""
    if not address.tls:
        if own is not None:
            raise InputError("a certificate is for a broker over TLS: write mqtts://")
        return None
    try:
        context = ssl.create_default_context(cafile=address.ca)
    except (OSError, ssl.SSLError) as error:
        raise InputError(f"ca {address.ca!r} is no file of certificates (PEM): {error}") from error
    if own is not None:
        try:
            context.load_cert_chain(own.cert, own.key)
        except (OSError, ssl.SSLError) as error:
            raise InputError(f"{own.cert} and {own.key} are no certificate and its key (PEM): {error}") from error
    return context


def _connect_properties() -> Properties:
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties

    told = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    told.SessionExpiryInterval = SESSION
    told.MaximumPacketSize = LIMIT + _AROUND
    told.ReceiveMaximum = _UNACKED
    return told


def _publish_properties(message: Said) -> Properties:
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties

    told = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    told.ContentType = message.form
    if message.expiry is not None:
        told.MessageExpiryInterval = max(1, ceil(message.expiry))
    if message.correlation is not None:
        told.CorrelationData = message.correlation
    if message.status:
        told.UserProperty = ("status", message.status)
    return told
