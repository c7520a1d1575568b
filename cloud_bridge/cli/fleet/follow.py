"""A job, watched in the terminal until its rollout is over, and told."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloud_bridge.cli.fleet import progress, results
from cloud_bridge.fleet.state import OVER
from edge_runtime.cli.shell import table

if TYPE_CHECKING:
    from cloud_bridge.fleet.registry import Registry

GLANCE = 0.5
"""Seconds between two looks."""

PATIENCE = 5.0
"""Seconds in which a controller takes a job that is new."""


def follow(registry: Registry, job: str, where: str) -> None:
    """Show how it goes, on standard error, until it is over. `where` is the registry."""
    from tqdm import tqdm

    total = _total(registry, job)
    with tqdm(total=total, bar_format="{n_fmt}/{total_fmt} |{bar:20}| {elapsed} {desc}", leave=False, disable=None) as bar:
        _until_over(registry, job, where, total, bar)


def interrupted(registry: Registry, job: str) -> None:
    """Say what Ctrl-C has not ended."""
    if job in registry.jobs.list():
        print(
            f"{job} goes on: `cloud-bridge fleet jobs {job}` tells how it stands, "
            f"`cloud-bridge fleet cancel {job}` ends it", file=sys.stderr,
        )  # fmt: skip


def tell(registry: Registry, job: str, *, as_json: bool, out: Path | None = None, ordered: bool = False) -> int:
    """What came of it, and what it brought back: the exit status. `ordered`: it was only to be ordered."""
    standing, total = registry.overview.job(job, time.time()), _total(registry, job)
    order = progress.document(standing.document)
    rows = results.take(registry, job, None if order is None else order.command, out)
    if as_json:
        told = progress.as_data(standing, total, registry.jobs.executions(job))
        print(json.dumps(told | ({"results": rows} if rows else {}), indent=2))
    elif ordered:
        print(f"{job} is ordered, for {total}: `cloud-bridge fleet jobs {job}` tells how it stands")
    else:
        if rows:
            results.show(rows)
        print(progress.outcome(standing, total))
        if rows and out is None:
            print(f"`cloud-bridge fleet jobs {job} --out DIR` writes what it brought back")
    return 0 if ordered or standing.phase == "succeeded" else 1


def show(registry: Registry, job: str, where: str, *, as_json: bool, out: Path | None) -> int:
    """One job: how each of its things stands."""
    if not as_json:
        now = time.time()
        standing = registry.overview.job(job, now)
        order = progress.document(standing.document)
        print(f"{progress.named(None if order is None else order.command)}, ordered {progress.clock(standing.created)}")
        rows = progress.rows(registry.jobs.executions(job), now)
        if rows:
            table(("THING", "STATUS", "TRY", "SINCE", "STEP", "WHY"), rows)
        if more := progress.trouble(standing, now - standing.created, PATIENCE, where):
            print(more)
    tell(registry, job, as_json=as_json, out=out)
    return 0


def _until_over(registry: Registry, job: str, where: str, total: int, bar: Any) -> None:
    begin, told = time.monotonic(), ""
    seen: Mapping[str, int] = {}
    while True:
        now = time.time()
        standing = registry.overview.job(job, now)
        away, steps = registry.overview.away(job), registry.overview.steps(job)
        bar.set_description_str(progress.counted(standing.counts, total, away, steps), refresh=False)
        bar.update(progress.ended(standing.counts) - bar.n)
        lines, seen = progress.failures(registry.overview.failures(job), seen)
        trouble = progress.trouble(standing, time.monotonic() - begin, PATIENCE, where)
        for line in [*lines, trouble] if trouble and trouble != told else lines:
            bar.write(line, file=sys.stderr)
        told = trouble
        if standing.phase in OVER:
            return
        time.sleep(GLANCE)


def _total(registry: Registry, job: str) -> int:
    return sum(len(group.things) for group in registry.jobs.get(job).rollout.groups)
