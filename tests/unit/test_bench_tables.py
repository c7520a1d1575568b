"""A report as Markdown and as CSV: whole, and harmless whatever a model or an error is called."""

from __future__ import annotations

import csv
import io

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.bench import markdown, tabular
from edge_runtime.bench.report import Stage
from tests.reports import entry, failed, report


def _rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_csv_has_a_row_for_each_entry() -> None:
    """All figures in seconds under their names; what is unknown is empty."""
    full = msgspec.structs.replace(entry("onnx"), energy=0.25, paced_cpu=0.002, stages=(Stage("prepare", 1e-3),))
    rows = _rows(tabular.render(report(full, failed("tflite", "no such op"))))
    assert tuple(rows[0]) == tabular.COLUMNS
    first, second = rows
    assert (first["model"], first["backend"], first["runs"], first["energy"]) == ("net", "onnx", "400", "0.25")
    assert float(first["p50"]) == full.percentiles[0].value
    assert float(first["p99_high"] or 0) >= float(first["p99"])
    assert (first["prepare"], first["answer"], first["accuracy"]) == ("0.001", "", "0.98")
    assert (second["p50"], second["memory"], second["error"]) == ("", "", "no such op")


@given(st.text(max_size=40))
def test_csv_keeps_text_in_its_cell_and_makes_no_formula(text: str) -> None:
    """Quotes, line ends, commas: the cell comes back; what a spreadsheet would compute has an apostrophe before it."""
    strange = text.replace("\0", "")
    row = _rows(tabular.render(report(msgspec.structs.replace(entry("onnx"), task=strange))))[0]
    assert row["task"] in (strange, f"'{strange}")
    assert not row["task"].startswith(("=", "+", "-", "@", "\t", "\r"))


def test_markdown_says_what_the_report_says() -> None:
    """Verdict first, a table a model, failures, accuracy, the machine, and how to measure again."""
    text = markdown.render(report(entry("onnx", 23e-3), entry("openvino", 10e-3, "int8"), failed("tflite", "no | op")))
    lines = text.splitlines()
    assert lines[2].startswith("- fastest for net: openvino int8 at 10.0 ms")
    assert "| openvino int8 | 10.0 ms |" in text
    assert r"tflite fp32 failed: no \| op" in text
    assert "Accuracy: F1 on a test set." in text
    assert "| CPU | Test CPU |" in text
    assert "edge-runtime bench net" in lines
    widths = {line.replace(r"\|", "").count("|") for line in lines if line.startswith("| ") and "ms" in line}
    assert widths == {11}


@given(st.text(st.characters(codec="utf-8"), max_size=40))
def test_markdown_of_any_text_is_one_line_without_markup(text: str) -> None:
    """No cell ends early, no line begins a heading, a list or a table, no tag opens."""
    made = markdown.escape(text)
    assert "\n" not in made
    assert not made.startswith(("#", "-", "+", "="))
    plain = made.replace("\\\\", "")
    for special in "|`<*[":
        assert plain.count(special) == plain.count(f"\\{special}")
