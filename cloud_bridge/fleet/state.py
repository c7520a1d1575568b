"""How far a rollout is. Values."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import msgspec

from cloud_bridge.fleet.events import Outcome
from cloud_bridge.protocol.fleet.jobs import State as Status

NEVER = float("inf")

Phase: TypeAlias = Literal["running", "paused", "aborting"] | Outcome

OVER: frozenset[str] = frozenset(get_args(Outcome))


class Flight(msgspec.Struct, frozen=True):
    """A thing that was told and has not ended."""

    number: int
    status: Status
    since: float
    """When it was told."""
    heard: float
    """When it last spoke."""


class Score(msgspec.Struct, frozen=True):
    """How far a group is."""

    ended: int = 0
    succeeded: int = 0


class State(msgspec.Struct):
    """How far a rollout is."""

    began: float
    at: float
    groups: dict[str, int]
    """Each thing's group, by number; the same from first to last."""
    scores: list[Score]
    opened: int = 0
    """Groups that have begun."""
    phase: Phase = "running"
    why: str = ""
    """Why it is not running."""
    gated: bool = False
    """It is paused because a group was not good enough."""
    force: bool = False
    queue: list[str] = []
    flying: dict[str, Flight] = {}
    failed: dict[str, tuple[int, Status]] = {}
    """Of things in the queue that are to try again: their last execution."""
    ended: dict[str, Status] = {}
    tally: dict[Status, int] = {}
    """Executions by how they ended, since it was last resumed."""
    notified: int = 0
    succeeded: int = 0
    recent: list[tuple[float, int]] = []
    """When how many were told, in the last minute."""

    @property
    def over(self) -> bool:
        """Whether nothing can change any more."""
        return self.phase in OVER

    def copy(self) -> State:
        return msgspec.structs.replace(
            self, scores=[*self.scores], queue=[*self.queue], flying={**self.flying}, failed={**self.failed},
            ended={**self.ended}, tally={**self.tally}, recent=[*self.recent],
        )  # fmt: skip
