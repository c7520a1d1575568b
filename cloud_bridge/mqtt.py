"""One connection to an MQTT 5 broker, as both ends of the bridge use it: a queue of letters out, a callback for letters in.

paho-mqtt speaks the protocol, on a thread of its own. What is added here:
- An outbox (see there), and nothing kept for a later connection: when it is lost, the owners of letters are told at once.
- TCP_NODELAY, which paho leaves off; reconnecting for ever with full jitter; the broker's limits kept before it has to
  cut us off for breaking them; a subscription that the broker refuses counts as no connection.
- QoS 0 everywhere: the device gives a call up or tries again by its budget, and a redelivery would come too late.
"""

from __future__ import annotations

import contextlib
import logging
import random
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, cast

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from cloud_bridge.letter import Incoming, Letter, pack
from cloud_bridge.outbox import LARGEST_PACKET, Outbox
from cloud_bridge.protocol.topics import Address
from edge_runtime.errors import InputError

RECONNECT = (0.25, 1.0)
"""Seconds: the first and the longest upper bound of the random wait before the next try to connect. Not longer: that a
link is back is to be noticed within two seconds, and a try costs one packet."""

HANDSHAKE = 10.0
"""Seconds from a connection to its confirmed subscriptions; paho would wait for them as long as for a keepalive."""

_KEEPALIVE = 20  # seconds; a broker that says nothing for so long is lost. rumqttd refuses 0
_UNACKNOWLEDGED = 2_000  # ms that sent bytes may stay unacknowledged before the kernel calls the connection lost
_SELECTABLE = 1024  # paho waits with select(), which knows no higher file descriptor

_log = logging.getLogger(__name__)


