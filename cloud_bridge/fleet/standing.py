"""How a job is, for whoever asks. A value."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from cloud_bridge.protocol.fleet.jobs import State

ACTIVE = ("running", "paused", "aborting")
"""The phases of a rollout that is not over."""


class Standing(msgspec.Struct, frozen=True):
    """How a job is."""

    job: str
    phase: str
    why: str
    document: bytes
    """The order."""
    created: float
    expires: float | None
    taken: bool
    """Whether a controller has it in hand."""
    counts: Mapping[State, int]
    """Of the things that were told, how many stand how."""
