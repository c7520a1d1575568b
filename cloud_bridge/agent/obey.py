"""From a command to what is done about it on this device: the steps of jobs."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import TypeAlias

from cloud_bridge.agent import child, deploy
from cloud_bridge.agent.deploy import Watch
from cloud_bridge.agent.work import LONGEST_BODY, Done
from cloud_bridge.protocol.fleet.commands import Activate, Benchmark, CollectLog, Command, Deploy, Rollback, Tune
from edge_runtime.bundles.store import Store
from edge_runtime.errors import InputError

Measure: TypeAlias = Callable[[child.Asked, Event], Done]
"""Does a step that opens engines: `child.ask`, in a process of its own."""


def unwatched(model: str, failures: float) -> str:
    """The health of models that nobody watches: a trial is then its check, and that the device goes on for so long."""
    return ""


class Hands:
    """Does the steps of jobs, on this store."""

    def __init__(
        self, store: Store, fetch: deploy.Fetch, *, health: deploy.Health = unwatched, log: Path | None = None,
        device: str | None = None, measure: Measure = child.ask, clock: Callable[[], float] = time.monotonic,
        keep: int = 1, calls: Watch | None = None,
    ) -> None:  # fmt: skip
        """`fetch` brings artifacts; `health` tells how a model on trial does, and so do the `calls` that are counted
        meanwhile; `log` is the decision log of the device's runtime, and `device` the engine, or engine and device, that it
        is held to; `keep` versions stay beside the active one."""
        self._store, self._fetch, self._log = store, fetch, log
        self._health, self._calls = health, calls
        self._device, self._measure, self._clock, self._keep = device, measure, clock, keep

    def settle(self) -> tuple[str, ...]:
        """Bring back what was before every version on trial; where that fails, why."""
        return deploy.settle(self._store)

    def run(self, work: Command, step: str, details: dict[str, str], halt: Event) -> Done:
        """Do a step of a job. `details` is what the steps before it found. Raises an EdgeError; CancelledError soon after
        `halt` was set."""
        match work, step:
            case Deploy(), "install":
                return deploy.install(self._store, work, self._fetch, halt)
            case Deploy() | Activate(), "activate":
                if self._calls is not None:
                    self._calls.begin(work.model, work.version)
                return deploy.activate(self._store, work)
            case Deploy() | Activate(), "soak":
                return deploy.soak(self._store, work, self._well, self._clock, halt)
            case Deploy() | Activate(), "commit":
                return self._commit(work)
            case Rollback(), "choose":
                return deploy.choose(self._store, work)
            case Rollback(), "rollback":
                return deploy.rollback(self._store, work, details)
            case CollectLog(), "collect":
                return self._collect(work)
            case ((Deploy() | Activate() | Benchmark() | Tune()), _):
                return self._measure(child.Asked(str(self._store.path), work, step, self._device), halt)
        raise InputError(f"{type(work).__name__} has no step {step!r}")

    def back(self, work: Command) -> dict[str, str]:
        """End this job's trial, if it has come to that: what is active then. Raises an EdgeError."""
        match work:
            case Deploy() | Activate():
                self._end(work)
                return deploy.back(self._store, work.model)
            case _:
                return {}

    def _well(self, model: str, failures: float) -> str:
        wrong = "" if self._calls is None else self._calls.wrong(model, failures)
        return wrong or self._health(model, failures)

    def _commit(self, work: Deploy | Activate) -> Done:
        done = deploy.commit(self._store, work)
        self._end(work)
        return Done(done.details | deploy.tidy(self._store, work.model, self._keep)) if isinstance(work, Deploy) else done

    def _end(self, work: Deploy | Activate) -> None:
        if self._calls is not None:
            self._calls.end(work.model)

    def _collect(self, work: CollectLog) -> Done:
        if self._log is None:
            raise InputError("this device keeps no decision log: give its runtime and its agent the same path")
        lines, lost = newest(self._log, work.most)
        packed = zlib.compress(b"".join(lines), 9)
        while len(packed) > LONGEST_BODY and lines:
            cut = max(1, len(lines) - int(0.9 * len(lines) * LONGEST_BODY / len(packed)))
            lines, lost = lines[cut:], lost + cut
            packed = zlib.compress(b"".join(lines), 9)
        return Done({"lines": str(len(lines)), "older": str(lost)}, packed)


def newest(path: Path, limit: int) -> tuple[list[bytes], int]:
    """The last lines of a decision log of at most `limit` bytes together, and how many older ones there are. A last line
    that is not whole is left out. Raises InputError when there is no log."""
    from edge_runtime.decisions import OLDER  # here: few logs are collected, and it brings all of routing

    lines: list[bytes] = []
    try:
        for file in (path.with_name(path.name + OLDER), path):
            if file == path or file.exists():
                lines += [line for line in file.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    except OSError as error:
        raise InputError(f"no decision log can be read at {path}: {error.strerror}") from error
    size, first = 0, len(lines)
    while first and size + len(lines[first - 1]) <= limit:
        first -= 1
        size += len(lines[first])
    return lines[first:], first
