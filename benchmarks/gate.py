"""The gate's claims: it fails next to never where nothing changed, and finds what did.

Small nets, an engine each, are measured again and again for a second or so, each time in fresh processes. Nothing changes
from one to the next, so every gate that fails between two of them is a false alarm (A/A). A report is two of those in a
row, as `bench --repeat 2` makes it; each is held against the one right after it, as a nightly job would do. Shown besides,
without an aim: reports of one process each, reports that lie far apart in time, and how often a slow-down is found. The
slow-downs are made, not real: as if all times of one net in the later report were multiplied.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import TypeAlias

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
KINDS = {"two processes each": 2, "one process each": 1}
STARTS, QUICK_STARTS = 203, 21
"""Starts i and i + 1 are held against i + 2 and i + 3: 200 trials, or 18."""
SECONDS = 0.15
WARMUP = WarmUp(runs=3, seconds=0.03, settle_seconds=0.005)
SLOWER = (1.1, 1.2, 1.5)

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
    rows = [f"{count} starts of {len(ways)} nets in {minutes:.1f} min: {', '.join(f'{n} on {e}' for n, e in PICKS)}"]
    found: dict[str, list[Decision]] = {}
    for name, size in KINDS.items():
        reports = [joined(starts[i : i + size]) for i in range(len(starts) - size + 1)]
        near = found[name] = [_decided(b, a) for b, a in zip(reports, reports[size:], strict=False)]
        far = [_decided(b, a) for b, a in zip(reports, reports[max(size, count // 2) :], strict=False)]
        rows.append(
            f"{name}: A/A false alarms {_alarms(near)} of {len(near)} side by side, {_alarms(far)} of {len(far)} far "
            f"apart; found of a slow-down of {_power(near)}"
        )
    held = found["two processes each"]
    bars = [at_most(f"A/A false alarms of {len(held)} gates", _alarms(held) / len(held), "of all", ALARMS)]
    ratios = {name: [{row.name: row.ratio for row in d.rows} for d in decisions] for name, decisions in found.items()}
    return Outcome(bars, rows, {"ratios": ratios, "medians": _medians(starts)})


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


def _decided(before: Report, after: Report) -> Decision:
    return gate(before, after, LIMIT, deals=0)


def _alarms(found: Sequence[Decision]) -> int:
    """How many gates fail where nothing changed."""
    return sum(not decision.passed for decision in found)


def _power(found: Sequence[Decision]) -> str:
    """How often a slow-down of one net would have been found, by its size: it moves the ratio and its interval alike."""
    lows = [row.ratio.low for decision in found for row in decision.rows if row.ratio.low is not None]
    shares = (sum(low * factor > 1 + LIMIT for low in lows) / max(1, len(lows)) for factor in SLOWER)
    return ", ".join(f"{factor - 1:.0%}: {share:.0%}" for factor, share in zip(SLOWER, shares, strict=True))


def _medians(starts: Sequence[Report]) -> list[dict[str, float]]:
    """The medians of every start in seconds: what the noise between processes looks like here."""
    rows = []
    for report in starts:
        row = {entry.model: p.value for entry in report.entries if (p := entry.at(0.5)) is not None}
        beside = sorted(report.yardsticks[0].values)
        rows.append({**row, "yardstick": beside[len(beside) // 2] * 1e-9})
    return rows


if __name__ == "__main__":
    main("gate", __doc__, run)
