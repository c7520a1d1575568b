"""A report as Markdown, for a README, a pull request or a wiki: the verdicts, a table a model, doubts, and the machine."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from edge_runtime.bench.report import Entry, Report, clipped, metrics, verdict
from edge_runtime.bench.statistics import SHARES
from edge_runtime.bench.units import duration, size

_SPECIAL = re.compile(r"([\\`*_\[\]<>|~&$]|^[#+=-]|^\d+(?=[.)](?:\s|$)))")


def render(report: Report) -> str:
    """The whole report. The same report gives the same text."""
    lines = ["# Edge Runtime benchmark", "", *(f"- {escape(verdict(report, model).text)}" for model in report.models)]
    for model in report.models:
        lines += ["", f"## {escape(' '.join(model))}", "", *_model(report.of(model))]
    lines += ["", "## The machine", ""]
    lines += table(("What", "Here"), [(name, text) for name, text in report.fingerprint.rows])
    lines += ["", *(f"- Doubt: {escape(text)}" for text in report.fingerprint.doubts)] if report.fingerprint.doubts else []
    found = report.protocol
    again = f", {found.repeat} times in fresh processes" if found.repeat > 1 else ""
    limits = f"until {found.runs} runs or {found.seconds:g} s of each candidate{again}, seed {found.seed}"
    lines += ["", f"Measured {escape(report.date)}, {limits}. Again:", "", *code(report.command), ""]
    return "\n".join(lines)


def _model(entries: Sequence[Entry]) -> Iterator[str]:
    head = (
        "Candidate",
        *(f"p{share * 100:g}" for share in SHARES),
        "p50, 95 % interval",
        "CPU",
        "Cold start",
        "Memory",
        "Accuracy",
    )
    measured = [entry for entry in entries if entry.percentiles]
    if measured:
        yield from table(head, [_row(entry) for entry in measured], "lrrrrrrrrr")
    known = metrics(entries)
    notes = [f"Accuracy: {'; '.join(known)}."] if known else []
    notes += [f"{entry.label}: {' '.join(entry.doubts)}" for entry in measured if entry.doubts]
    notes += [f"{entry.label} failed: {clipped(entry.error)}" for entry in entries if entry.error]
    if notes:
        yield ""
        yield from (f"- {escape(note)}" for note in notes)


def _row(entry: Entry) -> tuple[str, ...]:
    figures = [duration(p.value) if (p := entry.at(share)) is not None else "-" for share in SHARES]
    median = entry.at(0.5)
    sure = median is not None and median.low is not None and median.high is not None
    interval = f"{duration(median.low)} to {duration(median.high)}" if sure else "too few runs"  # type: ignore[union-attr,arg-type]
    cold = entry.cold
    started = ("-", "-") if cold is None else (duration(cold.seconds), size(cold.memory))
    right = "-" if entry.accuracy is None else f"{entry.accuracy.value:.4g}"
    return (entry.label, *figures, interval, "-" if entry.cpu is None else duration(entry.cpu), *started, right)


def table(head: Sequence[str], rows: Sequence[Sequence[str]], align: str = "") -> Iterator[str]:
    """A table's lines; whatever is in a cell stays text in that cell."""
    sides = align.ljust(len(head), "l")
    yield f"| {' | '.join(map(escape, head))} |"
    yield f"| {' | '.join('--:' if side == 'r' else '---' for side in sides)} |"
    yield from (f"| {' | '.join(map(escape, row))} |" for row in rows)


def escape(text: str) -> str:
    """Text that makes no markup, on one line."""
    return _SPECIAL.sub(_escaped, " ".join(text.split()))


def _escaped(found: re.Match[str]) -> str:
    """A number before a point would begin a list: its last digit stays, the point is what is escaped."""
    text = found.group()
    return f"{text}\\" if text.isdigit() else f"\\{text}"


def code(text: str) -> Iterator[str]:
    """Lines that show just this text."""
    fence = "`" * (max((len(run) for run in re.findall("`+", text)), default=0) + 3)
    yield from (fence, text, fence)
