"""The adapter of paho-mqtt: a link to an MQTT 5 broker that is made again whenever it ends."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from cloud_bridge.control.connection import AGAIN, Connection, Terms
from cloud_bridge.control.link import Down, Event, Heard, Said, pause
from cloud_bridge.credentials import Credentials
from cloud_bridge.extra import required
from cloud_bridge.protocol.fleet.wire import AROUND, PACKET
from cloud_bridge.protocol.topics import Address
from edge_runtime.errors import InputError

if TYPE_CHECKING:
    from paho.mqtt.properties import Properties

KEEPALIVE = 30
SESSION = 7 * 86_400
"""Seconds that a broker keeps what is said to a device that is away."""

WINDOW = 20
"""Messages that may be under way each way, of a device."""

_STEADY = 30.0
"""A connection that held for so long was none of a row of failures."""
_log = logging.getLogger(__name__)


class PahoLink:
    """The port over paho-mqtt."""

    def __init__(
        self, address: Address, name: str, filters: Sequence[str], *, session: int = SESSION,
        window: int = WINDOW, longest: float | None = None,
    ) -> None:  # fmt: skip
        """`name` is the client's id, and the user's name where the address gives none but a password. The broker keeps what
        is said meanwhile for `session` seconds; with 0 each connection begins anew. `window` messages may be under way at
        once, if the broker takes so many. Between two tries to connect are at most `longest` seconds, if that is given."""
        if address.thing is not None:
            raise InputError(f"thing={address.thing} in the broker's URL names who asks an endpoint; this is {name}")
        self._address, self._name, self._filters = address, name, tuple(filters)
        self._session, self._window, self._longest = session, window, longest
        self._terms = Terms(window)
        self._tls = Credentials(address.ca, address.cert, address.key) if address.tls else None
        with required("a link to a broker"):
            import paho.mqtt.client  # noqa: F401  its absence is told before anything begins
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._up: Connection | None = None
        self._number = 0
        self._last = ""

    def open(self, will: Callable[[], Said | None], tell: Callable[[Event], None]) -> None:
        """See Link."""
        self._will, self._tell = will, tell
        self._thread = threading.Thread(target=self._run, name="control-link", daemon=True)
        self._thread.start()

    def say(self, message: Said) -> int:
        """See Link."""
        if (up := self._up) is None:
            return 0
        if (size := len(message.payload) + len(message.topic) + AROUND) > self._terms.largest:
            raise InputError(f"{message.topic} would have {size} bytes; this broker takes {self._terms.largest}")
        return up.say(message)

    def ack(self, heard: Heard) -> None:
        """See Link."""
        up, (number, mid, qos) = self._up, heard.key
        if up is not None and number == up.number and qos:
            up.client.ack(mid, qos)

    def renew(self) -> None:
        """See Link."""
        if (up := self._up) is not None:
            up.client.disconnect()

    def close(self, farewell: Said | None = None, timeout: float = 2.0) -> None:
        """See Link."""
        self._closing.set()
        if (up := self._up) is not None:
            up.finish(farewell, timeout)
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        failures = 0
        while not self._closing.is_set():
            begin = time.monotonic()
            if (reason := self._connection()) == AGAIN:
                continue
            self._down(reason)
            failures = 0 if time.monotonic() - begin > _STEADY else failures + 1
            wait = pause(failures, random.random())  # noqa: S311 - it spreads devices, no secret
            self._closing.wait(wait if self._longest is None else min(wait, self._longest))

    def _down(self, reason: str) -> None:
        if not self._closing.is_set() and reason != self._last:
            _log.warning("%s: %s; it is tried again and again", self._address.name, reason)
            self._last = reason
        self._tell(Down(reason))

    def _connection(self) -> str:
        """One connection from beginning to end: why it ended."""
        self._number += 1
        once = Connection(self._number, self._filters, self._terms, self._tell, self._took)
        client = once.begin(self._name)
        if self._address.username is not None or self._address.password is not None:
            client.username_pw_set(self._address.username or self._name, self._address.password)
        if (will := self._will()) is not None:
            client.will_set(will.topic, will.payload, will.qos, will.retain)
        try:
            if self._tls is not None:
                client.tls_set_context(self._tls.context())
            client.connect(
                self._address.host, self._address.port, KEEPALIVE, clean_start=not self._session,
                properties=self._properties(),
            )  # fmt: skip
            return once.drive(self._closing)
        except InputError as error:
            return str(error)
        except (OSError, ValueError) as error:
            return f"it cannot be reached: {error}"
        except Exception as error:  # noqa: BLE001 - paho raises what a hostile packet makes of it
            return f"it does not speak MQTT 5: {error!r}"
        finally:
            self._up = None
            once.close()

    def _took(self, connection: Connection) -> None:
        self._last = ""
        self._up = connection
        if self._closing.is_set():
            connection.client.disconnect()

    def _properties(self) -> Properties:
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.properties import Properties

        told = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        told.SessionExpiryInterval = self._session
        told.MaximumPacketSize = PACKET
        told.ReceiveMaximum = self._window
        return told
