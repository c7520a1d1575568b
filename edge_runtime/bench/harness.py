"""The harness: every way to run each bundle on this device, measured side by side, into one report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from statistics import median
from typing import Any

import msgspec

from edge_runtime import backends
from edge_runtime.bench.costs import joules, paced_cpu
from edge_runtime.bench.disturbances import counters, disturbances
from edge_runtime.bench.energy import Meter
from edge_runtime.bench.fingerprint import fingerprint
from edge_runtime.bench.inputs import seeded_inputs
from edge_runtime.bench.measure import Case, Samples, WarmUp, called, measure
from edge_runtime.bench.process import Limits, Worker, request_of
from edge_runtime.bench.report import Entry, Protocol, Report
from edge_runtime.bench.stages import around, stages
from edge_runtime.bench.statistics import doubts, needed, percentiles
from edge_runtime.bench.yardstick import NAME, yardstick
from edge_runtime.bundles import golden
from edge_runtime.bundles.manifest import Manifest
from edge_runtime.bundles.store import Bundle
from edge_runtime.engines import Candidate, candidates, open_candidate, tunings
from edge_runtime.errors import EdgeError, EngineMissingError, RunError
from edge_runtime.host import host, memory_available
from edge_runtime.profile import Key, Measurement, distribution
from edge_runtime.values import Array, Device

RUNS = needed(0.99) + 32
"""Runs of a candidate unless its time is up before: enough for an interval around the p99."""

Progress = Callable[[str, float], Any]
"""Told what is going on and the share that is done, 0 to 1."""


def bench(
    bundles: Sequence[Bundle], *,
    devices: Iterable[Device] | None = None, every_setting: bool = False,
    chosen: Callable[[Candidate], bool] = lambda candidate: True, limits: Limits = Limits(),
    runs: int = RUNS, seconds: float = 2.0, warmup: WarmUp = WarmUp(), seed: int = 0, meter: Meter | None = None,
    now: datetime | None = None, command: str = "edge-runtime bench",
    progress: Progress = lambda what, share: None,
) -> Report:  # fmt: skip
    """Measure each bundle x variant x device found here, with the backends' own settings, or with every setting that they
    take to be worth measuring.

    Each candidate runs in a process of its own (a crash, a hang or a leak loses that candidate only), which loads it, holds
    its outputs against the golden ones, and runs it once: cold start and memory. Those that did take turns, model by model:
    on the bundle's first golden sample, or, where it has none, on inputs drawn from `seed` in the manifest's typical sizes;
    a recurrent model's state is carried from run to run. A candidate that fails is an entry with its error. A yardstick
    takes turns with them, in this process. `devices` and `chosen` narrow the choice; `meter` counts joules; `now` dates the
    report. Raises EngineMissingError when there is nothing to run any of the bundles on.
    """
    found = tuple(backends.devices() if devices is None else devices)
    date = (now or datetime.now(UTC)).astimezone(UTC).isoformat(timespec="seconds")
    environment, before = fingerprint(), counters()
    entries: list[Entry] = []
    yardsticks: list[Samples] = []
    for number, bundle in enumerate(bundles):

        def tell(what: str, share: float, name: str = bundle.manifest.name, before: int = number) -> None:
            progress(f"{name}: {what}", (before + share) / len(bundles))

        tried = tunings(bundle.manifest, found) if every_setting else candidates(bundle.manifest, found)
        if picked := [candidate for candidate in tried if chosen(candidate)]:
            found_here, beside = _bench_model(bundle, picked, limits, runs, seconds, warmup, seed, meter, tell)
            entries += _staged(bundle, picked, found_here)
            yardsticks.append(beside)
    if not entries:
        names = ", ".join(bundle.manifest.name for bundle in bundles) or "no bundle"
        raise EngineMissingError(f"no engine found here runs {names}; `edge-runtime devices` lists what is installed")
    progress("done", 1.0)
    return Report(
        date=date, command=command, fingerprint=environment, protocol=Protocol(runs, seconds, seed), entries=tuple(entries),
        yardsticks=tuple(yardsticks), doubts=disturbances(before, counters()),
    )  # fmt: skip


def measurements(report: Report, bundles: Sequence[Bundle]) -> tuple[Measurement, ...]:
    """What a report says of each candidate that ran without an error, as a profile keeps it."""
    digests = {(b.manifest.name, b.manifest.version, v.name): v.digest for b in bundles for v in b.manifest.variants}
    here, kept = host(), []
    for e in report.entries:
        digest = digests.get((e.model, e.version, e.variant))
        if digest is not None and e.error is None and e.samples is not None:
            key = Key(
                sha256=digest, backend=e.backend, device=e.device, engine=e.engine, driver=e.driver, cpu=here.cpu,
                cores=here.cores, quota=here.quota, settings=e.settings,
            )  # fmt: skip
            latency = distribution([value * 1e-9 for value in e.samples.values])
            kept.append(Measurement(
                model=e.model, version=e.version, variant=e.variant, key=key, latency=latency, runs=len(e.samples.values),
                cpu=e.paced_cpu, joules=e.energy,
                memory=None if e.cold is None else e.cold.memory, load=None if e.cold is None else e.cold.load_seconds,
            ))  # fmt: skip
    return tuple(kept)


def _bench_model(
    bundle: Bundle, tried: Sequence[Candidate], limits: Limits, runs: int, seconds: float, warmup: WarmUp, seed: int,
    meter: Meter | None, progress: Progress,
) -> tuple[list[Entry], Samples]:  # fmt: skip
    """The entries of the candidates, in their order, and the yardstick that took turns with them."""
    manifest = bundle.manifest
    inputs = inputs_of(bundle, seed)
    entries: list[Entry] = []
    running: dict[str, tuple[int, Worker]] = {}
    with ExitStack() as opened:
        largest = 0
        for number, candidate in enumerate(tried):
            progress(f"starting {candidate}", 0.4 * number / len(tried))
            entry = _entry(manifest, candidate, inputs)
            try:
                _check_room(largest)
                worker = opened.enter_context(Worker(request_of(bundle, candidate, seed=seed), limits))
                started = worker.started()
            except RunError as error:
                entries.append(msgspec.structs.replace(entry, error=str(error)))
                continue
            largest = max(largest, worker.resident or 0)
            running[str(number)] = number, worker
            device = started.device
            entries.append(msgspec.structs.replace(
                entry, cold=started.cold, device=device.name, engine=device.engine or entry.engine
            ))  # fmt: skip
        cases = [case(name, worker) for name, (_, worker) in running.items()]
        *samples, beside = measure(
            [*cases, called(NAME, yardstick())], runs=runs, seconds=seconds, warmup=warmup, seed=seed,
            progress=lambda done, total: progress("taking turns", 0.4 + 0.6 * done / max(1, total)),
        )  # fmt: skip
        slowest = max((median(taken.values) * 1e-9 for taken in samples if taken.values), default=0.0)
        for taken in samples:
            number, worker = running[taken.name]
            entries[number] = _filled(entries[number], taken)
            if taken.error is None:
                costs = {"paced_cpu": paced_cpu(worker, slowest), "energy": joules(worker, meter)}
                entries[number] = msgspec.structs.replace(entries[number], **costs)
    return entries, beside


def _staged(bundle: Bundle, tried: Sequence[Candidate], entries: Sequence[Entry]) -> list[Entry]:
    """The entries with the stages of a whole call. Processing is the same for all of them: it is timed once, in this
    process, around the first candidate that ran in its own."""
    ran = next((c for c, entry in zip(tried, entries, strict=True) if entry.error is None and entry.percentiles), None)
    if bundle.manifest.processing is None or ran is None:
        return list(entries)
    try:
        with closing(open_candidate(bundle, ran)) as session:
            parts = around(bundle, session)
    except EdgeError:  # a package that processing needs is not here: the engine was measured all the same
        parts = None
    middles = [None if (found := entry.at(0.5)) is None else found.value for entry in entries]
    return [msgspec.structs.replace(e, stages=stages(parts, middle)) for e, middle in zip(entries, middles, strict=True)]


def case(name: str, worker: Worker) -> Case:
    """A worker's turns, to be measured."""
    return Case(name, lambda runs, seconds, both: worker.turn(runs, seconds, both=both))


