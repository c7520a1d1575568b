"""Letters that wait to be sent over one connection, and leave it one at a time.

What the kernel takes at once leaves on the thread that brings the letter, the rest on the connection's own. Nothing is
handed over before its turn: so one that waits can be cancelled, one whose deadline has passed is never sent, and the
budget that one tells is what is left when it leaves.
"""

from __future__ import annotations

import threading
import time
from collections import deque

from cloud_bridge.kernel import Kernel, read_kernel
from cloud_bridge.letter import Handed, Letter, overhead, pack
from cloud_bridge.protocol.fields import LARGEST
from cloud_bridge.protocol.packets import GOODBYE, publish
from cloud_bridge.stream import Stream
from edge_runtime.errors import RefusedError, UnreachableError

_QUEUE_BYTES = 256 << 20


class Outbox:
    """What one client sends. Every method may be called from any thread."""

    def __init__(self, name: str) -> None:
        self.why = f"{name}: not connected yet"
        """Why nothing can be sent, while it is shut."""
        self._name = name
        self._stream: Stream | None = None
        self._open = False
        self._largest = LARGEST
        self._connection = 0
        self._queue: deque[Letter] = deque()
        self._queued_bytes = 0
        self._ahead: deque[bytes] = deque()  # packets that are no letters: they wait for the one that is leaving only
        self._handed = 0  # letters that have begun to leave
        self._leaving: deque[memoryview] = deque()  # what is left of the packet that is leaving
        self._written = 0  # bytes, over all connections
        self._lock = threading.Lock()

    @property
    def leaving(self) -> bool:
        """Whether there is more to write than the kernel took."""
        return bool(self._leaving)

    def attach(self, stream: Stream) -> None:
        """There is a connection, though none for letters yet."""
        with self._lock:
            self._stream = stream

    def open(self, largest: int) -> None:
        """The connection takes letters, and the broker packets of `largest` bytes."""
        with self._lock:
            self._open, self._largest = True, largest
            self._connection += 1

    def shut(self, why: str) -> bool:
        """The connection is lost, and what waited with it; whether it took letters."""
        with self._lock:
            was_open, self._open, self.why, self._stream = self._open, False, why, None
            self._drop()
            self._leaving.clear()
            return was_open

    def finish(self, last: Letter | None, why: str) -> None:
        """Take no more letters; with `last`, send what waits and then that before. The last of all is a goodbye, unless it
        would wait behind a letter that nobody wants any more."""
        with self._lock:
            self.why = why
            if self._open and last is not None:
                for letter in (*self._queue, last):
                    self._begin(letter)
            elif self._leaving:
                self._stream, self._open = None, False
                self._leaving.clear()
            self._drop()
            self._open = False
            self._ahead.append(GOODBYE)
            self._advance()

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
            if not self._leaving:
                self._advance()

    def say(self, packet: bytes) -> None:
        """Send a packet that is no letter, ahead of those that wait."""
        with self._lock:
            self._ahead.append(packet)
            if not self._leaving:
                self._advance()

    def advance(self) -> bool:
        """There may be room for more bytes; whether any were written."""
        with self._lock:
            before = self._written
            self._advance()
            return self._written > before

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
            before, now = letter.handed.before, self._kernel(letter.handed)
            if before is None or now is None:
                return letter.size
            return min(letter.size, max(0, now.sent - before.sent))

    def uploading(self, letter: Letter) -> float | None:
        """Seconds that the bytes of a letter took to leave, from the first to the last, now that it was answered; None
        where the kernel does not tell, and where others have left since."""
        with self._lock:
            if letter.handed is None or letter.handed.number != self._handed:
                return None
            before, now = letter.handed.before, self._kernel(letter.handed)
            if before is None or now is None:
                return None
            return max(0.0, now.busy - before.busy - now.trip)  # TCP is busy until the last byte was acknowledged

    def _kernel(self, handed: Handed) -> Kernel | None:
        """What the kernel tells of the connection over which a letter went, while there is that."""
        if self._stream is None or handed.connection != self._connection:
            return None
        return read_kernel(self._stream.socket)

    def _drop(self) -> None:
        self._queue.clear()
        self._queued_bytes = 0
        self._ahead.clear()

    def _advance(self) -> None:
        """Write until the kernel takes no more, or there is nothing left."""
        while self._stream is not None and (self._leaving or self._take()):
            try:
                self._written += self._stream.send(self._leaving)
            except OSError:  # the connection is lost, as its thread is about to hear
                self._leaving.clear()
                return
            if self._leaving:
                self._stream.wake()  # to go on when there is room
                return

    def _take(self) -> bool:
        """Begin with the next packet; whether there is one."""
        if self._ahead:
            self._leaving.append(memoryview(self._ahead.popleft()))
            return True
        while self._queue:
            letter = self._queue.popleft()
            self._queued_bytes -= letter.size
            if letter.deadline is None or time.monotonic() < letter.deadline:
                self._begin(letter)
                return True
        return False

    def _begin(self, letter: Letter) -> None:
        head = publish(letter.topic, pack(letter, time.monotonic()), letter.size, retain=letter.retain)
        self._handed += 1
        before = None if self._stream is None else read_kernel(self._stream.socket)
        letter.handed = Handed(self._connection, self._handed, before)
        self._leaving.append(memoryview(head))
        self._leaving += (memoryview(part) for part in letter.message.parts if len(part))
