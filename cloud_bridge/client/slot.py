"""Where a call's outcome is put, once, by whichever thread has it first."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Slot(Generic[T]):
    """Filled once; whoever waits is woken, whoever asked to be called is called."""

    def __init__(self) -> None:
        self.outcome: T | None = None
        self._filled = False
        self._lock = threading.Lock()
        self._latch = threading.Lock()  # held until it is filled: a fifth of what threading.Event takes
        self._latch.acquire()
        self._callbacks: list[Callable[[], None]] = []

    def put(self, outcome: T) -> bool:
        """Keep this, unless there is something already: what comes late is dropped. Whether it was kept."""
        with self._lock:
            if self._filled:
                return False
            self.outcome = outcome
            self._filled = True
            self._latch.release()
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()
        return True

    def done(self) -> bool:
        """Whether it is filled."""
        return self._filled

    def wait(self, timeout: float) -> bool:
        """Whether it is filled within `timeout` seconds."""
        if not self._filled and self._latch.acquire(timeout=min(max(timeout, 0.0), threading.TIMEOUT_MAX)):
            self._latch.release()  # whoever else waits
        return self._filled

    def add_done_callback(self, callback: Callable[[], None]) -> None:
        """Call this when it is filled; at once if it is."""
        with self._lock:
            if not self._filled:
                self._callbacks.append(callback)
                return
        callback()
