"""What the endpoint has done since it was started, by model and version, as Triton's statistics extension tells it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
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


def merged(documents: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """One document of those of several endpoints that serve the same models: all counts and times added up."""
    models: dict[tuple[str, str], dict[str, Any]] = {}
    for document in documents:
        for told in document["model_stats"]:
            which = told["name"], told["version"]
            models[which] = _sum(models[which], told) if which in models else told
    known = {name for name, version in models if version}
    return {"model_stats": [told for (name, version), told in sorted(models.items()) if version or name not in known]}


def _sum(one: Any, other: Any, key: str = "") -> Any:
    """Of two parts of such documents."""
    if key in {"name", "version"}:
        return one
    if key == "last_inference":
        return max(one, other)
    if key == "batch_stats":
        batches: dict[int, Any] = {}
        for batch in (*one, *other):
            size = batch["batch_size"]
            batches[size] = {**_sum(batches[size], batch), "batch_size": size} if size in batches else batch
        return [batches[size] for size in sorted(batches)]
    if isinstance(one, dict):
        return {name: _sum(one[name], other[name], name) for name in one}
    return one + other
