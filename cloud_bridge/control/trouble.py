"""What goes wrong for a while in a service that goes on: a full disk, a database that is away."""

from __future__ import annotations

import logging

from edge_runtime.errors import EdgeError


class Trouble:
    """What goes wrong just now: logged once, however often it is met."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self.told = ""

    def meet(self, error: EdgeError) -> None:
        """It has gone wrong."""
        if str(error) != self.told:
            self.told = str(error)
            self._log.error("%s; it is tried again", error)

    def end(self) -> None:
        """It works again."""
        self.told = ""
