"""What is agreed with an MQTT broker on one connection, and whether it is still there. Pure: instants are arguments."""

from __future__ import annotations

from collections.abc import Sequence

from cloud_bridge.protocol.fields import LARGEST
from cloud_bridge.protocol.packets import PING, REFUSED, Ended, Event, Subscribed, Welcome, reason, subscribe
from edge_runtime.errors import UnreachableError

_SUBSCRIBE = 1
"""The number of the only SUBSCRIBE."""

_ASKING = 0.75
"""The share of the keepalive after which the broker is asked whether it is there, again and again."""


class Session:
    """From CONNECT, which has been sent at the instant `now`, to the end of the connection.

    The subscriptions are to be confirmed within `handshake` seconds; a broker that then says nothing for `keepalive`
    seconds, which it may choose itself, is lost. Whatever ends the connection is an UnreachableError.
    """

    def __init__(self, subscriptions: Sequence[str], *, keepalive: float, handshake: float, now: float) -> None:
        self.largest = LARGEST
        """Bytes of a packet that the broker takes."""
        self.open = False
        """Whether the subscriptions are confirmed."""
        self._subscriptions = tuple(subscriptions)
        self._keepalive, self._handshake = keepalive, handshake
        self._began = self._moved = self._asked = now

    def moved(self, now: float) -> None:
        """Bytes went or came."""
        self._moved = now

    def note(self, event: Event) -> bytes | None:
        """Take in what the broker says; what is to be answered."""
        match event:
            case Welcome():
                return self._greet(event)
            case Subscribed(number=number) if number == _SUBSCRIBE:
                for topic, code in zip(self._subscriptions, event.reasons, strict=False):
                    if code >= REFUSED:
                        raise UnreachableError(f"the broker refuses the subscription of {topic}: {reason(code)}")
                self.open = True
            case Ended(reason=code):
                raise UnreachableError(f"the broker ended the connection: {reason(code)}")
        return None

    def due(self, now: float, *, leaving: bool) -> bytes | None:
        """What is to be sent now; nothing can be as long as something else is `leaving`."""
        if not self.open and now >= self._began + self._handshake:
            raise UnreachableError(f"no answer within {self._handshake} s of connecting")
        if now >= self._moved + self._keepalive:
            raise UnreachableError(f"the broker has said nothing for {self._keepalive:.0f} s")
        if leaving or now < self._asked + _ASKING * self._keepalive:
            return None
        self._asked = now
        return PING

    def patience(self, now: float, *, leaving: bool) -> float:
        """Seconds until something may be due."""
        instants = [self._moved + self._keepalive]
        if not self.open:
            instants.append(self._began + self._handshake)
        if not leaving:
            instants.append(self._asked + _ASKING * self._keepalive)
        return max(0.0, min(instants) - now)

    def _greet(self, welcome: Welcome) -> bytes:
        if welcome.reason >= REFUSED:
            raise UnreachableError(f"the broker refuses the connection: {reason(welcome.reason)}")
        if not welcome.shares and any(topic.startswith("$share/") for topic in self._subscriptions):
            raise UnreachableError("the broker has no shared subscriptions")
        self._keepalive = welcome.keepalive or self._keepalive
        self.largest = welcome.largest
        return subscribe(_SUBSCRIBE, self._subscriptions)
