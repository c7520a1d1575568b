"""A process that is killed and started again."""

from __future__ import annotations

import subprocess
from contextlib import suppress


class Mortal:
    """What all of them have in common; each starts in its own way, with texts in its pipes."""

    _process: subprocess.Popen[str] | None = None

    @property
    def runs(self) -> bool:
        """Whether it is there."""
        return self.status is None

    @property
    def status(self) -> int | str | None:
        """How it has ended; None while it is there."""
        return "not started" if self._process is None else self._process.poll()

    def kill(self) -> None:
        """As a power cut would."""
        if self._process is not None:
            self._process.kill()
            with suppress(BrokenPipeError):
                self._process.communicate()
            self._process = None
