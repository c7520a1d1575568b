"""A file of a store's settings, followed as others replace it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from edge_runtime.errors import InputError
from edge_runtime.whole import Stamp, stamp

Content = TypeVar("Content")

_log = logging.getLogger(__name__)


class Followed(Generic[Content]):
    """What a file holds now. One that is damaged changes nothing, and is told in the log: the last good one holds, and at
    first `content`. `read` raises InputError, and gives what holds where there is no file."""

    def __init__(self, path: Path, read: Callable[[Path], Content], content: Content) -> None:
        self._path, self._name, self._read = path, str(path), read
        self._stamp: Stamp | None = None
        self._content = content

    @property
    def now(self) -> Content:
        """As it was last written, where that is good."""
        if (seen := stamp(self._name)) != self._stamp:
            self._stamp = seen
            try:
                self._content = self._read(self._path)
            except InputError as error:
                _log.error("%s; what it held before holds", error)
        return self._content
