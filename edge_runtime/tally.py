"""How the calls of one version end, counted while somebody watches it: see `Runtime.watch`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from edge_runtime.errors import EdgeError, InputError


class Tally:
    """Counts from any thread. A call that the caller asked wrongly (InputError) says nothing of the version, and is not
    counted."""

    def __init__(self) -> None:
        self._lock = Lock()
        self.calls = 0
        """That have ended."""
        self.failures = 0
        """Of them, those that raised."""
        self.last = ""
        """What the last failure was, in words."""

    @contextmanager
    def call(self) -> Iterator[None]:
        """One call."""
        try:
            yield
        except InputError:
            raise
        except EdgeError as error:
            self.fail(error)
            raise
        with self._lock:
            self.calls += 1

    def fail(self, error: EdgeError) -> None:
        """A call has failed, or the version could not be opened for one."""
        if not isinstance(error, InputError):
            with self._lock:
                self.calls += 1
                self.failures += 1
                self.last = f"{type(error).__name__}: {error}"
