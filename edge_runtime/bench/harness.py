"""The harness: every way to run each bundle on this device, measured side by side, into one report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

import msgspec

from edge_runtime import backends
from edge_runtime.backends.base import Session
from edge_runtime.bench.cold import Request, cold_start, seeded_inputs
from edge_runtime.bench.fingerprint import fingerprint
from edge_runtime.bench.measure import Case, Samples, WarmUp, measure
from edge_runtime.bench.report import Entry, Protocol, Report
from edge_runtime.bench.statistics import doubts, needed, percentiles
from edge_runtime.bundles import golden
from edge_runtime.bundles.manifest import Manifest
from edge_runtime.bundles.store import Bundle
from edge_runtime.engines import Candidate, candidates, open_candidate
from edge_runtime.errors import BackendError, EngineMissingError, RunError
from edge_runtime.profile import Measurement
from edge_runtime.values import Array, Device, Settings

RUNS = needed(0.99) + 32
"""Runs of a candidate unless its time is up before: enough for an interval around the p99."""

Progress = Callable[[str, float], Any]
"""Told what is going on and the share that is done, 0 to 1."""


def bench(
    bundles: Sequence[Bundle], *,
    devices: Iterable[Device] | None = None, settings: Sequence[Settings] = (Settings(),),
    runs: int = RUNS, seconds: float = 2.0, warmup: WarmUp = WarmUp(), seed: int = 0, now: datetime | None = None,
    command: str = "edge-runtime bench", progress: Progress = lambda what, share: None,
) -> Report:  # fmt: skip
    """Measure each bundle x variant x device x settings found here.

    Each candidate is first loaded and run once in a process of its own (cold start, memory; a crash loses that candidate
    only). Those that did are then opened here together and measured in turns, model by model: on the bundle's first golden
    sample, or, where it has none, on inputs drawn from `seed` in the manifest's typical sizes; a recurrent model's state
    is carried from run to run. A candidate that fails is an entry with its error. `devices` narrows the choice; `now` dates
    the report. Raises EngineMissingError when there is nothing to run any of the bundles on.
    """
    found = tuple(backends.devices() if devices is None else devices)
    date = (now or datetime.now(UTC)).astimezone(UTC).isoformat(timespec="seconds")
    environment = fingerprint()
    entries: list[Entry] = []
    for number, bundle in enumerate(bundles):

        def tell(what: str, share: float, name: str = bundle.manifest.name, before: int = number) -> None:
            progress(f"{name}: {what}", (before + share) / len(bundles))

        entries += _bench_model(bundle, candidates(bundle.manifest, found, settings), runs, seconds, warmup, seed, tell)
    if not entries:
        names = ", ".join(bundle.manifest.name for bundle in bundles) or "no bundle"
        raise EngineMissingError(f"no engine found here runs {names}; `edge-runtime devices` lists what is installed")
    progress("done", 1.0)
    return Report(
        date=date, command=command, fingerprint=environment, protocol=Protocol(runs, seconds, seed), entries=tuple(entries)
    )


def measurements(report: Report, bundles: Sequence[Bundle]) -> tuple[Measurement, ...]:
    """What a report says of each candidate that ran without an error, as a profile keeps it."""
    digests = {
        (b.manifest.name, b.manifest.version, v.name): v.files[0].sha256 for b in bundles for v in b.manifest.variants
    }
    kept = []
    for e in report.entries:
        digest = digests.get((e.model, e.version, e.variant))
        if digest is not None and e.error is None and e.samples is not None:
            p50, p90, p95, p99 = (p.value for p in e.percentiles)
            runs = len(e.samples.values)
            kept.append(Measurement(
                e.model, e.variant, digest, e.backend, e.device, e.engine, e.settings, p50, p90, p95, p99, runs,
            ))  # fmt: skip
    return tuple(kept)


def _bench_model(
    bundle: Bundle, tried: Sequence[Candidate], runs: int, seconds: float, warmup: WarmUp, seed: int, progress: Progress
) -> list[Entry]:
    manifest = bundle.manifest
    inputs = _inputs(bundle, seed)
    entries: list[Entry] = []
    cases: dict[str, tuple[int, Case]] = {}
    with ExitStack() as opened:
        for number, candidate in enumerate(tried):
            progress(f"cold start of {candidate}", 0.4 * number / len(tried))
            entry = _entry(manifest, candidate, inputs)
            try:
                cold = cold_start(_request(bundle, candidate, seed))
                session = open_candidate(bundle, candidate)
            except BackendError as error:
                said = str(error) if isinstance(error, RunError) else f"{type(error).__name__}: {error}"
                entries.append(msgspec.structs.replace(entry, error=said))
                continue
            opened.callback(session.close)
            cases[str(number)] = (number, Case(str(number), _runner(session, inputs)))
            device = session.device
            entries.append(
                msgspec.structs.replace(entry, cold=cold, device=device.name, engine=device.engine or entry.engine)
            )
        samples = measure(
            [case for _, case in cases.values()], runs=runs, seconds=seconds, warmup=warmup, seed=seed,
            progress=lambda done, total: progress("taking turns", 0.4 + 0.6 * done / max(1, total)),
        )  # fmt: skip
    for taken in samples:
        index = cases[taken.name][0]
        entries[index] = _filled(entries[index], taken)
    return entries


def _inputs(bundle: Bundle, seed: int) -> dict[str, Array]:
    """The first golden sample, without state; drawn from `seed` where there is none."""
    manifest = bundle.manifest
    specs = manifest.signature.stateless_inputs
    if manifest.golden is None:
        return seeded_inputs(specs, manifest.sizes, seed)
    first = golden.load(bundle)[0][0]
    return {spec.name: first[spec.name] for spec in specs}


def _runner(session: Session, inputs: dict[str, Array]) -> Callable[[], object]:
    """One run of a session; of a recurrent model, the next step of a stream."""
    run = session.stream().run if session.signature.recurrent else session.run
    return lambda: run(inputs)


def _entry(manifest: Manifest, candidate: Candidate, inputs: dict[str, Array]) -> Entry:
    variant, device = candidate.variant, candidate.device
    fed = ", ".join(f"{name} {array.dtype} {list(array.shape)}" for name, array in inputs.items())
    sample = "" if manifest.golden is None else ", the first golden sample"
    return Entry(
        model=manifest.name, version=manifest.version, task=manifest.task,
        variant=variant.name, precision=variant.precision, accuracy=variant.accuracy,
        backend=device.backend, engine=device.engine, device=device.name, settings=candidate.settings,
        inputs=fed + sample + (", state carried from run to run" if manifest.signature.recurrent else ""),
    )  # fmt: skip


def _request(bundle: Bundle, candidate: Candidate, seed: int) -> Request:
    manifest, device = bundle.manifest, candidate.device
    return Request(
        str(bundle.artifact(candidate.variant)), device.backend, device.name, candidate.settings,
        manifest.signature, candidate.variant.names, manifest.sizes, seed, candidate.variant.quantized,
        "" if manifest.golden is None else str(bundle.folder / manifest.golden.path),
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
