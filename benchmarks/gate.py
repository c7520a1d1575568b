"""The gate's claims: it fails next to never where nothing changed, and finds what did.

Small nets, an engine each, are measured again and again for a second or so, each time in fresh processes. Nothing changes
from one to the next, so every gate that fails between two of them is a false alarm (A/A). A report is two of those in a
row, as `bench --repeat 2` makes it; each is held against the next, as a nightly job would do. Shown besides, without an
aim: reports of one process each, reports that lie far apart in time, and how often a slow-down is found. The slow-downs are
made, not real: the times of one net in the later report are multiplied.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from itertools import pairwise
from typing import TypeAlias

import msgspec

from benchmarks.convention import Options, Outcome, at_most, main
from edge_runtime import backends
from edge_runtime.bench.fingerprint import Fingerprint, fingerprint
from edge_runtime.bench.gate import Decision, gate
from edge_runtime.bench.harness import case
from edge_runtime.bench.measure import Samples, WarmUp, called, measure
from edge_runtime.bench.process import Worker, request_of
from edge_runtime.bench.repeat import joined
from edge_runtime.bench.report import Entry, Protocol, Report
from edge_runtime.bench.statistics import percentiles
from edge_runtime.bench.yardstick import NAME, yardstick
from edge_runtime.bundles.bundle import Bundle
from edge_runtime.bundles.store import Store
from edge_runtime.engines import candidates
from edge_runtime.errors import EngineMissingError
from edge_runtime.profile import Candidate

PICKS = (("digits_cnn", "onnx"), ("language_lstm", "tflite"), ("patches_cnn", "openvino"))
LIMIT = 0.05
ALARMS = 0.02
STARTS, QUICK_STARTS = 402, 21
SECONDS = 0.2
WARMUP = WarmUp(runs=3, seconds=0.03, settle_seconds=0.005)
SLOWER = (1.1, 1.2, 1.5)
FAR = 200
"""Pairs far apart in time that are shown."""

Way: TypeAlias = tuple[Bundle, Candidate]


def run(options: Options) -> Outcome:
    """Measure, hold each report against the next, and count."""
    ways, machine = list(_ways(options)), fingerprint()
    count, began = QUICK_STARTS if options.quick else STARTS, time.monotonic()
    starts = []
    for number in range(count):
        starts.append(_measured(ways, machine))
        options.progress(number + 1, count)
    minutes = (time.monotonic() - began) / 60
    double = [joined(starts[i : i + 2]) for i in range(0, len(starts) - 1, 2)]
    kinds = {"two processes each": double, "one process each": starts}
    found = {name: _alarms(_chained(reports)) for name, reports in kinds.items()}
    far = {name: _alarms(_far(reports)) for name, reports in kinds.items()}
    rows = [f"{count} starts of {len(ways)} nets in {minutes:.1f} min: {', '.join(f'{n} on {e}' for n, e in PICKS)}"]
    for name, reports in kinds.items():
        rows.append(
            f"{name}: A/A false alarms {_share(found[name])} side by side, {_share(far[name])} far apart; "
            f"a made slow-down is found {_power(_chained(reports))}"
        )
    alarms, trials = found["two processes each"]
    bars = [at_most(f"A/A false alarms of {trials} gates", alarms / trials, "of all", ALARMS)]
    return Outcome(bars, rows, {"side by side": found, "far apart": far, "figures": _figures(starts)})


def _ways(options: Options) -> Iterator[Way]:
    """The nets, each on its engine in fp32."""
    store = Store(options.store)
    for name, backend in PICKS:
        bundle = store.bundle(name)
        here = [device for device in backends.devices() if device.backend == backend]
        fitting = [c for c in candidates(bundle.manifest, here) if c.variant.precision == "fp32"]
        if not fitting:
            raise EngineMissingError(
                f"{name} in fp32 does not run on {backend} here; pip install 'edge-runtime[{backend}]'"
            )
        yield bundle, fitting[0]


def _measured(ways: Sequence[Way], machine: Fingerprint) -> Report:
    """All nets in fresh processes, in turns with each other and the yardstick."""
    with ExitStack() as stack:
        workers = [stack.enter_context(Worker(request_of(bundle, candidate))) for bundle, candidate in ways]
        for worker in workers:
            worker.started()
        cases = [case(str(number), worker) for number, worker in enumerate(workers)]
        *taken, beside = measure([*cases, called(NAME, yardstick())], runs=100_000, seconds=SECONDS, warmup=WARMUP)
    return Report(
        date=datetime.now(UTC).isoformat(timespec="seconds"), command="python -m benchmarks.gate", fingerprint=machine,
        protocol=Protocol(100_000, SECONDS, 0), yardsticks=(beside,) * len(ways),
        entries=tuple(_entry(way, samples) for way, samples in zip(ways, taken, strict=True)),
    )  # fmt: skip


def _entry(way: Way, samples: Samples) -> Entry:
    (bundle, candidate), values = way, [value * 1e-9 for value in samples.values]
    variant, device = candidate.variant, candidate.device
    return Entry(
        model=bundle.manifest.name, version=bundle.manifest.version, variant=variant.name, precision=variant.precision,
        backend=device.backend, engine=device.engine, device=device.name, samples=samples, error=samples.error,
        percentiles=percentiles(values) if values else (),
    )  # fmt: skip


def _chained(reports: Sequence[Report]) -> list[tuple[Report, Report]]:
    """Each against the next."""
    return list(pairwise(reports))


def _far(reports: Sequence[Report]) -> list[tuple[Report, Report]]:
    """Each against the one half the whole time later."""
    half = len(reports) // 2
    return list(zip(reports, reports[half:], strict=False))[:FAR]


def _decided(before: Report, after: Report) -> Decision:
    return gate(before, after, LIMIT, deals=0)


def _alarms(pairs: Sequence[tuple[Report, Report]]) -> tuple[int, int]:
    """How many gates fail where nothing changed, of how many."""
    return sum(not _decided(before, after).passed for before, after in pairs), len(pairs)


def _power(pairs: Sequence[tuple[Report, Report]]) -> str:
    """How often a slow-down of each net is found, by its size."""
    shares = []
    for factor in SLOWER:
        hits = [
            _decided(before, _slowed(after, number, factor)).rows[number].failed
            for before, after in pairs
            for number in range(len(PICKS))
        ]
        shares.append(f"{factor - 1:.0%}: {sum(hits) / max(1, len(hits)):.0%}")
    return ", ".join(shares)


def _slowed(report: Report, number: int, factor: float) -> Report:
    """With one entry's times multiplied."""
    entries = list(report.entries)
    taken = entries[number].samples or Samples("")
    rounds = tuple(tuple(round(value * factor) for value in part) for part in taken.rounds)
    entries[number] = msgspec.structs.replace(entries[number], samples=msgspec.structs.replace(taken, rounds=rounds))
    return msgspec.structs.replace(report, entries=tuple(entries))


def _share(found: tuple[int, int]) -> str:
    return f"{found[0]} of {found[1]}"


def _figures(starts: Sequence[Report]) -> list[dict[str, float]]:
    """The medians of every start in seconds: what the noise between processes looks like here."""
    rows = []
    for report in starts:
        row = {entry.model: p.value for entry in report.entries if (p := entry.at(0.5)) is not None}
        beside = sorted(report.yardsticks[0].values)
        rows.append({**row, "yardstick": beside[len(beside) // 2] * 1e-9})
    return rows


if __name__ == "__main__":
    main("gate", __doc__, run)
