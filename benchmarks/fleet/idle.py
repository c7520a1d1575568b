"""An agent alone: `cloud-bridge agent` on a broker, idle, without an engine. What it holds of memory, and what it takes of
the processors.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import msgspec

from benchmarks.fleet.stage import CLI, Operator, brokered, started, usage
from benchmarks.tiny import tiny_bundle
from edge_runtime.bundles.store import Store
from edge_runtime.errors import RunError

_WARM = 3.0
"""Seconds until what a start takes is over."""


class Idle(msgspec.Struct, frozen=True):
    """The raw values. Memory in bytes."""

    resident: int
    proportional: int
    """Pages that others have too count in part."""
    unique: int
    """Pages that nobody else has."""
    seconds: float
    cpu: float
    """Seconds of a processor meanwhile."""
    start: float
    """Seconds of a processor that its start took."""


def hold(folder: Path, seconds: float) -> Idle:
    """Watch it for so long."""
    operator = Operator(folder)
    operator.publish({}, time.time())
    store = Store(folder / "store", create=True)
    store.install(tiny_bundle(folder / "tiny", adds=1.0).folder)
    with brokered() as running:
        command = [
            sys.executable, "-c", CLI, "agent", "--broker", running.url, "--thing", "alone", "--store", store.path,
            "--keys", operator.public, "--artifacts", "http://127.0.0.1:9", "--root-metadata", operator.root, "--json",
        ]  # fmt: skip
        with started(command) as process:
            assert process.stdout is not None  # noqa: S101 - it was asked for
            if not json.loads(process.stdout.readline() or b"{}").get("ready"):
                raise RunError("the agent did not start: see above why")
            time.sleep(_WARM)
            before, begin = usage(process.pid), time.monotonic()
            time.sleep(seconds)
            after, took = usage(process.pid), time.monotonic() - begin
            told = _memory(process.pid)
    return Idle(
        told["Rss"], told["Pss"], told["Private_Clean"] + told["Private_Dirty"], took, after.cpu - before.cpu, before.cpu
    )  # fmt: skip


def _memory(pid: int) -> dict[str, int]:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {name: int(rest.split()[0]) * 1024 for name, _, rest in (line.partition(":") for line in lines)}
