"""A controller's port over a link: what is published is waited for."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

from cloud_bridge.control.link import Link, Said, Taken
from edge_runtime.errors import InputError, UnreachableError

PATIENCE = 30.0
"""Seconds in which a broker takes one message more, or is given up."""

_log = logging.getLogger(__name__)


class Post:
    """One thread publishes; the link's tells what the broker has taken."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._changed = threading.Condition()
        self._open: set[int] = set()
        """Said, and not taken yet."""
        self._early: set[int] = set()
        """Taken before it was known how they are called."""
        self._lost = False

    def publish(self, messages: Sequence[Said]) -> None:
        """See Port. One that the broker refuses is told in the log, and not said again by that."""
        with self._changed:
            self._open, self._early, self._lost = set(), set(), False
        said = {number for message in messages if (number := self._say(message))}
        with self._changed:
            self._open = said - self._early
            while self._open and not self._lost:
                left = len(self._open)
                if not self._changed.wait(PATIENCE) and len(self._open) == left:
                    raise UnreachableError(f"the broker has not taken {left} messages for {PATIENCE:g} seconds")
            if self._open:
                raise UnreachableError(f"the connection to the broker ended before it had taken {len(self._open)} messages")

    def taken(self, event: Taken) -> None:
        """The broker has one."""
        with self._changed:
            if event.number in self._open:
                self._open.remove(event.number)
                if not self._open:
                    self._changed.notify()
            else:
                self._early.add(event.number)

    def down(self) -> None:
        """The connection has ended, and nobody tells any more what was taken."""
        with self._changed:
            self._lost = True
            self._changed.notify()

    def _say(self, message: Said) -> int:
        try:
            number = self._link.say(message)
        except InputError as error:
            _log.error("not said: %s", error)
            return 0
        if not number:
            raise UnreachableError("the broker is not there")
        return number
