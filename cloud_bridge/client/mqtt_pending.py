"""One call under way over MQTT."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from copy import copy
from typing import Protocol, cast

from msgspec import structs

from cloud_bridge.client.slot import Slot
from cloud_bridge.letter import STATUS, Letter, Received
from cloud_bridge.protocol.message import Message
from cloud_bridge.protocol.oip import decode_error
from edge_runtime.errors import CancelledError, LateError, ProtocolError, RemoteError
from edge_runtime.remote import Reply


class Sender(Protocol):
    """What a call needs of the client that made it."""

    def take_back(self, letter: Letter) -> int:
        """Make sure that a letter that still waits is never sent; how many bytes of it have left."""
        ...

    def uploading(self, letter: Letter) -> float | None:
        """Seconds that its bytes took to leave, where that is known."""
        ...

    def forget(self, pending: MqttPending) -> None:
        """Take no answer for it any more."""
        ...

    def tell_cancelled(self, pending: MqttPending) -> None:
        """Let the worker drop it, if it still waits there."""
        ...


class MqttPending:
    """A call under way over MQTT; the `Pending` port."""

    def __init__(
        self, sender: Sender, letter: Letter, correlation: bytes, deadline: float, decode: Callable[[Message], Reply]
    ) -> None:
        self.correlation, self.deadline = correlation, deadline
        self._sender, self._letter, self._decode = sender, letter, decode
        self._lock = threading.Lock()
        self._slot = Slot[Received | Reply | RemoteError]()
        self.done = self._slot.done
        self.add_done_callback = self._slot.add_done_callback
        self._left: int | None = None
        self._uploading: float | None = None

    def result(self, timeout: float) -> Reply:
        """Wait for the answer; see `Pending.result`."""
        until = min(time.monotonic() + timeout, self.deadline)
        if not self._slot.wait(max(until - time.monotonic(), 0.0)):
            if time.monotonic() < self.deadline:
                raise LateError(f"no answer within {timeout:.3f} s; the call goes on")
            self.expire()
        with self._lock:
            if isinstance(self._slot.outcome, Received):
                answer = _answer(self._slot.outcome, self._decode)
                if isinstance(answer, Reply) and self._uploading is not None:
                    answer = structs.replace(answer, uploading=self._uploading)
                self._slot.outcome = answer
            outcome = self._slot.outcome
        if isinstance(outcome, Reply):
            return outcome
        error = cast("RemoteError", outcome)
        # A copy: a raised error holds the frames that it came through and with them the tensors, and one error may end
        # the calls of many threads.
        raise copy(error) from error.__cause__

    def cancel(self) -> int:
        """Give the call up; the bytes of its request that had left. See `Link.take_back` for how they are counted."""
        if self._left is None:
            self._left = self._sender.take_back(self._letter)
            self._sender.forget(self)
            if self.settle(CancelledError("the call was cancelled")) and self._letter.handed is not None:
                self._sender.tell_cancelled(self)
        return self._left

    def expire(self) -> None:
        """Give the call up because its deadline has passed."""
        self._sender.forget(self)
        self._sender.take_back(self._letter)
        self.settle(LateError("the deadline passed before an answer came"))

    def settle(self, outcome: Received | RemoteError) -> bool:
        """Keep what came of it, unless something has before. An answer is read by the thread that wants it."""
        if isinstance(outcome, Received):
            self._uploading = self._sender.uploading(self._letter)
        return self._slot.put(outcome)


def _answer(received: Received, decode: Callable[[Message], Reply]) -> Reply | RemoteError:
    status = received.properties.get(STATUS, "")
    if not (status.isascii() and status.isdecimal() and len(status) == 3):
        return ProtocolError(f"an answer without a status: {status[:40]!r}")
    if status != "200":
        return decode_error(int(status), received.message)
    try:
        return decode(received.message)
    except RemoteError as error:
        return error
