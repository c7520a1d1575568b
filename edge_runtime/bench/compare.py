"""Two reports, one against the other: what became faster, what slower, and what cannot be told. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Literal

import msgspec
import numpy as np

from edge_runtime.bench.between import Starts, ratio_between, starts_of
from edge_runtime.bench.measure import Samples
from edge_runtime.bench.report import Entry, Report
from edge_runtime.bench.statistics import Ratio, rank
from edge_runtime.bench.units import CROSS, duration
from edge_runtime.errors import InputError

Word = Literal["faster", "slower", "inconclusive"]


class Pair(msgspec.Struct, frozen=True):
    """One way to run one model that both reports have measured."""

    before: Entry
    after: Entry


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one way to run one model. Ratios are after over before: below 1 is faster."""

    model: str
    label: str
    before: float
    """The median as it was measured, in seconds."""
    after: float
    median: Ratio
    """Over the yardstick's, where both reports have one."""
    p95: Ratio
    verdict: Word
    notes: tuple[str, ...] = ()
    """What else differs between the two."""

    @property
    def name(self) -> str:
        """Model and candidate."""
        return f"{self.model} {self.label}"


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """What two reports say of each other."""

    before: str
    """The date of the one, as it says."""
    after: str
    rows: tuple[Row, ...]
    speed: float | None
    """How much longer the yardstick took in the second: the part of a change that is the machine's. None: not
    normalised."""
    only_before: tuple[str, ...] = ()
    only_after: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()
    """What ran in the first report and failed in the second, with the error."""
    doubts: tuple[str, ...] = ()

    @property
    def lead(self) -> str:
        """The whole of it in one sentence."""
        count, ways = Counter(row.verdict for row in self.rows), f"{len(self.rows)} way{'s' * (len(self.rows) != 1)}"
        sure = [f"{count[word]} became {word}" for word in ("slower", "faster") if count[word]]
        rest = f"; {count['inconclusive']} show no change beyond the noise" if count["inconclusive"] else ""
        text = f"of {ways} to run a model, {' and '.join(sure)}{rest}"
        if not sure:
            text = f"no change beyond the noise in {ways} to run a model"
        return text + (f"; {len(self.broken)} that ran before fail now" if self.broken else "")


def compare(before: Report, after: Report) -> Comparison:
    """What both have, row by row. Raises InputError where they have nothing in common."""
    pairs = tuple(paired(before, after))
    broken = tuple(_broken(before, after))
    if not pairs and not broken:
        raise InputError("the reports have nothing in common: measure the same bundles on the same engines")
    shared = yardsticks_fit(before, after)
    known = {_key(e, ()) for p in pairs for e in (p.before, p.after)}
    return Comparison(
        before=before.date, after=after.date, speed=_speed(before, after) if shared else None,
        rows=tuple(_row(pair, before, after, shared) for pair in pairs), broken=broken,
        only_before=_missing(before, known), only_after=_missing(after, known),
        doubts=tuple(_doubts(before, after, shared)),
    )  # fmt: skip


def paired(before: Report, after: Report) -> Iterator[Pair]:
    """The entries that both have measured without an error, in the order of the first."""
    several = _several(before, after)
    found = {_key(entry, several): entry for entry in after.entries}
    for entry in before.entries:
        other = found.get(_key(entry, several))
        if other is not None and _measured(entry) and _measured(other):
            yield Pair(entry, other)


def yardsticks_fit(before: Report, after: Report) -> bool:
    """Whether both reports have measured the same yardstick beside everything."""
    names = {samples.name for report in (before, after) for samples in report.yardsticks}
    measured = ((report, entry) for report in (before, after) for entry in report.entries if _measured(entry))
    return len(names) == 1 and all(_beside(report, entry) for report, entry in measured)


def _beside(report: Report, entry: Entry) -> bool:
    """Whether the yardstick was measured in a round of this entry."""
    yardstick, own = report.yardstick(entry), entry.samples
    return yardstick is not None and own is not None and any(map(all, zip(own.rounds, yardstick.rounds, strict=False)))


def figures(report: Report, entry: Entry, share: float, *, shared: bool) -> Starts:
    """An entry's percentile in each round, over the yardstick's median in the same round where that is `shared`."""
    samples = entry.samples or Samples(entry.label)
    beside = report.yardstick(entry) if shared else None
    rounds = [
        (number, _at(part, share) / (1.0 if beside is None else _at(beside.rounds[number], 0.5)))
        for number, part in enumerate(samples.rounds)
        if part and (beside is None or (number < len(beside.rounds) and beside.rounds[number]))
    ]
    edges = [0, *samples.starts, len(samples.rounds)]
    return starts_of([[value for number, value in rounds if low <= number < high] for low, high in pairwise(edges)])


