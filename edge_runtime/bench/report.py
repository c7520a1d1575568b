"""A report: what was measured, on what, how sure it is, and what failed. JSON to and from, and a table for a terminal."""

from __future__ import annotations

from collections.abc import Container, Sequence
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from edge_runtime.bench.fingerprint import Fingerprint
from edge_runtime.bench.measure import Samples
from edge_runtime.bench.scenarios import ScenarioRun
from edge_runtime.bench.statistics import Percentile, Ratio, ratio_of_medians
from edge_runtime.bench.units import duration, size, times
from edge_runtime.bundles.manifest import Accuracy
from edge_runtime.errors import InputError
from edge_runtime.values import Settings

SCHEMA = 2
LONG = 300
"""Characters of an error that are shown."""


class ColdStart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A process of its own that starts, loads the variant and runs it once. The files may be in the page cache."""

    engine_seconds: float
    """Importing the engine."""
    load_seconds: float
    """From the artifact to a session."""
    first_seconds: float
    """The first inference."""
    memory: int | None
    """Bytes by which loading and the first inference grew the resident memory; None where the system does not tell."""

    @property
    def seconds(self) -> float:
        """From a process that has only Python to the first answer."""
        return self.engine_seconds + self.load_seconds + self.first_seconds


class Stage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One part of a call that begins with a picture, a sound or a text and ends with an answer."""

    name: Literal["prepare", "run", "answer"]
    """Processing before, the engine, processing after."""
    seconds: Annotated[float, msgspec.Meta(ge=0.0)]
    """The median, of one inference."""


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One way to run one model here, and how it went."""

    model: str
    version: str
    task: str = ""
    variant: str
    precision: str
    backend: str
    engine: str
    """The engine and its version."""
    device: str
    """Where it really ran, read back from the engine; what was asked for, when it did not load."""
    driver: str = ""
    """Below the engine, and its version, where there is one."""
    settings: Settings = Settings()
    inputs: str = ""
    """What it was fed: "image float32 [1, 3, 736, 512]"."""
    accuracy: Accuracy | None = None
    """From the bundle's manifest."""
    cold: ColdStart | None = None
    samples: Samples | None = None
    percentiles: tuple[Percentile, ...] = ()
    """Of the latency of a warm run, in seconds."""
    paced_cpu: Annotated[float, msgspec.Meta(ge=0.0)] | None = None
    """CPU seconds of one inference at 100 a second (or half as many as the model's slowest candidate can): what the engine
    burns between inferences is in it."""
    energy: Annotated[float, msgspec.Meta(ge=0.0)] | None = None
    """Joules of one inference; None where nothing here measures them."""
    stages: tuple[Stage, ...] = ()
    """Where the time of a whole call goes, for a bundle with processing."""
    doubts: tuple[str, ...] = ()
    error: str | None = None
    """Why there are no figures, or fewer than wanted."""

    @property
    def label(self) -> str:
        """Backend, precision, and what else tells it from its neighbours: "onnx int8", "openvino int8-onnx"."""
        device = "" if self.device == "CPU" else f" {self.device}"
        settings = f" {self.settings}".rstrip()
        plain = self.variant == f"{self.precision}-{self.backend}"  # an engine's own format is named like it
        return f"{self.backend} {self.precision if plain else self.variant}{device}{settings}"

    @property
    def cpu(self) -> float | None:
        """Seconds of processor time of one warm run, of all its threads: the median over the rounds."""
        taken = sorted(self.samples.cpu) if self.samples is not None else []
        return taken[len(taken) // 2] * 1e-9 if taken else None

    def at(self, share: float) -> Percentile | None:
        """The percentile of this share, if it was measured."""
        return next((p for p in self.percentiles if p.share == share), None)


class Protocol(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How it was measured."""

    runs: int
    seconds: float
    seed: int
    repeat: Annotated[int, msgspec.Meta(ge=1)] = 1
    """How often all of it was done, each time in fresh processes."""


class Report(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything that one `bench` found."""

    schema: int = SCHEMA
    date: str
    """The day and time it began, ISO 8601, UTC."""
    command: str
    """What to type to measure again."""
    fingerprint: Fingerprint
    protocol: Protocol
    entries: tuple[Entry, ...] = ()
    yardsticks: tuple[Samples, ...] = ()
    """A fixed piece of work that took turns with each model's candidates (`yardstick.yardstick`): for each model one, in
    the order of `models`, each of as many rounds as that model's entries."""
    scenarios: tuple[ScenarioRun, ...] = ()
    """Load on what the runtime chose: `bench --scenario`."""
    doubts: tuple[str, ...] = ()
    """What disturbed the machine while it was measured, each as a sentence."""

    def yardstick(self, entry: Entry) -> Samples | None:
        """What took turns with this entry, if anything did."""
        place = self.models.index((entry.model, entry.version))
        return self.yardsticks[place] if place < len(self.yardsticks) else None

    @property
    def models(self) -> tuple[tuple[str, str], ...]:
        """Name and version of each model, in the order in which they were measured."""
        return tuple(dict.fromkeys((entry.model, entry.version) for entry in self.entries))

    def of(self, model: tuple[str, str]) -> tuple[Entry, ...]:
        """The entries of one model: measured ones by their median, the fastest first, then those that failed."""
        mine = [entry for entry in self.entries if (entry.model, entry.version) == model]
        return tuple(sorted(mine, key=lambda e: p.value if (p := e.at(0.5)) is not None else float("inf")))


class Verdict(msgspec.Struct, frozen=True):
    """What a report says of one model."""

    model: str
    version: str
    fastest: Entry | None
    reference: Entry | None
    """What the fastest is compared with: fp32 on onnx, else the slowest of the rest."""
    ratio: Ratio | None
    """The reference's median over the fastest's."""
    text: str


def verdict(report: Report, model: tuple[str, str]) -> Verdict:
    """The fastest way to run a model, and by how much, said only as firmly as the samples allow."""
    name, version = model
    measured = [(p.value, entry) for entry in report.of(model) if entry.error is None and (p := entry.at(0.5)) is not None]
    if not measured:
        return Verdict(name, version, None, None, None, f"{name}: nothing could be measured here")
    (median, fastest), others = measured[0], [entry for _, entry in measured[1:]]
    lead = f"fastest for {name}: {fastest.label} at {duration(median)}"
    if not others:
        return Verdict(name, version, fastest, None, None, f"{lead}, the only way measured")
    named = [entry for entry in others if (entry.backend, entry.precision) == ("onnx", "fp32")]
    reference = named[0] if named else others[-1]
    ratio = side_by_side(reference, fastest)
    if ratio.low is None:
        said = f"{times(ratio.value)} faster than {reference.label}, from too few rounds to be sure"
    elif not ratio.decided:
        said = f"too close to {reference.label} to call"
    else:
        said = f"{times(ratio.value)} faster than {reference.label}"
    second = others[0]
    tied = second is not reference and not side_by_side(second, fastest).decided
    return Verdict(name, version, fastest, reference, ratio, f"{lead}, {said}" + f"; a tie with {second.label}" * tied)


def side_by_side(slower: Entry, faster: Entry) -> Ratio:
    """The ratio of the medians of two entries of one report, with an interval from the rounds in which both ran."""
    if slower.samples is not None and faster.samples is not None:
        shared = [(a, b) for a, b in zip(slower.samples.rounds, faster.samples.rounds, strict=False) if a and b]
        if shared:
            return ratio_of_medians([a for a, _ in shared], [b for _, b in shared])
    a, b = slower.at(0.5), faster.at(0.5)
    if a is None or b is None:
        raise ValueError("only measured entries compare")
    return Ratio(a.value / b.value, None, None)


def encode(report: Report) -> bytes:
    """The report as JSON; the same report gives the same bytes."""
    return msgspec.json.encode(report) + b"\n"


def decode(data: bytes) -> Report:
    """Read a report. Raises InputError for anything but a whole report of a schema that this version knows."""
    try:
        schema = msgspec.json.decode(data, type=_Schema).schema
        if schema != SCHEMA:
            raise InputError(
                f"the report has schema {schema}; this version reads {SCHEMA}: measure again, or use its version"
            )
        return msgspec.json.decode(data, type=Report)
    except msgspec.ValidationError as error:
        raise InputError(f"this is no report: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"the report is truncated or not JSON: {error}") from error


def load(path: Path) -> Report:
    """Read a report from a file. Raises InputError."""
    try:
        return decode(path.read_bytes())
    except OSError as error:
        raise InputError(f"the report cannot be read: {error}") from error


class _Schema(msgspec.Struct):
    schema: int


def as_text(report: Report) -> str:
    """The report as a plain table for a terminal, ending with the verdicts."""
    head = ("MODEL", "CANDIDATE", "P50", "P95", "P99", "LOAD+FIRST", "MEMORY", "ACCURACY")
    rows, notes = [], []
    for model in report.models:
        entries = report.of(model)
        rows += [_row(entry) for entry in entries]
        notes += [f"  accuracy of {model[0]}: {metric}" for metric in metrics(entries)]
        notes += [f"  {entry.model} {entry.label} FAILED: {clipped(entry.error)}" for entry in entries if entry.error]
    notes += [f"  doubt: {doubt}" for doubt in report.doubts]
    verdicts = [verdict(report, model).text for model in report.models]
    return "\n".join([*columns(head, rows, range(2, len(head))), *notes, "", *verdicts])


def metrics(entries: Sequence[Entry]) -> tuple[str, ...]:
    """How accuracy was measured, each way once: "F1 on a test set"."""
    return tuple(dict.fromkeys(f"{e.accuracy.metric} on {e.accuracy.data}" for e in entries if e.accuracy is not None))


def clipped(error: str) -> str:
    """The begin of an error: some engines say pages."""
    return error if len(error) <= LONG else f"{error[:LONG].rstrip()} ... (the JSON report has all of it)"


def _row(entry: Entry) -> tuple[str, ...]:
    latencies = [duration(p.value) if (p := entry.at(share)) else "-" for share in (0.5, 0.95, 0.99)]
    cold = entry.cold
    started = ("-", "-") if cold is None else (duration(cold.load_seconds + cold.first_seconds), size(cold.memory))
    accuracy = "-" if entry.accuracy is None else f"{entry.accuracy.value:.4g}"
    return (f"{entry.model} {entry.version}", entry.label, *latencies, *started, accuracy)


def columns(head: Sequence[str], rows: Sequence[Sequence[str]], figures: Container[int]) -> list[str]:
    """A table's lines: text to the left, and to the right in the columns of `figures`."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    return [
        "  ".join(
            c.rjust(w) if i in figures else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (head, *rows)
    ]
