"""One connection of paho-mqtt's, from its CONNECT to its end. What paho calls back never waits.

Each connection is a new client of paho's: an old one would send again, by itself and unasked, what was under way before.
"""

from __future__ import annotations

import logging
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from math import ceil
from typing import TYPE_CHECKING, Any, cast

from cloud_bridge.control.link import Event, Heard, Said, Taken, Up
from cloud_bridge.protocol import fields
from cloud_bridge.protocol.fields import About
from cloud_bridge.protocol.fleet.rpc import STATUS
from cloud_bridge.protocol.fleet.wire import LIMIT, PACKET

if TYPE_CHECKING:
    from paho.mqtt.client import Client, MQTTMessage
    from paho.mqtt.properties import Properties
    from paho.mqtt.reasoncodes import ReasonCode

AGAIN = "the broker takes another number of messages at once"

_ANSWER = 20.0
_FILTERS = 8  # AWS IoT Core takes so many in one packet
_GLANCE_MS = 500
_NUMBERS = 1 << 16
_log = logging.getLogger(__name__)


class Terms:
    """What the broker takes, as it told last."""

    def __init__(self, window: int) -> None:
        self.wanted = window
        self.window = min(window, 20)
        """Messages that may be under way at once: what paho, and a broker that was not asked, begin with."""
        self.largest = LIMIT

    def learn(self, properties: Properties | None) -> bool:
        """From a CONNACK. Whether the connection can stay: paho learns no other window in the middle of one."""
        self.largest = getattr(properties, "MaximumPacketSize", None) or PACKET
        before, self.window = self.window, min(self.wanted, getattr(properties, "ReceiveMaximum", None) or 65535)
        return self.window == before


class Connection:
    """What paho calls back, on its own thread: nothing here waits. `took` is called once letters can be sent."""

    def __init__(
        self, number: int, filters: Sequence[str], terms: Terms, tell: Callable[[Event], None],
        took: Callable[[Connection], None],
    ) -> None:  # fmt: skip
        self.number, self._filters, self._terms, self._tell, self._took = number, filters, terms, tell, took
        self._asked: dict[int, Sequence[str]] = {}
        self._refused: list[str] = []
        self._ready = False
        self._reason = "the connection ended"
        self._wake, self._waker = socket.socketpair()
        for each in (self._wake, self._waker):
            each.setblocking(False)

    def begin(self, name: str) -> Client:
        """A client of paho's that tells this."""
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

        self.client = client = Client(
            CallbackAPIVersion.VERSION2, name, protocol=MQTTProtocolVersion.MQTTv5, manual_ack=True,
            reconnect_on_failure=False,
        )  # fmt: skip
        client.max_inflight_messages_set(self._terms.window)
        client.on_socket_open = _tune
        client.on_socket_register_write = self._to_write
        client.on_connect = self._connected
        client.on_subscribe = self._subscribed
        client.on_message = self._heard
        client.on_publish = self._published
        client.on_disconnect = self._disconnected
        return client

    def drive(self, closing: threading.Event) -> str:
        """Read and write until it has ended: why. paho's own loops end at file 1024, which an application has."""
        begin, client = time.monotonic(), self.client
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

    def say(self, message: Said) -> int:
        """See Link."""
        sent = self.client.publish(
            message.topic, message.payload, message.qos, message.retain, properties=_properties(message)
        )
        return self.number * _NUMBERS + sent.mid if sent.rc == 0 else 0

    def finish(self, farewell: Said | None, timeout: float) -> None:
        """Say a last word, and leave on purpose."""
        if farewell is not None:
            sent = self.client.publish(
                farewell.topic, farewell.payload, farewell.qos, farewell.retain, properties=_properties(farewell)
            )
            until = time.monotonic() + timeout
            while sent.rc == 0 and not sent.is_published() and self.client.is_connected() and time.monotonic() < until:
                time.sleep(0.01)
        self.client.disconnect()

    def close(self) -> None:
        """Free what it holds."""
        self._wake.close()
        self._waker.close()

    def _to_write(self, client: Client, data: Any, sock: Any) -> None:
        with suppress(OSError):  # it is awake already, or over
            self._waker.send(b"w")

    def _connected(self, client: Client, data: Any, flags: Any, code: ReasonCode, properties: Properties | None) -> None:
        if code.is_failure:
            self._reason = f"it does not let this client in: {code}"
            return
        if not self._terms.learn(properties):
            self._reason = AGAIN
            client.disconnect()
            return
        for start in range(0, len(self._filters), _FILTERS):
            some = self._filters[start : start + _FILTERS]
            _, mid = client.subscribe([(each, 1) for each in some])
            if mid is not None:
                self._asked[mid] = some
        self._took(self)
        if not self._filters:
            self._is_ready()

    def _subscribed(self, client: Client, data: Any, mid: int, codes: list[ReasonCode], properties: Any) -> None:
        some = self._asked.pop(mid, ())
        self._refused += [each for each, code in zip(some, codes, strict=False) if code.is_failure]
        if not self._asked and not self._ready:
            self._is_ready()

    def _is_ready(self) -> None:
        self._ready = True
        for each in self._refused:
            _log.error("the broker does not let this client hear %s: look at its access list", each)
        self._tell(Up(tuple(self._refused)))

    def _heard(self, client: Client, data: Any, message: MQTTMessage) -> None:
        told = vars(message.properties) if message.properties is not None else {}
        self._tell(Heard(
            topic=message.topic, payload=bytes(message.payload), correlation=told.get("CorrelationData"),
            status=dict(told.get("UserProperty", ())).get(STATUS, ""), expiry=told.get("MessageExpiryInterval"),
            retained=message.retain, key=(self.number, message.mid, message.qos),
        ))  # fmt: skip

    def _published(self, client: Client, data: Any, mid: int, code: ReasonCode, properties: Any) -> None:
        refused = str(code) if code.is_failure else ""
        if refused:
            _log.error("the broker did not take a message of this client: %s; look at its access list", refused)
        self._tell(Taken(self.number * _NUMBERS + mid, refused))

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


def _properties(message: Said) -> Properties:
    about = About(
        None if message.expiry is None else max(1, ceil(message.expiry)), message.form, message.reply, message.correlation,
        ((STATUS, message.status),) if message.status else (),
    )  # fmt: skip
    return cast("Properties", _Written(fields.properties(about)))


class _Written:
    """A publication's properties, written already: paho's own take longer than all else of a message."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def pack(self) -> bytes:
        """See Properties."""
        return self._data
