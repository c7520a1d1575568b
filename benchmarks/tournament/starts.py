"""The second start of a tuned model, from what its engine has compiled before, beside the engine's own start."""

from __future__ import annotations

from pathlib import Path

import msgspec

from benchmarks.tournament.rivals import DEFAULTS, fp32, left_alone
from edge_runtime.bench.process import COMMAND, Worker, request_of
from edge_runtime.bench.statistics import Ratio, paired_ratio
from edge_runtime.bundles.bundle import Bundle
from edge_runtime.engines import Candidate, compiled
from edge_runtime.profile import Tuned
from edge_runtime.tuning.compiled import keep


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
    # An engine left alone takes an artifact's tensors as they are: where those are integers, it starts with fp32.
    same = fp32(bundle, winner.device.backend) if winner.variant.quantized else winner.variant
    plain = Candidate(same or winner.variant, winner.device)
    ours: list[float] = []
    raw: list[float] = []
    for repeat in range(repeats + 1):  # the first only warms the page cache
        for times, request, command in (
            (ours, request_of(bundle, winner, cache=cache), COMMAND),
            (raw, left_alone(bundle, plain), DEFAULTS),
        ):
            with Worker(request, command=command) as worker:
                seconds = worker.started().cold.seconds
                if repeat:
                    times.append(seconds)
    return Starts(tuple(ours), tuple(raw), kept)
