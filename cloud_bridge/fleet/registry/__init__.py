"""Where a fleet is kept: its things and their shadows, jobs, executions, and the logs of rollouts."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

from cloud_bridge.fleet.registry.database import Database
from cloud_bridge.fleet.registry.devices import Device, Devices
from cloud_bridge.fleet.registry.jobs import Job, Jobs
from cloud_bridge.fleet.registry.overview import Overview

__all__ = ["Device", "Devices", "Job", "Jobs", "Registry"]


class Registry:
    """One fleet's, in a file or at a URL. Several controllers may work on one. Raises as `Database` does, at any call."""

    def __init__(self, where: str | Path) -> None:
        self._database = Database(where)
        self.devices, self.jobs = Devices(self._database), Jobs(self._database)
        self.overview = Overview(self._database)
        self.group = self._database.group
        """The name by which its controllers share what they hear; a secret of theirs."""

    def close(self) -> None:
        """Let go of it."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
