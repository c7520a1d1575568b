"""An operator's line to the broker: says things to devices, and hears what they say, for as long as it is open.

with Line("mqtts://broker.example", [(topics.RPC_ANSWER, {})]) as line:
    line.connect(10.0)
    ask(line, "press-17", "ping", 5.0)
"""

from __future__ import annotations

import queue
import secrets
import time
import uuid
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Self

import msgspec

from cloud_bridge.control.link import Down, Event, Heard, Link, Said, Taken, Up
from cloud_bridge.control.paho import PahoLink
from cloud_bridge.protocol.fleet import rpc, topics
from cloud_bridge.protocol.fleet.topics import Kind, Tree
from cloud_bridge.protocol.fleet.wire import encode
from cloud_bridge.protocol.topics import Address
from edge_runtime.errors import LateError, RefusedError, UnreachableError

WINDOW = 1000
"""Messages that may be under way each way, if the broker takes so many."""

PATIENCE = 10.0
"""Seconds in which a broker lets a client in."""

FORBIDDEN = 403
"""As HTTP has it: the broker's access list says no."""


class Line:
    """From `with` to its end; for one thread. `hears` are kinds of messages, with the names that their topics are to have:
    of a name that is missing, all. Raises InputError for a broker that cannot be one."""

    def __init__(
        self, broker: str, hears: Iterable[tuple[Kind, Mapping[str, str]]], *, link: Link | None = None
    ) -> None:  # fmt: skip
        address = Address.parse(broker)
        self.tree, self.name = Tree(address.root), address.name
        filters = [self.tree.filter(kind, **names) for kind, names in hears]
        client = f"operator-{uuid.uuid4().hex[:16]}"
        self._link = link or PahoLink(address, client, filters, session=0, window=WINDOW, longest=2.0)
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()

    def __enter__(self) -> Self:
        self._link.open(lambda: None, self._events.put)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._link.close()

    def connect(self, timeout: float = PATIENCE) -> None:
        """Wait until the broker is there. Raises UnreachableError, and RefusedError where it does not let this client hear
        what it has to."""
        event = self.hear(time.monotonic() + timeout)
        if isinstance(event, Up):
            if event.refused:
                raise RefusedError(f"{self.name} does not let this client hear {event.refused[0]}", status=FORBIDDEN)
            return
        why = event.reason if isinstance(event, Down) else f"it has not answered within {timeout:g} s"
        raise UnreachableError(f"{self.name}: {why}")

    def hear(self, until: float) -> Event | None:
        """The next event, or None where none comes until then, by `time.monotonic`."""
        try:
            event = self._events.get(timeout=max(0.0, until - time.monotonic()))
        except queue.Empty:
            return None
        if isinstance(event, Heard):
            self._link.ack(event)
        return event

    def say(
        self, kind: Kind, message: msgspec.Struct, *, expiry: float | None = None, correlation: bytes | None = None,
        reply: str | None = None, **names: str,
    ) -> int:  # fmt: skip
        """Send a message: the number that `Taken` calls it by. `expiry` in seconds, where its kind says no other. Raises
        UnreachableError where the broker is not there."""
        said = Said(
            topic=self.tree.topic(kind, **names), payload=encode(message), qos=kind.qos, retain=kind.retain,
            expiry=kind.expiry if isinstance(kind.expiry, float) else expiry, correlation=correlation, reply=reply,
        )  # fmt: skip
        if not (number := self._link.say(said)):
            raise UnreachableError(f"{self.name}: the connection has ended")
        return number


def ask(line: Line, thing: str, method: str, timeout: float) -> rpc.Answer:
    """A device's answer to a question. The line has to hear RPC_ANSWER of it. Raises LateError where it does not come in
    time, RefusedError with the device's reason, and UnreachableError where the broker is gone."""
    correlation, until = secrets.token_bytes(8), time.monotonic() + timeout
    reply = line.tree.topic(topics.RPC_ANSWER, thing=thing)
    number = line.say(
        topics.RPC, rpc.QUESTIONS[method](), expiry=timeout, correlation=correlation, reply=reply, thing=thing,
        method=method,
    )  # fmt: skip
    while (event := line.hear(until)) is not None:
        match event:
            case Heard(correlation=token, topic=topic) if token == correlation and topic == reply:
                return rpc.decode_answer(event.status, event.payload, rpc.ANSWERS[method])
            case Taken(number=told, refused=why) if told == number and why:
                raise RefusedError(f"the broker does not let this client ask {thing}: {why}", status=FORBIDDEN)
            case Down(reason=why):
                raise UnreachableError(f"{line.name}: {why}")
    raise LateError(
        f"{thing} has not answered within {timeout:g} s: it is away, or no agent runs there; "
        "`cloud-bridge fleet devices` tells since when"
    )
