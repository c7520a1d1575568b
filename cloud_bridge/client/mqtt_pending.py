"""One call under way over MQTT."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from cloud_bridge.letter import STATUS, Letter, Received
from cloud_bridge.protocol.message import Message
from cloud_bridge.protocol.oip import decode_error
from edge_runtime.errors import CancelledError, LateError, ProtocolError, RemoteError
from edge_runtime.remote import Reply

if TYPE_CHECKING:
    from cloud_bridge.client.mqtt import MqttRemote


class MqttPending:
    """A call under way over MQTT; the `Pending` port."""

    def __init__(
        self, remote: MqttRemote, letter: Letter, correlation: bytes, deadline: float, decode: Callable[[Message], Reply]
    ) -> None:
        self.correlation, self.deadline = correlation, deadline
        self._remote, self._letter, self._decode = remote, letter, decode
        self._lock = threading.Lock()
        self._settled = threading.Event()
        self._outcome: Received | Reply | RemoteError | None = None
        self._left: int | None = None

    def result(self, timeout: float) -> Reply:
        """Wait for the answer; see `Pending.result`."""
        until = min(time.monotonic() + timeout, self.deadline)
        if not self._settled.wait(max(until - time.monotonic(), 0.0)):
            if time.monotonic() < self.deadline:
                raise LateError(f"no answer within {timeout:.3f} s; the call goes on")
            self.expire()
        with self._lock:
            if isinstance(self._outcome, Received):
                self._outcome = _answer(self._outcome, self._decode)
            outcome = self._outcome
        if isinstance(outcome, Reply):
            return outcome
        raise cast("RemoteError", outcome)

    def cancel(self) -> int:
        """Give the call up; the bytes of its request that had left. See `Link.take_back` for how they are counted."""
        if self._left is None:
            self._left = self._remote.take_back(self._letter)
            self._remote.forget(self)
            if self.settle(CancelledError("the call was cancelled")) and self._letter.handed is not None:
                self._remote.tell_cancelled(self)
        return self._left

    def expire(self) -> None:
        """Give the call up because its deadline has passed."""
        self._remote.forget(self)
        self._remote.take_back(self._letter)
        self.settle(LateError("the deadline passed before an answer came"))

    def settle(self, outcome: Received | RemoteError) -> bool:
        """Keep what came of it, unless something has before. An answer is read by the thread that wants it."""
        with self._lock:
            first = self._outcome is None
            if first:
                self._outcome = outcome
        self._settled.set()
        return first


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
