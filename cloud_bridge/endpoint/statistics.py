"""What the endpoint has done since it was started, by model and version, as Triton's statistics extension tells it."""

from __future__ import annotations

import threading
import time
from typing import Any

import msgspec


class Tally(msgspec.Struct):
    """So many, and the nanoseconds that they took together."""

    count: int = 0
    ns: int = 0

    def add(self, seconds: float, count: int = 1) -> None:
        """`count` of them took so long together."""
        self.count += count
        self.ns += round(seconds * 1e9)


class Done(msgspec.Struct):
    """One version of a model. Counts are of calls, but for `rows`."""

    last: int = 0
    """Milliseconds since 1970 of the last answer."""
    rows: int = 0
    runs: int = 0
    success: Tally = msgspec.field(default_factory=Tally)
    fail: Tally = msgspec.field(default_factory=Tally)
    queue: Tally = msgspec.field(default_factory=Tally)
    compute: Tally = msgspec.field(default_factory=Tally)
    batches: dict[int, Tally] = msgspec.field(default_factory=dict)
    """Rows that ran together -> such runs."""


class Statistics:
    """For any thread."""

    def __init__(self) -> None:
        self._done: dict[tuple[str, str], Done] = {}
        self._lock = threading.Lock()

    def ran(self, model: str, version: str, *, rows: int, seconds: float, waited: list[float], failed: int) -> None:
        """Calls of this model ran together: so many rows, for so long, after each had waited so long; some failed."""
        with self._lock:
            done = self._done.setdefault((model, version), Done())
            done.last = time.time_ns() // 1_000_000
            done.rows += rows
            done.runs += 1
            succeeded = len(waited) - failed
            if succeeded:
                done.success.add(sum(waited) * succeeded / len(waited) + seconds * succeeded, succeeded)
            if failed:
                done.fail.add(sum(waited) * failed / len(waited) + seconds * failed, failed)
            done.queue.add(sum(waited), len(waited))
            done.compute.add(seconds * len(waited), len(waited))
            done.batches.setdefault(rows, Tally()).add(seconds)

    def document(self, model: str | None = None, version: str | None = None) -> dict[str, Any]:
        """The extension's document: of all models that have run, of one, or of one version."""
        with self._lock:
            told = [
                _told(name, each, done)
                for (name, each), done in sorted(self._done.items())
                if model in (None, name) and version in (None, each)
            ]
        if not told and model is not None:
            told = [_told(model, version or "", Done())]
        return {"model_stats": told}


def _told(name: str, version: str, done: Done) -> dict[str, Any]:
    none = {"count": 0, "ns": 0}
    tallies = {"success": done.success, "fail": done.fail, "queue": done.queue, "compute_infer": done.compute}
    return {
        "name": name,
        "version": version,
        "last_inference": done.last,
        "inference_count": done.rows,
        "execution_count": done.runs,
        "inference_stats": {
            **{what: msgspec.to_builtins(tally) for what, tally in tallies.items()},
            "compute_input": none,
            "compute_output": none,
            "cache_hit": none,
            "cache_miss": none,
        },
        "batch_stats": [
            {"batch_size": rows, "compute_infer": msgspec.to_builtins(tally), "compute_input": none, "compute_output": none}
            for rows, tally in sorted(done.batches.items())
        ],
    }
