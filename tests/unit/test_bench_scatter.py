"""The plot of accuracy over latency: who is on the frontier, and that labels and dots stay on the chart."""

from __future__ import annotations

import re

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.bench.html import render
from edge_runtime.bench.report import Stage
from edge_runtime.bench.scatter import Dot, frontier, pareto
from edge_runtime.bundles.manifest import Accuracy, less_is_better
from tests.reports import entry, report
from tests.unit.test_bench_html import Document

DOTS = [Dot("fast", 1.0, 0.9), Dot("slow", 3.0, 0.99), Dot("beaten", 2.0, 0.9), Dot("worst", 4.0, 0.8)]


def test_the_frontier_is_what_nothing_beats_in_both() -> None:
    """The fastest first; as accurate and slower is beaten; of two alike the first stays."""
    assert [dot.label for dot in frontier(DOTS)] == ["fast", "slow"]
    assert [dot.label for dot in frontier(DOTS, lower=True)] == ["fast", "worst"]
    assert frontier([]) == []


@given(st.lists(st.tuples(st.floats(1e-6, 10), st.floats(-1, 1)), min_size=1, max_size=12), st.booleans())
def test_nothing_lies_outside_the_chart(points: list[tuple[float, float]], lower: bool) -> None:
    """Every dot and every label has a place inside, however the figures lie; each is labelled once."""
    dots = [Dot(f"candidate {i}", seconds, accuracy) for i, (seconds, accuracy) in enumerate(points)]
    document = Document(pareto(dots, "F1", lower=lower).markup)
    places = [(a["cx"], a["cy"]) for a in document.of("circle", "dot") if a.get("r") == "5.5"]
    assert len(places) == len(dots) == len(document.of("text", "name"))
    for x, y in places:
        assert 0 <= float((x or "").rstrip("%")) <= 100
        assert 0 <= float((y or "").rstrip("%")) <= 100
    assert all(0 <= float(a["y"] or -1) <= 240 for a in document.of("text", "name"))


def test_labels_that_have_room_do_not_overlap() -> None:
    """Six candidates in two rows, as two precisions on three engines lie."""
    dots = [Dot(f"engine{i % 3} fp{i // 3}", 1.0 + 0.05 * (i % 3), 0.9 + 0.05 * (i // 3)) for i in range(6)]
    names = Document(pareto(dots, "F1").markup).of("text", "name")
    assert len({(a["y"], a["text-anchor"]) for a in names}) == 6


def test_the_page_has_it_where_accuracy_is_stated_in_one_way() -> None:
    """Two metrics do not share an axis, and one value is no choice."""

    def drawn(*accuracies: Accuracy) -> bool:
        entries = [msgspec.structs.replace(entry(f"b{i}", (i + 1) * 1e-3), accuracy=a) for i, a in enumerate(accuracies)]
        return "Accuracy over latency" in render(report(*entries))

    assert drawn(Accuracy("F1", 0.9, "tests"), Accuracy("F1", 0.8, "tests"))
    assert not drawn(Accuracy("F1", 0.9, "tests"), Accuracy("F1", 0.9, "tests"))
    assert not drawn(Accuracy("F1", 0.9, "tests"), Accuracy("AUC", 0.8, "tests"))


def test_a_metric_that_counts_mistakes_runs_the_other_way() -> None:
    """By its name; one minus an error is more, the better."""
    assert less_is_better("max difference from fp32, relative to its largest value on 12 inputs")
    assert less_is_better("character error rate on pages")
    assert not less_is_better("1 - character error rate on pages")
    assert not less_is_better("accuracy on 10,000 digits")


def test_the_page_has_the_stages_of_a_call() -> None:
    """As parts of one bar, for those that have them."""
    staged = (Stage("prepare", 1e-3), Stage("run", 2e-3), Stage("answer", 3e-3))
    text = render(report(msgspec.structs.replace(entry("onnx"), stages=staged), entry("tflite")))
    assert "A whole call" in text
    assert re.search(r"prepare 1.00 ms, run 2.00 ms, answer 3.00 ms", text)
    assert "A whole call" not in render(report(entry("onnx")))
