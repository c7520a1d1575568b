"""Letters that wait to be sent over one connection, and leave it one at a time.

paho has a queue of its own, from which nothing can be taken back. It is given one letter at a time: so one that waits can
be cancelled, one whose deadline has passed is never sent, and the budget that one tells is what is left when it leaves.
"""

from __future__ import annotations

import threading
import time
from collections import deque

from paho.mqtt.client import Client
from paho.mqtt.enums import MQTTErrorCode

from cloud_bridge.kernel import read_kernel
from cloud_bridge.letter import Handed, Letter, overhead, pack
from edge_runtime.errors import RefusedError, UnreachableError

LARGEST_PACKET = 268_435_455
"""Bytes of one packet (MQTT 5.0, 1.5.5)."""

_QUEUE_BYTES = 256 << 20


class Outbox:
    """The letters of one client. Every method may be called from any thread."""

    def __init__(self, client: Client, name: str) -> None:
        self.why = f"{name}: not connected yet"
        """Why nothing can be sent, while it is shut."""
        self._client = client
        self._name = name
        self._open = False
        self._largest = LARGEST_PACKET
        self._connection = 0
        self._queue: deque[Letter] = deque()
        self._queued_bytes = 0
        self._handed = 0  # letters that have begun to leave
        self._in_hand: int | None = None  # paho's number of the letter that is leaving
        # paho calls back from publish() itself when its thread has ended.
        self._lock = threading.RLock()

    def open(self, largest: int) -> None:
        """A connection is there; the broker takes packets of `largest` bytes."""
        with self._lock:
            self._open, self._largest = True, largest
            self._connection += 1

    def shut(self, why: str) -> bool:
        """The connection is lost, and what waited with it; whether there was one."""
        with self._lock:
            was_open, self._open, self.why = self._open, False, why
            self._queue.clear()
            self._queued_bytes = 0
            self._in_hand = None
            return was_open

    def finish(self, last: Letter | None, why: str) -> bool:
        """Shut for good; with `last`, hand over what waits and that before. Whether something is still leaving."""
        with self._lock:
            if last is not None and self._open:
                for letter in (*self._queue, last):
                    self._hand(letter)
            leaving = self._in_hand is not None
            self.shut(why)
            return leaving

    def post(self, letter: Letter) -> None:
        """Queue a letter and return at once.

        Raises UnreachableError without a connection, RefusedError (413) when the broker takes no packet of its size.
        """
        with self._lock:
            if not self._open:
                raise UnreachableError(self.why)
            size = letter.size + overhead(letter)
            if size > self._largest:
                raise RefusedError(
                    f"{self._name} takes packets of {self._largest} bytes at most, and this one has {size}: "
                    "send less, raise the broker's limit, or use HTTP",
                    status=413,
                )
            if self._queued_bytes + size > _QUEUE_BYTES:
                raise UnreachableError(f"{self._name}: {self._queued_bytes} bytes already wait to be sent")
            self._queue.append(letter)
            self._queued_bytes += letter.size
            self._advance()

    def take_back(self, letter: Letter) -> int:
        """Make sure that a letter that still waits is never sent; how many bytes of its body have left.

        One that has begun to leave can't be stopped: MQTT knows no half packets. Of its bytes those are counted that TCP
        has sent, where the kernel tells (Linux), else all of them.
        """
        with self._lock:
            if letter.handed is None:
                if letter in self._queue:
                    self._queue.remove(letter)
                    self._queued_bytes -= letter.size
                return 0
            before, now = letter.handed.before, read_kernel(self._client.socket())
            if letter.handed.connection != self._connection or before is None or now is None:
                return letter.size
            return min(letter.size, max(0, now.sent - before.sent))

    def uploading(self, letter: Letter) -> float | None:
        """Seconds that the bytes of a letter took to leave, from the first to the last, now that it was answered; None
        where the kernel does not tell, and where others have left since."""
        with self._lock:
            if letter.handed is None or letter.handed.number != self._handed:
                return None
            before, now = letter.handed.before, read_kernel(self._client.socket())
            if letter.handed.connection != self._connection or before is None or now is None:
                return None
            return max(0.0, now.busy - before.busy - now.trip)  # TCP is busy until the last byte was acknowledged

    def note_sent(self, mid: int) -> None:
        """paho has given all bytes of its letter `mid` to the kernel."""
        with self._lock:
            if self._in_hand == mid:
                self._in_hand = None
                self._advance()

    def _advance(self) -> None:
        while self._in_hand is None and self._queue:
            letter = self._queue.popleft()
            self._queued_bytes -= letter.size
            if letter.deadline is None or time.monotonic() < letter.deadline:
                self._hand(letter)

    def _hand(self, letter: Letter) -> None:
        properties = pack(letter, time.monotonic())
        body = letter.message.body
        self._handed += 1
        letter.handed = Handed(self._connection, self._handed, read_kernel(self._client.socket()))
        info = self._client.publish(
            letter.topic, bytes(body) if isinstance(body, memoryview) else body, 0, letter.retain, properties
        )
        if info.rc == MQTTErrorCode.MQTT_ERR_SUCCESS:  # else the connection is gone, and we are about to hear of it
            self._in_hand = info.mid
