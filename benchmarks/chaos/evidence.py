"""What is found on the disks when all is over: of each device its journal, its store and its witness; and the registry."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from benchmarks.chaos.device import JOURNAL, MODEL, Line
from cloud_bridge.agent.journal import Journal
from cloud_bridge.agent.shadows import DESIRED
from cloud_bridge.agent.work import Job
from cloud_bridge.fleet.log import replay
from cloud_bridge.fleet.registry import Registry
from cloud_bridge.protocol.fleet.jobs import JobExecution
from cloud_bridge.protocol.fleet.shadow import CONFIG, MODELS, Section, Shadow
from edge_runtime.bundles.bundle import State
from edge_runtime.bundles.installed import STATE
from edge_runtime.bundles.store import Store
from edge_runtime.errors import EdgeError


class Device(msgspec.Struct, frozen=True):
    """One device's disk."""

    jobs: Mapping[str, Job]
    unsent: int
    state: State
    versions: tuple[str, ...]
    damaged: tuple[str, ...]
    """Installed versions that are not whole, and why."""
    witness: Sequence[Line]
    config: Section
    """What the device keeps of what is desired of its config."""


class Rolled(msgspec.Struct, frozen=True):
    """One job in the registry."""

    phase: str
    why: str
    executions: Mapping[str, JobExecution]
    results: Mapping[str, bytes]
    """Unpacked."""
    replayed: str
    """The phase that its log comes to, made again."""
    ended: Mapping[str, str]
    """How each thing ended by that."""


class Evidence(msgspec.Struct, frozen=True):
    """All of it."""

    devices: Mapping[str, Device]
    jobs: Mapping[str, Rolled]
    shadows: Mapping[tuple[str, str], Shadow]


def gather(folder: Path, things: Sequence[str], jobs: Sequence[str], registry: Registry) -> Evidence:
    """When nothing runs any more."""
    return Evidence(
        {thing: device(folder / "devices" / thing, jobs) for thing in things},
        {job: rolled(registry, job) for job in jobs},
        {(thing, name): registry.devices.shadow(thing, name) for thing in things for name in (CONFIG, MODELS)},
    )


def device(folder: Path, ids: Sequence[str]) -> Device:
    """One device's disk, and what it knows of these jobs."""
    store = Store(folder / "store")
    journal = Journal(folder / "store" / JOURNAL)
    try:
        jobs = {id: job for id in ids if (job := journal.find(id)) is not None}
        return Device(
            jobs, len(journal.outbox()), state(folder), store.versions(MODEL), tuple(_damaged(store)),
            lines(folder), msgspec.json.decode(journal.get(DESIRED, "{}")),
        )  # fmt: skip
    finally:
        journal.close()


def state(folder: Path) -> State:
    """What its store says is active."""
    return msgspec.json.decode((folder / "store" / MODEL / STATE).read_bytes(), type=State)


def lines(folder: Path) -> Sequence[Line]:
    """Its witness."""
    return [msgspec.json.decode(line, type=Line) for line in (folder / "witness").read_bytes().splitlines()]


def rolled(registry: Registry, job: str) -> Rolled:
    """One job."""
    known = registry.jobs.get(job)
    try:
        _, state = replay(registry.jobs.log(job))
        replayed, ended = str(state.phase), dict(state.ended)
    except EdgeError as error:
        replayed, ended = f"none: {error}", {}
    results = {thing: zlib.decompress(body) for thing, body in registry.jobs.results(job).items()}
    return Rolled(known.phase, known.why, registry.jobs.executions(job), results, replayed, ended)


def _damaged(store: Store) -> Iterator[str]:
    for version in store.versions(MODEL):
        try:
            store.verify(store.bundle(MODEL, version))
        except EdgeError as error:
            yield f"{version}: {error}"
