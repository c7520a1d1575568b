"""A report as CSV for a spreadsheet: a row an entry, times in seconds, sizes in bytes, and an empty cell for what is
unknown.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from edge_runtime.bench.report import Entry, Report
from edge_runtime.bench.statistics import SHARES

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What makes a spreadsheet compute a cell's text."""
STAGES = ("prepare", "run", "answer")
COLUMNS = (
    "model", "version", "task", "variant", "precision", "backend", "engine", "device", "settings", "inputs", "runs",
    *(f"p{share * 100:g}{end}" for share in SHARES for end in ("", "_low", "_high")),
    "cpu", "paced_cpu", "energy", "engine_seconds", "load_seconds", "first_seconds", "memory",
    *STAGES, "accuracy", "accuracy_metric", "accuracy_data", "doubts", "error",
)  # fmt: skip


def render(report: Report) -> str:
    """All entries in the order of the report, under a row of names."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\r\n")
    table.writerow(COLUMNS)
    for entry in report.entries:
        table.writerow([_cell(value) for value in _row(entry)])
    return text.getvalue()


def _row(entry: Entry) -> Iterator[object]:
    yield from (entry.model, entry.version, entry.task, entry.variant, entry.precision, entry.backend, entry.engine)
    yield from (entry.device, str(entry.settings), entry.inputs)
    yield len(entry.samples.values) if entry.samples is not None else None
    for share in SHARES:
        found = entry.at(share)
        yield from (None, None, None) if found is None else (found.value, found.low, found.high)
    yield from (entry.cpu, entry.paced_cpu, entry.energy)
    cold = entry.cold
    yield from ((None,) * 4 if cold is None else (cold.engine_seconds, cold.load_seconds, cold.first_seconds, cold.memory))
    stages = {stage.name: stage.seconds for stage in entry.stages}
    yield from (stages.get(name) for name in ("prepare", "run", "answer"))
    known = entry.accuracy
    yield from (None, None, None) if known is None else (known.value, known.metric, known.data)
    yield from (" ".join(entry.doubts), entry.error)


def _cell(value: object) -> object:
    """Text that a spreadsheet would take for a formula gets an apostrophe before it."""
    text = isinstance(value, str) and value.lstrip(" ").startswith(_FORMULA)
    return f"'{value}" if text else value