def _at(values: Sequence[int], share: float) -> float:
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    return float(ordered[rank(len(ordered), share) - 1])


def _row(pair: Pair, before: Report, after: Report, shared: bool) -> Row:
    ratios = [
        ratio_between(figures(before, pair.before, share, shared=shared), figures(after, pair.after, share, shared=shared))
        for share in (0.5, 0.95)
    ]
    medians = [p.value if (p := entry.at(0.5)) is not None else 0.0 for entry in (pair.before, pair.after)]
    return Row(
        model=pair.after.model, label=pair.after.label, before=medians[0], after=medians[1],
        median=ratios[0], p95=ratios[1], verdict=said(ratios[0]), notes=tuple(_notes(pair)),
    )  # fmt: skip


def said(ratio: Ratio) -> Word:
    """A ratio as a verdict: only as firm as its interval."""
    return "inconclusive" if not ratio.decided else "slower" if ratio.value > 1 else "faster"


def _notes(pair: Pair) -> Iterator[str]:
    for name, old, new in (
        ("version", pair.before.version, pair.after.version),
        ("engine", pair.before.engine, pair.after.engine),
        ("input", pair.before.inputs, pair.after.inputs),
    ):
        if old != new:
            yield f"{name}: {old or 'unknown'} before, {new or 'unknown'} after"


def _doubts(before: Report, after: Report, shared: bool) -> Iterator[str]:
    """What speaks against comparing these two, each as a sentence."""
    old, new = before.fingerprint, after.fingerprint
    for name in ("cpu", "cores_allowed", "cpu_quota", "governor", "machine", "kernel", "python", "numpy", "project"):
        if getattr(old, name) != getattr(new, name):
            yield f"{name.replace('_', ' ')} was {getattr(old, name)} before and is {getattr(new, name)} after."
    for name in sorted({*old.engines, *new.engines}):
        if old.engines.get(name) != new.engines.get(name):
            was, now = old.engines.get(name, "not there"), new.engines.get(name, "not there")
            yield f"{name} was {was} before and is {now} after."
    if not shared:
        yield "Not both have the same yardstick: a change of the machine's own speed is in every ratio."
    if before.protocol != after.protocol:
        yield f"They were measured differently: {_protocol(before)} before, {_protocol(after)} after."
    if min(before.protocol.repeat, after.protocol.repeat) < 2:
        yield ("What differs from process to process was not seen but assumed, where a report has one process only: "
               "bench --repeat 3 sees it.")  # fmt: skip
    for name, report in (("before", before), ("after", after)):
        yield from (f"{text.removesuffix('.')} ({name})." for text in (*report.fingerprint.doubts, *report.doubts))


def _protocol(report: Report) -> str:
    found = report.protocol
    return f"{found.runs} runs or {found.seconds:g} s, seed {found.seed}, {found.repeat} {CROSS}"


def _speed(before: Report, after: Report) -> float:
    """The yardstick's median in the second report over that in the first."""
    old, new = (_at([v for samples in report.yardsticks for v in samples.values], 0.5) for report in (before, after))
    return new / old


def _broken(before: Report, after: Report) -> Iterator[str]:
    several = _several(before, after)
    failed = {_key(entry, several): entry for entry in after.entries if entry.error is not None}
    for entry in before.entries:
        other = failed.get(_key(entry, several))
        if other is not None and _measured(entry):
            yield f"{other.model} {other.label}: {other.error}"


def _missing(report: Report, known: set[tuple[object, ...]]) -> tuple[str, ...]:
    return tuple(_listed(entry) for entry in report.entries if _key(entry, ()) not in known)


def _listed(entry: Entry) -> str:
    median = entry.at(0.5)
    how = "failed" if entry.error is not None else "not measured" if median is None else duration(median.value)
    return f"{entry.model} {entry.label} ({how})"


def _measured(entry: Entry) -> bool:
    return entry.error is None and entry.samples is not None and bool(entry.samples.values) and entry.at(0.5) is not None


def _several(*reports: Report) -> tuple[str, ...]:
    """The models of which one report has several versions: those compare by version too."""
    counts = [Counter(name for name, _ in report.models) for report in reports]
    return tuple(name for count in counts for name, number in count.items() if number > 1)


def _key(entry: Entry, several: Sequence[str]) -> tuple[object, ...]:
    version = entry.version if entry.model in several else ""
    return entry.model, version, entry.variant, entry.backend, entry.device, entry.settings
