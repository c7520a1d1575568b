"""How much of the endpoint's memory requests may hold."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from edge_runtime.errors import RefusedError

BODY_SECONDS = 60.0
"""A request that is not complete after this is given up (408)."""


class Room:
    """The bytes that requests may hold all together, while they arrive and until they are answered. For any thread."""

    def __init__(self, size: int) -> None:
        self._free = size
        self._lock = threading.Lock()

    def take(self, size: int) -> None:
        """Raises RefusedError (503) when there is not so much left."""
        with self._lock:
            if size > self._free:
                raise RefusedError(
                    "the endpoint holds too many large requests: try again later", status=503, retry_after=1.0
                )
            self._free -= size

    def give(self, size: int) -> None:
        """Give back what was taken."""
        with self._lock:
            self._free += size

    @contextmanager
    def holding(self, size: int) -> Iterator[None]:
        """Take it, and give it back in the end. RefusedError as above."""
        self.take(size)
        try:
            yield
        finally:
            self.give(size)
