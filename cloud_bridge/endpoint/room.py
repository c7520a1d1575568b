"""How much of the endpoint's memory requests may hold."""

from __future__ import annotations

import threading

from edge_runtime.errors import RefusedError


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
