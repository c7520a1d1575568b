"""Which energy meter a tournament counts with."""

from __future__ import annotations

from edge_runtime.bench import energy
from edge_runtime.bench.energy import Meter
from edge_runtime.errors import InputError
from edge_runtime.objective import Objective


def meter(objective: Objective) -> Meter | None:
    """The device's meter, or the declared power; None where energy is not asked for. Raises InputError where there is
    neither."""
    if objective.metric == "energy":
        return energy.meter(objective.watts)
    if objective.watts is not None:
        raise InputError("a declared power (--watts) goes with the objective energy")
    return None