class Link:
    """The connection. It opens in the background; `up` is set while letters can be sent and are heard.

    `hear(message)`, `rise()` and `fall(why)` are called on paho's thread; they must neither block nor raise.
    """

    def __init__(
        self,
        address: Address,
        client_id: str,
        subscriptions: Sequence[str],
        *,
        hear: Callable[[Incoming], None],
        rise: Callable[[], None] = lambda: None,
        fall: Callable[[str], None] = lambda why: None,
        will: Letter | None = None,
    ) -> None:
        self.address = address
        self.up = threading.Event()
        self._subscriptions = [(topic, 0) for topic in subscriptions]
        self._hear, self._rise, self._fall = hear, rise, fall
        self._largest = LARGEST_PACKET
        self._tries = 0
        self._suback: int | None = None
        self._refusal: str | None = None
        self._closed = False
        self._handshake = threading.Timer(0.0, lambda: None)
        self._client = self._make_client(client_id, will)
        self._outbox = Outbox(self._client, address.name)

    def open(self) -> None:
        """Start connecting, and go on for ever until `close`."""
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = 0
        self._client.connect_async(
            self.address.host, self.address.port, _KEEPALIVE, clean_start=True, properties=properties
        )
        self._client.loop_start()

    def post(self, letter: Letter) -> None:
        """See `Outbox.post`."""
        self._outbox.post(letter)

    def take_back(self, letter: Letter) -> int:
        """See `Outbox.take_back`."""
        return self._outbox.take_back(letter)

    def uploading(self, letter: Letter) -> float | None:
        """See `Outbox.uploading`."""
        return self._outbox.uploading(letter)

    @property
    def why(self) -> str:
        """Why nothing can be sent, while `up` is not set."""
        return self._outbox.why

    def unsubscribe(self) -> None:
        """Hear no more; letters can still be sent."""
        self._client.unsubscribe([topic for topic, _ in self._subscriptions])

    def close(self, last: Letter | None = None) -> None:
        """Say goodbye and stop; with `last`, send what waits and then that before. Safe to repeat."""
        if self._closed:
            return
        self._closed = True
        leaving = self._outbox.finish(last, f"{self.address.name}: closed")
        self.up.clear()
        self._handshake.cancel()
        self._client.disconnect()
        if leaving and last is None:  # a goodbye would wait behind a letter that nobody wants any more
            self._shut_down()
        # paho joins its thread, which may be in the middle of connecting to a host that does not answer.
        stopper = threading.Thread(target=self._stop, name="mqtt-stop", daemon=True)
        stopper.start()
        stopper.join(2.0)

    def _stop(self) -> None:
        self._client.loop_stop()
        self._client._reset_sockets()  # it would close those that wake its thread when it is collected, not before

    def _make_client(self, client_id: str, will: Letter | None) -> Client:
        client = Client(CallbackAPIVersion.VERSION2, client_id, protocol=MQTTProtocolVersion.MQTTv5)
        if self.address.username is not None:
            client.username_pw_set(self.address.username, self.address.password)
        if self.address.tls:
            try:
                client.tls_set_context(ssl.create_default_context(cafile=self.address.ca))
            except (OSError, ssl.SSLError) as error:
                raise InputError(f"ca {self.address.ca!r} is no file of certificates (PEM): {error}") from error
        if will is not None:
            client.will_set(will.topic, bytes(will.message.body), 0, will.retain, pack(will, time.monotonic(), will=True))
        client.on_socket_open = self._on_socket_open
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_subscribe = self._on_subscribe
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        return client

    # What follows runs on paho's thread.

    def _on_socket_open(self, client: Client, _: Any, link: Any) -> None:
        _tune(link)
        self._handshake.cancel()
        self._handshake = threading.Timer(HANDSHAKE, self._refuse, (f"no answer within {HANDSHAKE} s of connecting",))
        self._handshake.daemon = True
        self._handshake.start()

    def _on_connect(
        self, client: Client, _: Any, flags: ConnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        shares = any(topic.startswith("$share/") for topic, _ in self._subscriptions)
        if reason.is_failure:  # paho ends the connection
            self._refusal = f"the broker refuses the connection: {reason}"
        elif shares and getattr(properties, "SharedSubscriptionAvailable", 1) == 0:
            self._refuse("the broker has no shared subscriptions")
        else:
            self._largest = min(getattr(properties, "MaximumPacketSize", LARGEST_PACKET), LARGEST_PACKET)
            self._suback = client.subscribe(self._subscriptions)[1]

    def _on_subscribe(
        self, client: Client, _: Any, mid: int, reasons: list[ReasonCode], properties: Properties | None
    ) -> None:
        if mid != self._suback:
            return
        for (topic, _qos), reason in zip(self._subscriptions, reasons, strict=False):
            if reason.is_failure:
                self._refuse(f"the broker refuses the subscription of {topic}: {reason}")
                return
        if self._closed:
            return
        self._handshake.cancel()
        self._tries = 0
        self._outbox.open(self._largest)
        self.up.set()
        _log.info("%s: connected", self.address.name)
        self._rise()

    def _on_connect_fail(self, client: Client, _: Any) -> None:
        self._lose(f"cannot connect: {sys.exc_info()[1]}")  # paho calls this while it handles the error

    def _on_disconnect(
        self, client: Client, _: Any, flags: DisconnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        by = "the broker ended the connection" if flags.is_disconnect_packet_from_server else "the connection was lost"
        why, self._refusal = self._refusal or f"{by}: {reason}", None
        self._lose(why)

    def _refuse(self, why: str) -> None:
        """Make paho see a lost connection, so that it waits and tries again."""
        self._refusal = why
        self._shut_down()

    def _shut_down(self) -> None:
        link = cast("socket.socket | None", self._client.socket())
        if link is not None:
            with contextlib.suppress(OSError):  # it is lost already
                link.shutdown(socket.SHUT_RDWR)

    def _lose(self, why: str) -> None:
        if self._closed:
            return
        why = f"{self.address.name}: {why}"
        news = why != self.why
        self._handshake.cancel()
        self.up.clear()
        was_open = self._outbox.shut(why)
        self._wait_a_random_time()
        if news:
            _log.warning("%s", why)
        if was_open:
            self._fall(why)

    def _wait_a_random_time(self) -> None:
        first, longest = RECONNECT
        seconds = random.uniform(0.0, min(longest, first * 2.0 ** min(self._tries, 32)))  # noqa: S311 - no secret
        self._tries += 1
        self._client.reconnect_delay_set(seconds, seconds)  # type: ignore[arg-type]  # paho takes any number

    def _on_message(self, client: Client, _: Any, incoming: Incoming) -> None:
        try:
            self._hear(incoming)
        except Exception:  # noqa: BLE001 - a defect met by one message must not end the thread that serves all
            _log.exception("%s: a message was not understood", self.address.name)

    def _on_publish(self, client: Client, _: Any, mid: int, reason: ReasonCode, properties: Properties | None) -> None:
        self._outbox.note_sent(mid)


def _tune(link: Any) -> None:
    if link.fileno() >= _SELECTABLE:
        link.close()  # paho forgets it
        raise OSError(
            f"this process has over {_SELECTABLE} open files, more than paho-mqtt can wait for: close some, "
            "or connect before you open them"
        )
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNACKNOWLEDGED)
