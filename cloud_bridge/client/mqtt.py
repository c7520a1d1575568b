"""The cloud behind an MQTT 5 broker, as the `Remote` port."""

from __future__ import annotations

import contextlib
import secrets
import socket
import threading
import time
from collections.abc import Callable

from cloud_bridge.client.census import Census
from cloud_bridge.client.mqtt_pending import MqttPending
from cloud_bridge.letter import MODEL_VERSION, Letter, new_id, read
from cloud_bridge.malloc import keep_buffers
from cloud_bridge.mqtt import Link
from cloud_bridge.protocol.message import Message
from cloud_bridge.protocol.oip import decode_reply, encode_request
from cloud_bridge.protocol.packets import Publication
from cloud_bridge.protocol.topics import PROBE, Address, Topics, segment
from edge_runtime.errors import (
    CancelledError,
    EdgeError,
    InputError,
    LateError,
    ProtocolError,
    RemoteError,
    UnreachableError,
)  # fmt: skip
from edge_runtime.remote import Call, Reply

PROBE_SECONDS = 30.0
"""A probe that is not answered after this is given up."""

_RANDOM = secrets.token_bytes(4096)  # a link that compresses must not find a probe cheaper than a tensor


class MqttRemote:
    """An endpoint's workers behind a broker. The connection opens in the background, and again whenever it is lost.

    `url` is mqtt[s]://[user[:password]@]host[:port][/ROOT][?thing=NAME][&ca=FILE][&cert=FILE&key=FILE]; TLS certificates
    are verified. Answers come to the thing's own topic. Without `thing` each connection makes up one of its own; two
    that are given the same name both hear the answers of both and tell them apart by their correlation data, at the price
    of the bytes.

    A call fails at once when the connection is lost, and when the last worker that was ready is reported lost.
    `tune_malloc` lets glibc keep big buffers for the next message (`cloud_bridge.malloc`).
    """

    def __init__(self, url: str, *, tune_malloc: bool = True) -> None:
        address = Address.parse(url)
        self.thing = address.thing or f"{segment(socket.gethostname())[:55]}-{secrets.token_hex(4)}"
        self._topics = Topics(address.root)
        self._reply_topic = self._topics.reply(self.thing)
        self._pending: dict[bytes, MqttPending] = {}
        self._census = Census()
        self._lock = threading.Lock()
        self._closed = False
        if tune_malloc:
            keep_buffers()
        self._link = Link(
            address,
            f"{self.thing}-{secrets.token_hex(4)}",
            [self._reply_topic, self._topics.status("+")],
            hear=self._hear,
            rise=lambda: self._census.begin(time.monotonic()),
            fall=self._fall,
        )
        self._link.open()

    @property
    def name(self) -> str:
        """The URL without credentials."""
        return self._link.address.name

    def up(self) -> bool:
        """Whether there is a connection now. It says nothing of the workers behind it."""
        return self._link.up.is_set()

    def send(self, call: Call, *, deadline: float) -> MqttPending:
        """Start a call and return at once; see `Remote.send`.

        Raises UnreachableError without a connection or a worker, InputError for a call that can't be put into a message,
        RefusedError (413) for one that is larger than the broker takes.
        """
        topic = self._topics.request(call.model, self.thing)
        properties = {} if call.version is None else {MODEL_VERSION: _checked(call.version)}
        self._check_worker()
        return self._start(topic, encode_request(call), properties, deadline, decode_reply)

    def probe(self, size: int) -> MqttPending:
        """Send `size` bytes that ask for nothing; see `Remote.probe`."""
        body = (_RANDOM * (size // len(_RANDOM) + 1))[:size]
        deadline = time.monotonic() + PROBE_SECONDS
        self._check_worker()
        return self._start(self._topics.request(PROBE, self.thing), Message(body), {}, deadline, lambda _: Reply({}))

    def health(self, timeout: float) -> bool:
        """Whether a worker answers within `timeout` seconds. It waits so long for the connection and for a worker."""
        deadline = time.monotonic() + timeout
        asked: list[MqttPending] = []
        wait = 0.1  # a question that came before the worker is lost, so it is asked again, more and more patiently
        while (left := deadline - time.monotonic()) > 0 and not self._closed:
            if self._link.up.wait(min(left, 1.0)):
                try:
                    asked.append(self.probe(0))
                except RemoteError:
                    time.sleep(min(0.05, left))  # every worker is gone: there will be news of a new one
                if any(_answered(each, min(wait, left) if each is asked[-1] else 0.0) for each in reversed(asked)):
                    return True
                wait *= 1.5
        return False

    def close(self) -> None:
        """Cancel what is under way and disconnect."""
        self._closed = True
        self._fail_all(CancelledError(f"{self.name}: closed"))
        self._link.close()

    def _check_worker(self) -> None:
        if self._census.nobody(time.monotonic()):
            raise UnreachableError(f"{self.name}: every worker is gone; start `cloud-bridge serve` with this broker")

    def _start(
        self,
        topic: str,
        message: Message,
        properties: dict[str, str],
        deadline: float,
        decode: Callable[[Message], Reply],
    ) -> MqttPending:
        correlation = new_id()
        letter = Letter(topic, message, correlation, self._reply_topic, deadline, properties)
        pending = MqttPending(self, letter, correlation, deadline, decode)
        now = time.monotonic()
        if now >= deadline:
            pending.settle(LateError("the deadline had passed before the call was sent"))
            return pending
        with self._lock:
            self._pending[correlation] = pending
            # Those whose callers have gone away without a word; a caller who waits takes his own out.
            late = [p for p in self._pending.values() if now >= p.deadline]
        for each in late:
            each.expire()
        try:
            self._link.post(letter)
        except EdgeError:
            self.forget(pending)
            raise
        return pending

    def forget(self, pending: MqttPending) -> None:
        """Take no answer for it any more."""
        with self._lock:
            self._pending.pop(pending.correlation, None)

    def tell_cancelled(self, pending: MqttPending) -> None:
        """Let the worker drop it, if it still waits there."""
        topic = self._topics.cancel(self.thing)
        with contextlib.suppress(EdgeError):  # it is a courtesy; the deadline ends the call as well
            self._link.post(Letter(topic, Message(b""), pending.correlation, deadline=pending.deadline))

    def take_back(self, letter: Letter) -> int:
        """See `Link.take_back`."""
        return self._link.take_back(letter)

    def uploading(self, letter: Letter) -> float | None:
        """See `Link.uploading`."""
        return self._link.uploading(letter)

    def _hear(self, incoming: Publication) -> None:
        if incoming.topic == self._reply_topic:
            self._hear_answer(incoming)
            return
        try:
            worker = self._topics.parse_status(incoming.topic)
        except ProtocolError:
            return
        if self._census.note(worker, incoming.payload):
            self._fail_all(UnreachableError(f"{self.name}: the last worker was lost"))

    def _hear_answer(self, incoming: Publication) -> None:
        with self._lock:
            pending = self._pending.pop(incoming.about.correlation or b"", None)
        if pending is None:
            return  # late, a duplicate, or another client's of the same name
        try:
            pending.settle(read(incoming))
        except ProtocolError as error:
            pending.settle(error)

    def _fall(self, why: str) -> None:
        self._census.clear()
        self._fail_all(UnreachableError(why))

    def _fail_all(self, error: RemoteError) -> None:
        with self._lock:
            failed = list(self._pending.values())
            self._pending.clear()
        for pending in failed:
            pending.settle(error)


def _answered(probe: MqttPending, wait: float) -> bool:
    try:
        probe.result(wait)
    except RemoteError:
        return False
    return True


def _checked(version: str) -> str:
    if not (version.isascii() and version.isprintable() and 0 < len(version) <= 64):
        raise InputError(f"version {version[:80]!r}: no model has such a version")
    return version
