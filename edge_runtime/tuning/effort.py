"""How long a tournament takes at most, and how sure it must be."""

from __future__ import annotations

import msgspec


class Effort(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The sizes of a tournament's rounds, and when it is over."""

    turn_runs: int = 3
    turn_seconds: float = 0.03
    """A contender's turn in one round: at least so many runs and seconds."""
    settle_seconds: float = 0.015
    """Runs at the begin of each turn that do not count: another one's threads are still spinning, and caches are cold."""
    opening: int = 3
    """Rounds before anyone may drop out."""
    final: int = 40
    """Rounds of the finalists, at most."""
    finalists: int = 4
    confirming: int = 12
    """Rounds of the winner against the best with its backend's own settings."""
    crowded: int = 6
    """Rounds beside a busy neighbour."""
    gain: float = 1.2
    """How much better another must be there, at least, to be preferred to one that is faster on an idle machine."""
    idle: float = 5.0
    """How much more an idle machine weighs: what is 5 % slower on it must be 28 % faster beside a busy neighbour."""
    within: float = 2.0
    """A variant on a device takes part with all its settings if its own are within this factor of the leader's."""
    tie: float = 0.01
    """Two that are closer than this are a tie: the one that takes less CPU wins."""
