"""What is desired of a device, as far as it can be taken: budgets and a policy, and versions that are to be active. No I/O
but the journal."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from cloud_bridge.agent.journal import Journal
from cloud_bridge.protocol.fleet import shadow
from cloud_bridge.protocol.fleet.shadow import Config, Models, Section
from edge_runtime.errors import ProtocolError
from edge_runtime.routing.policy import Policy

WISHED, ENDED = "shadow/wished", "shadow/ended"
"""What the journal remembers: versions that are desired; those of them that a job has ended since."""


def configured(desired: Section, policy: Policy) -> Config:
    """The config that is desired, entry by entry; `policy` rules where none is."""
    budgets: dict[str, float] = {}
    refused: dict[str, str] = {}
    given = desired.get("budgets")
    for model, budget in given.items() if isinstance(given, Mapping) else ():
        try:
            budgets |= shadow.read({"budgets": {model: budget}}, Config).budgets
        except ProtocolError as error:
            refused[model] = str(error)
    if "policy" in desired:
        try:
            policy = shadow.read({"policy": desired["policy"]}, Config).policy
        except ProtocolError as error:
            refused["policy"] = str(error)
    return Config(budgets=budgets, policy=policy, refused=refused)


class Wishes:
    """For versions: each is tried once, and again after a job has changed something. A job that gives a model another
    version ends what was wished of it before."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._wished: dict[str, str] = {}
        self._refused: dict[str, str] = {}
        self._tried: dict[str, tuple[str, str]] = {}
        self._known: dict[str, str] = msgspec.json.decode(journal.get(WISHED, "{}"))
        """What was wished when it was last told, maybe before this process began."""
        self._ended: dict[str, str] = msgspec.json.decode(journal.get(ENDED, "{}"))

    @property
    def ended(self) -> Mapping[str, str]:
        """Those that a job has ended: to be taken out of the shadow."""
        return self._ended

    def take(self, desired: Section) -> None:
        """What is desired of the models now, as far as it can be read. What a job has ended is forgotten where nobody
        desires it any more."""
        given = desired.get("active")
        self._wished, self._refused = {}, {}
        for model, version in given.items() if isinstance(given, Mapping) else ():
            try:
                self._wished |= shadow.read({"active": {model: version}}, Models).active
            except ProtocolError as error:
                self._refused[model] = str(error)
        if self._wished != self._known:
            self._known = self._wished
            self._keep(WISHED, self._known)
        self.over({model: version for model, version in self._ended.items() if self._wished.get(model) != version})

    def over(self, wishes: Mapping[str, str]) -> None:
        """These are not in the shadow any more: where they are from now on, that is said anew."""
        ended = {model: version for model, version in self._ended.items() if wishes.get(model) != version}
        if ended != self._ended:
            self._ended = ended
            self._keep(ENDED, ended)

    def next(self, active: Mapping[str, str]) -> tuple[str, str] | None:
        """A model, and the version of it that is wished and was not tried yet."""
        for model, version in self._open().items():
            if active.get(model) != version and self._tried.get(model, ("", ""))[0] != version:
                return model, version
        return None

    def tried(self, model: str, version: str, trouble: str) -> None:
        """A version that was wished is active now, or is not, for this reason."""
        self._tried[model] = version, trouble

    def acted(self, model: str | None, active: Mapping[str, str]) -> None:
        """A job has changed something; where it gave a model another version, that model: that ends what was wished of it
        before, also by what was known before this process began. Whatever else is wished and is not so is tried again."""
        self._tried = {}
        wish = None if model is None else self._known.get(model)
        if model is not None and wish is not None and active.get(model) != wish:
            self._ended = self._ended | {model: wish}
            self._keep(ENDED, self._ended)

    def held(self, active: Mapping[str, str]) -> Models:
        """How it stands: to be reported."""
        wishes = self._open()
        refused = {
            model: f"{version}: {trouble}"
            for model, (version, trouble) in self._tried.items()
            if trouble and wishes.get(model) == version
        }  # fmt: skip
        return Models(active=dict(active), refused=self._refused | refused)

    def _open(self) -> dict[str, str]:
        return {model: version for model, version in self._wished.items() if self._ended.get(model) != version}

    def _keep(self, what: str, wishes: Mapping[str, str]) -> None:
        self._journal.set(what, msgspec.json.encode(wishes).decode())