def _check_room(largest: int) -> None:
    """Raise RunError where one more process like the largest would send the machine into swap."""
    free = memory_available()
    if free is not None and free < 1.2 * largest:
        raise RunError(
            f"there is no memory for one more process beside the others: {free / 1e6:.0f} MB are free, the largest takes "
            f"{largest / 1e6:.0f} MB; bench fewer ways at once (--device)"
        )


def inputs_of(bundle: Bundle, seed: int) -> dict[str, Array]:
    """The first golden sample, without state; drawn from `seed` where there is none."""
    manifest = bundle.manifest
    specs = manifest.signature.stateless_inputs
    if manifest.golden is None:
        return seeded_inputs(specs, manifest.sizes, seed)
    first = golden.load(bundle)[0][0]
    return {spec.name: first[spec.name] for spec in specs}


def _entry(manifest: Manifest, candidate: Candidate, inputs: dict[str, Array]) -> Entry:
    variant, device = candidate.variant, candidate.device
    fed = ", ".join(f"{name} {array.dtype} {list(array.shape)}" for name, array in inputs.items())
    sample = "" if manifest.golden is None else ", the first golden sample"
    return Entry(
        model=manifest.name, version=manifest.version, task=manifest.task,
        variant=variant.name, precision=variant.precision, accuracy=variant.accuracy,
        backend=device.backend, engine=device.engine, device=device.name, driver=device.driver, settings=candidate.settings,
        inputs=fed + sample + (", state carried from run to run" if manifest.signature.recurrent else ""),
    )  # fmt: skip


def _filled(entry: Entry, samples: Samples) -> Entry:
    """The entry with what was measured of it."""
    named = msgspec.structs.replace(samples, name=f"{entry.model} {entry.label}")
    if not samples.values:
        return msgspec.structs.replace(entry, samples=named, error=samples.error)
    values = [value * 1e-9 for value in samples.values]
    return msgspec.structs.replace(
        entry, samples=named, percentiles=percentiles(values), doubts=doubts(values), error=samples.error
    )
