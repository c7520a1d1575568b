"""The second start of a tuned model, from what its engine has compiled before, beside the engine's own start."""

from __future__ import annotations

from pathlib import Path

import msgspec

from benchmarks.tournament.rivals import DEFAULTS
from edge_runtime.bench.process import Worker, request_of
from edge_runtime.bench.statistics import Ratio, paired_ratio
from edge_runtime.bundles.bundle import Bundle
from edge_runtime.engines import Candidate, compiled
from edge_runtime.profile import Tuned
from edge_runtime.tuning.compiled import keep
from edge_runtime.values import Settings


class Starts(msgspec.Struct, frozen=True):
    """Seconds from a process that has only Python to the first answer, start by start."""

    ours: tuple[float, ...]
    raw: tuple[float, ...]
    kept: str

    @property
    def ratio(self) -> Ratio:
        """Ours over the engine's own."""
        return paired_ratio(self.ours, self.raw)


def start(bundle: Bundle, winner: Candidate, tuned: Tuned, caches: Path, *, repeats: int) -> Starts:
    """Start both in turns: the winner with its compiled form, and the same artifact by the engine's own API."""
    kept = keep(bundle, winner, tuned.winner.key, caches)
    cache = compiled(caches, tuned.winner)
    plain = msgspec.structs.replace(winner, settings=Settings())
    ours: list[float] = []
    raw: list[float] = []
    for repeat in range(repeats + 1):  # the first only warms the page cache
        for times, worker in (
            (ours, Worker(request_of(bundle, winner, cache=cache))),
            (raw, Worker(request_of(bundle, plain), command=DEFAULTS)),
        ):
            with worker:
                if repeat:
                    times.append(worker.started().cold.seconds)
                else:
                    worker.started()
    return Starts(tuple(ours), tuple(raw), kept)
