"""What a device did to what is active, out of its witness. Pure.

A change is an effect when it is on the disk. Its line `did` says so; where the process was killed before that line, the
next process's `boot` does, by what it found.

    trial     a version is active until further notice      commit    the one on trial is kept
    back      the one before it is active again             move      another one is active, and no trial was
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import msgspec

from benchmarks.chaos.device import Line
from edge_runtime.bundles.bundle import State

Deed: TypeAlias = Literal["trial", "commit", "back", "move", "odd"]


class Effect(msgspec.Struct, frozen=True):
    """One change, and for whom: the job's id and execution; "" is the shadow."""

    at: float
    job: str
    execution: int
    deed: Deed
    before: State
    after: State


class Told(msgspec.Struct, frozen=True):
    """What a witness comes to."""

    effects: Sequence[Effect]
    boots: Sequence[float]
    odd: Sequence[str]
    """Lines that contradict each other: somebody else has written to the store."""


def effects(lines: Sequence[Line]) -> Told:
    """In their order."""
    found: list[Effect] = []
    odd: list[str] = []
    boots: list[float] = []
    now: State | None = None
    open_: Line | None = None
    for line in lines:
        if line.what == "will":
            open_ = line
        elif now is not None and open_ is not None and line.state == open_.state:
            found.append(Effect(line.at, open_.job, open_.execution, deed(now, line.state), now, line.state))
            now, open_ = line.state, None
        elif now is None or line.state == now:
            now, open_ = line.state, None
        else:
            odd.append(f"{line.what} at {line.at:.3f} found {line.state}, and {now} was there before")
            now, open_ = line.state, None
        if line.what == "boot":
            boots.append(line.at)
    return Told(found, boots, odd)


def deed(before: State, after: State) -> Deed:
    """What a change is."""
    if before.trial and after.trial:
        return "odd"
    if after.trial:
        return "trial"
    if before.trial:
        return "commit" if before.active == after.active else "back"
    return "move" if before.active != after.active else "odd"
