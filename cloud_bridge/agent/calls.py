"""What becomes of an application's calls while a version is on trial: counted by the runtime in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_runtime.tally import Tally

if TYPE_CHECKING:
    from edge_runtime.runtime import Runtime


class Calls:
    """Of one runtime. Each model has one version on trial at a time, at most."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._on: dict[str, tuple[str, Tally]] = {}

    def begin(self, model: str, version: str) -> None:
        """Count those of a version that is about to be on trial."""
        self.end(model)
        self._on[model] = version, self._runtime.watch(model, version)

    def wrong(self, model: str, failures: float) -> str:
        """What is wrong with the version on trial, of whose calls this share may fail; "" where nothing is."""
        if model not in self._on:
            return ""
        tally = self._on[model][1]
        return judged(tally.calls, tally.failures, failures, tally.last)

    def end(self, model: str) -> None:
        """Count them no more."""
        if model in self._on:
            self._runtime.unwatch(model, self._on.pop(model)[0])


def judged(calls: int, failed: int, share: float, last: str) -> str:
    """What is wrong where so many calls have failed; "" as long as it is no larger share than may."""
    if failed <= share * calls:
        return ""
    return f"{failed} of {calls} calls failed, and {share:.3g} of them may; the last one: {last}"
