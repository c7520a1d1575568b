"""Several reports of the same bundles, each measured in fresh processes, as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from edge_runtime.bench.measure import Samples
from edge_runtime.bench.report import ColdStart, Entry, Report
from edge_runtime.bench.statistics import doubts, percentiles

Progress = Callable[[str, float], Any]


def repeated(measure: Callable[[Progress], Report], times: int, progress: Progress) -> Report:
    """What `measure` finds in so many turns, as one report. It is handed whom to tell of its progress."""
    reports = []
    for number in range(times):

        def tell(what: str, share: float, before: int = number) -> None:
            turn = f"{before + 1} of {times}, " if times > 1 else ""
            progress(f"{turn}{what}", (before + share) / times)

        reports.append(measure(tell))
    return joined(reports)


def joined(reports: Sequence[Report]) -> Report:
    """One report of all rounds; `Samples.starts` says where each repetition began. A candidate that failed in one of them
    has failed."""
    first = reports[0]
    if len(reports) == 1:
        return first
    entries = tuple(_entry([found for report in reports if (found := _same(report, entry)) is not None], reports)
                    for entry in first.entries)  # fmt: skip
    yardsticks = tuple(
        _samples(
            [report.yardsticks[i] if i < len(report.yardsticks) else None for report in reports], _rounds(reports, model)
        )
        for i, model in enumerate(first.models)
    )
    protocol = msgspec.structs.replace(first.protocol, repeat=sum(report.protocol.repeat for report in reports))
    beside = yardsticks if first.yardsticks else ()
    doubted = tuple(dict.fromkeys(doubt for report in reports for doubt in report.doubts))
    return msgspec.structs.replace(first, entries=entries, yardsticks=beside, protocol=protocol, doubts=doubted)


def _entry(found: Sequence[Entry], reports: Sequence[Report]) -> Entry:
    first = next((entry for entry in found if entry.samples is not None), found[0])
    error = next((entry.error for entry in found if entry.error is not None), None)
    by_report = [_same(report, first) for report in reports]
    model = (first.model, first.version)
    samples = _samples([entry.samples if entry is not None else None for entry in by_report], _rounds(reports, model))
    seconds = [value * 1e-9 for value in samples.values]
    return msgspec.structs.replace(
        first, error=error, cold=_middle([entry.cold for entry in found if entry.cold is not None]),
        samples=samples if seconds else None, percentiles=percentiles(seconds) if seconds else (),
        doubts=doubts(seconds) if seconds else (),
        paced_cpu=_median([entry.paced_cpu for entry in found]), energy=_median([entry.energy for entry in found]),
    )  # fmt: skip


def _samples(parts: Sequence[Samples | None], rounds: Sequence[int]) -> Samples:
    """Their rounds one after the other, as many of each as its report has, so that round i is the same stretch of time for
    all that took turns."""
    present = [part for part in parts if part is not None]
    together: list[tuple[int, ...]] = []
    starts = []
    for part, count in zip(parts, rounds, strict=True):
        if together:
            starts.append(len(together))
        own = () if part is None else part.rounds
        together += [*own, *[()] * (count - len(own))]
    return Samples(
        present[0].name if present else "", tuple(together), tuple(v for part in present for v in part.warmup),
        tuple(v for part in present for v in part.settling), tuple(v for part in present for v in part.cpu),
        next((part.error for part in present if part.error is not None), None),
        tuple(start for start in dict.fromkeys(starts) if start < len(together)),
    )  # fmt: skip


def _rounds(reports: Sequence[Report], model: tuple[str, str]) -> list[int]:
    """How many rounds each report has of one model."""
    counts = []
    for report in reports:
        beside = report.yardsticks[report.models.index(model)] if model in report.models and report.yardsticks else None
        own = [e.samples for e in report.entries if (e.model, e.version) == model and e.samples is not None]
        counts.append(max((len(samples.rounds) for samples in (*own, *([] if beside is None else [beside]))), default=0))
    return counts


def _same(report: Report, entry: Entry) -> Entry | None:
    """The entry of another report that is the same candidate; the device may be one that was only asked for."""
    return next((other for other in report.entries if _candidate(other) == _candidate(entry)), None)


def _candidate(entry: Entry) -> tuple[object, ...]:
    return entry.model, entry.version, entry.variant, entry.backend, entry.device, entry.settings


def _middle(found: Sequence[ColdStart]) -> ColdStart | None:
    """The start that took the middle time."""
    return sorted(found, key=lambda cold: cold.seconds)[(len(found) - 1) // 2] if found else None


def _median(found: Sequence[float | None]) -> float | None:
    known = sorted(value for value in found if value is not None)
    return known[(len(known) - 1) // 2] if known else None
