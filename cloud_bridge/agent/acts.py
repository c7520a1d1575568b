"""What a device does next: jobs first, then the versions that its shadow desires. Called by one thread, and stopped by
others."""

from __future__ import annotations

from threading import Event

from cloud_bridge.agent.commands import resolve, steps_of
from cloud_bridge.agent.duty import Duty, Hands
from cloud_bridge.agent.shadows import Shadows
from cloud_bridge.protocol.fleet.commands import Activate, Command
from edge_runtime.errors import CancelledError, EdgeError


class Acts:
    """Of one device."""

    def __init__(self, duty: Duty, shadows: Shadows, hands: Hands) -> None:
        self._duty, self._shadows, self._hands = duty, shadows, hands
        self._halt = Event()

    def stop(self) -> None:
        """Let what is under way end soon; nothing begins from then on."""
        self._halt.set()
        self._duty.stop()

    def act(self, now: float) -> bool:
        """One act of a job, or one wish of the shadow; False when there is nothing to do. `now` is a UNIX time."""
        if self._duty.act(now):
            self._shadows.acted()
            return True
        if self._halt.is_set() or (wish := self._shadows.wanted()) is None:
            return False
        model, version = wish
        trouble = self._activate(resolve(Activate(model=model, version=version), self._shadows.config.budgets))
        if not self._halt.is_set():
            self._shadows.tried(model, version, trouble)
        return True

    def _activate(self, work: Command) -> str:
        """What a shadow desires goes through the same steps as a job, and back like it: why it could not be."""
        try:
            for step in steps_of(work):
                self._hands.run(work, step.name, {}, self._halt)
        except (EdgeError, CancelledError) as error:
            try:
                self._hands.back(work)
            except EdgeError as worse:
                return f"{error}; and what was before could not be brought back: {worse}"
            return str(error)
        return ""
