"""Which of the endpoint's workers are there, as far as a device has heard. Pure."""

from __future__ import annotations

from typing import Literal

import msgspec

from cloud_bridge.protocol.message import Buffer
from edge_runtime.reading import decoder

SETTLE_SECONDS = 1.0
"""After this long on a connection, the retained states of the workers are taken to have arrived."""


class _Status(msgspec.Struct):
    state: Literal["ready", "lost", "disconnected"]


class Census:
    """The workers that were heard of on one connection.

    Their states are retained, but not every broker tells the retained ones: until one is heard of, a call is tried.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """The connection is lost: nothing is known any more."""
        self._ready: frozenset[str] = frozenset()
        self._heard = self._had = False
        self._since: float | None = None

    def begin(self, now: float) -> None:
        """The connection is up. Some brokers tell retained states before they confirm the subscription: they stay."""
        self._since = now

    def note(self, worker: str, payload: Buffer) -> bool:
        """Take in a worker's status; whether it was the last one ready and is no more. What is no status is passed over."""
        try:
            ready = bool(payload) and decoder(_Status).decode(payload).state == "ready"
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return False
        self._heard = True
        if ready:
            self._had = True
            self._ready |= {worker}
            return False
        was = bool(self._ready)
        self._ready -= {worker}
        return was and not self._ready

    def nobody(self, now: float) -> bool:
        """Whether it is known that no worker is there. On a new connection the news comes one by one: it has to settle."""
        settled = self._had or (self._since is not None and now - self._since > SETTLE_SECONDS)
        return self._heard and not self._ready and settled
