"""How a device stands, told anew each time that it is asked: its active versions, the answer to `status`, its figures."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence

from cloud_bridge.agent.figures import figures
from cloud_bridge.agent.journal import Journal
from cloud_bridge.control.trouble import Trouble
from cloud_bridge.protocol.fleet.rpc import DeviceStatus, Running
from cloud_bridge.protocol.fleet.telemetry import Figures
from edge_runtime.bundles.installed import Installed
from edge_runtime.errors import EdgeError


class Standing:
    """Of one device."""

    def __init__(
        self, thing: str, store: Installed, journal: Journal, trouble: Trouble, problems: Callable[[], Sequence[str]], *,
        session: str, agent: str, clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        """`problems` tells what else somebody should look after; `session` is this process's, `agent` its version; `clock`
        is in seconds."""
        self._thing, self._store, self._journal, self._trouble = thing, store, journal, trouble
        self._problems, self._session, self._agent = problems, session, agent
        self._clock, self._began = clock, clock()

    def active(self) -> Mapping[str, str]:
        """The active version of each model; none where the store cannot be read just now."""
        try:
            found = {name: self._store.active(name) for name in self._store.names()}
        except EdgeError as error:
            self._trouble.meet(error)
            return {}
        return {name: active for name, active in found.items() if active is not None}

    def status(self, unix: float) -> DeviceStatus:
        """The answer to `status`."""
        problems, models = list(self._problems()), {}
        for name, active in self.active().items():
            try:
                models[name] = Running(version=active, digest=self._store.bundle(name, active).digest)
            except EdgeError as error:
                problems.append(f"{name}: {error}")
        job = self._journal.next()
        return DeviceStatus(
            thing=self._thing, session=self._session, agent=self._agent, timestamp=unix, uptime=self._clock() - self._began,
            models=models, job=None if job is None else job.id, waiting=len(self._journal.outbox()),
            free=shutil.disk_usage(self._store.path).free,
            problems=(*problems, *([self._trouble.told] if self._trouble.told else [])),
        )  # fmt: skip

    def figures(self, unix: float) -> Figures:
        """What is told now and then."""
        waiting = len(self._journal.outbox())
        return figures(self._store.path, unix=unix, uptime=self._clock() - self._began, waiting=waiting)
