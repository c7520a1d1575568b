"""The endpoint's MQTT face: a worker that takes its share of the requests on a broker to the service."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import OrderedDict
from concurrent.futures import Future
from typing import TypeAlias

import msgspec

from cloud_bridge.endpoint.core import Core
from cloud_bridge.endpoint.jobs import Answer
from cloud_bridge.letter import MODEL_VERSION, STATUS, Letter, Received, new_id, read, shorten
from cloud_bridge.mqtt import Link
from cloud_bridge.protocol.message import CONTENT_TYPE, JSON, Message, remaining
from cloud_bridge.protocol.oip import encode_error
from cloud_bridge.protocol.packets import Publication
from cloud_bridge.protocol.topics import PROBE, Address, Topics, segment
from edge_runtime.errors import InputError, ProtocolError, RefusedError, UnreachableError

POOL = "workers"
"""Workers that share one pool's name share the requests."""

GRACE = 5.0
"""Seconds that calls under way get to end when a worker is closed."""

_REMEMBERED = 4096  # requests; MQTT may deliver one twice
_MAX_CORRELATION = 64
_OBITUARY = 86_400  # seconds that a broker keeps the news of a worker that is gone: every start makes a new one

Key: TypeAlias = tuple[str, bytes]
"""A request: its thing and its correlation data."""

_log = logging.getLogger(__name__)


class Worker:
    """Answers the requests below a root of a broker, with every other worker of the same pool.

    It reconnects for ever. Its retained status says "ready", or "lost" when the broker misses it, or "disconnected" after
    `close`. How many calls may be under way is the service's business: it answers 503 at once.
    """

    def __init__(self, url: str, service: Core, *, pool: str = POOL) -> None:
        address = Address.parse(url)
        if address.thing is not None:
            raise InputError("a worker is no thing: leave ?thing= out of its URL")
        if segment(pool) != pool:
            raise InputError(f"pool {pool!r}: use 1 to 64 of A-Z a-z 0-9 _ and -")
        self.id = f"worker-{secrets.token_hex(8)}"
        self._service = service
        self._topics = Topics(address.root)
        self._seen: OrderedDict[Key, None] = OrderedDict()
        self._under_way: dict[Key, Future[Answer]] = {}
        self._idle = threading.Condition()
        self._link = Link(
            address,
            self.id,
            [self._topics.requests(pool), self._topics.cancel("+")],
            hear=self._hear,
            rise=lambda: self._post(self._status("ready")),
            will=self._status("lost"),
        )

    @property
    def name(self) -> str:
        """The broker's URL without credentials."""
        return self._link.address.name

    def start(self, wait: float = 5.0) -> None:
        """Connect, and go on for ever. Returns when connected, or after `wait` seconds: a broker may come later."""
        self._link.open()
        if not self._link.up.wait(wait):
            _log.warning("%s; trying on", self._link.why)

    def close(self) -> None:
        """Take no more requests, let those under way end, tell it and disconnect. Safe to repeat."""
        self._link.unsubscribe()
        with self._idle:
            self._idle.wait_for(lambda: not self._under_way, GRACE)
        self._link.close(last=self._status("disconnected"))

    def _status(self, state: str) -> Letter:
        body = msgspec.json.encode({"v": 1, "state": state, "worker": self.id})
        until = None if state == "ready" else time.monotonic() + _OBITUARY
        return Letter(self._topics.status(self.id), Message(body, {CONTENT_TYPE: JSON}), deadline=until, retain=True)

    def _hear(self, incoming: Publication) -> None:
        arrived = time.monotonic()
        leaver = self._topics.parse_cancel(incoming.topic)
        if leaver is not None:
            self._cancel(leaver, incoming.about.correlation)
            return
        try:
            model, thing = self._topics.parse_request(incoming.topic)
        except ProtocolError as error:
            _log.info("%s: passed over: %s", self.name, error)  # there is nobody to answer
            return
        correlation = incoming.about.correlation
        try:
            received = self._check(incoming, thing)
            message = shorten(received)
            budget = remaining(message)
        except ProtocolError as error:
            self._answer(thing, correlation, None, Answer(*encode_error(error)))
            return
        if correlation and self._seen_before((thing, correlation)):
            return
        deadline = None if budget is None else arrived + budget
        if model == PROBE:
            self._answer(thing, correlation, deadline, Answer(200, Message(b"")))
            return
        size = len(message.body)
        try:
            self._service.room.take(size)
        except RefusedError as error:
            self._answer(thing, correlation, deadline, Answer(*encode_error(error)))
            return
        key = thing, correlation or new_id()
        future = self._service.submit(model, received.properties.get(MODEL_VERSION), message, received=arrived)
        with self._idle:
            self._under_way[key] = future
        future.add_done_callback(lambda _: self._service.room.give(size))
        future.add_done_callback(lambda done: self._finish(key, correlation, deadline, done))

    def _cancel(self, thing: str, correlation: bytes | None) -> None:
        with self._idle:
            future = self._under_way.get((thing, correlation or b""))
        if future is not None:
            future.cancel()

    def _check(self, incoming: Publication, thing: str) -> Received:
        received = read(incoming)
        if len(received.correlation or b"") > _MAX_CORRELATION:
            raise ProtocolError(f"correlation data of over {_MAX_CORRELATION} bytes")
        # Answering to a topic that the request names would let one device have answers sent to another.
        if received.reply_to not in (None, self._topics.reply(thing)):
            raise ProtocolError(f"the response topic of {thing} is {self._topics.reply(thing)} and no other")
        return received

    def _seen_before(self, key: Key) -> bool:
        if key in self._seen:
            return True
        self._seen[key] = None
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        return False

    def _finish(self, key: Key, correlation: bytes | None, deadline: float | None, done: Future[Answer]) -> None:
        try:
            if not done.cancelled():
                self._answer(key[0], correlation, deadline, done.result())
        finally:
            with self._idle:
                del self._under_way[key]
                self._idle.notify_all()

    def _answer(self, thing: str, correlation: bytes | None, deadline: float | None, answer: Answer) -> None:
        letter = Letter(
            self._topics.reply(thing), answer.message, correlation, None, deadline, {STATUS: str(answer.status)}
        )
        try:
            self._post(letter)
        except RefusedError as error:
            told = RefusedError(f"the answer is too large: {error}", status=500)
            status, message = encode_error(told)
            self._post(Letter(letter.topic, message, correlation, None, deadline, {STATUS: str(status)}))

    def _post(self, letter: Letter) -> None:
        try:
            self._link.post(letter)
        except UnreachableError as error:
            _log.info("an answer was dropped: %s", error)  # whoever waited for it has been told by his own connection
