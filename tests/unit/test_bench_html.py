"""The page: whole, self-contained, escaped, deterministic, and saying what the report says."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.bench.charts import Bar, Stack, bar_axis, bars, stacked
from edge_runtime.bench.html import render
from edge_runtime.bench.page import Cell, Chart, Code, Headline, Notes, Pair, Section, Table, page
from edge_runtime.bench.plots import Call, Curve, ecdf, timeline
from edge_runtime.bench.units import CROSS
from tests.reports import entry, failed, report

VOID = {"meta", "link"}
HOSTILE = "</style><script>alert(1)</script>\"'><img src=x onerror=alert(1)>&amp;"


class Document(HTMLParser):
    """Reads a page, checks that every element is closed in order, and keeps its text, elements and addresses."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.words)

    def of(self, tag: str, kind: str = "") -> list[dict[str, str | None]]:
        """The attributes of the elements of this tag and class."""
        return [a for name, a in self.elements if name == tag and (not kind or kind in (a.get("class") or "").split())]


def _everything(text: str) -> str:
    """A page with every part there is, and this text wherever text goes."""
    chart = Chart("<svg></svg>", text, text)
    blocks = (
        Table((text, text), ((text, Cell(text, "best", text)),), "lr", text), Notes((text,), "doubt"), Code(text), chart,
        Pair(chart, chart),
        bars([Bar(text, 1.0, text, 0.9, 1.1, (1.2, 9.0))], "seconds", title=text, caption=text),
        stacked([Stack(text, (1.0, 2.0, 3.0))], (text, text, text), "bytes", title=text),
        ecdf([Curve(text, (1.0, 2.0))], "seconds", title=text),
        timeline([Call(0.0, 1.0, 0.5, text, text)], events=[(0.0, text)], title=text),
    )  # fmt: skip
    return page(text, text, [Section(text, text, blocks)] * 3, headlines=[Headline(text, text, text)], footer=text)


@settings(deadline=None, max_examples=40)
@given(st.text(st.characters(exclude_characters="\n"), max_size=30).map("x".__add__) | st.just(HOSTILE))
def test_text_stays_text_wherever_it_goes(text: str) -> None:
    """Whatever a model, a device or an error is called, it makes no element and no attribute."""
    plain, given_text = Document(_everything("x")), Document(_everything(text))
    assert [name for name, _ in given_text.elements] == [name for name, _ in plain.elements]
    assert [sorted(a) for _, a in given_text.elements] == [sorted(a) for _, a in plain.elements]
    assert not given_text.of("script")


def test_nothing_is_fetched_and_nothing_runs() -> None:
    """The only addresses are places on the page itself and the empty icon; there is no script and no import."""
    text = render(report(entry("onnx"), entry("openvino", 5e-3)))
    document = Document(text)
    addresses = [a[key] for _, a in document.elements for key in ("href", "src", "xlink:href", "data") if key in a]
    assert all(address == "data:," or (address or "").startswith("#") for address in addresses)
    assert not re.search(r"@import|url\(|https?:|<script|\son\w+=", text)


def test_the_same_report_gives_the_same_page() -> None:
    """Byte for byte."""
    made = [render(report(entry("onnx"), failed("tflite", "no"))) for _ in range(2)]
    assert made[0] == made[1]


def test_the_page_says_what_the_report_says() -> None:
    """Verdict, figures, intervals, doubts, failures, accuracy, machine and command are on it in words."""
    few = msgspec.structs.replace(entry("tflite", 30e-3, runs=50), accuracy=None)
    whole = report(entry("onnx", 23e-3), entry("openvino", 10e-3, "int8"), few, failed("onnx", "unsupported op <Foo>"))
    text = Document(render(whole)).text
    for words in (
        f"Fastest for net: openvino int8 at 10.0 ms, 2.3{CROSS} faster than onnx fp32.",
        "openvino 1.2.3, CPU", "0.98", "Accuracy is F1 on a test set.",
        "50 runs are too few for a confidence interval of p95 (needs 72) and p99 (needs 368).", "unsupported op <Foo>",
        "Test CPU", "edge-runtime bench net", "20.0 MiB", "350 ms", "too few runs", "not stated", "seed 0",
        "Tell this from that.", "x float32 [1, 2]",
    ):  # fmt: skip
        assert words in text, words


def test_a_page_of_several_models_begins_with_what_they_have_in_common() -> None:
    """One engine ahead for all is named; different ones are named as such; each model has its card."""

    def lead(*winners: str) -> str:
        entries = []
        for number, winner in enumerate(winners):
            pair = entry(winner, 5e-3), entry("onnx" if winner != "onnx" else "tflite", 10e-3)
            entries += [msgspec.structs.replace(e, model=f"net{number}") for e in pair]
        document = Document(render(report(*entries)))
        assert len(document.of("div", "card")) == len(winners)
        return document.text

    assert f"openvino is the fastest engine here for both models, by up to 2.0{CROSS} over onnx fp32." in lead(
        "openvino", "openvino"
    )
    assert "No engine wins everywhere: openvino and tflite each lead for some of 2 models" in lead("openvino", "tflite")


def test_a_report_in_which_all_failed_is_still_a_page() -> None:
    """It says so first, and why below."""
    text = Document(render(report(failed("onnx", "no such op"), failed("tflite", "x" * 5000)))).text
    assert "nothing could be measured here" in text
    assert "no such op" in text
    assert "x" * 301 not in text
    assert "the JSON report has all of it" in text


def test_bars_are_drawn_to_scale_from_zero() -> None:
    """Half the value is half the bar, and the axis begins at zero."""
    rects = Document(bars([Bar("a", 4e-3), Bar("b", 2e-3)], "seconds").markup).of("rect", "bar")
    widths = [float((a["width"] or "").rstrip("%")) for a in rects]
    assert widths[0] == pytest.approx(2 * widths[1], abs=0.01)
    assert all(a["x"] == "0" for a in rects)
    assert bar_axis([Bar("a", 4e-3)], "seconds").low == 0.0


def test_a_tail_past_the_chart_ends_in_an_arrow() -> None:
    """A p99 of a hundred times the median does not squeeze the bars; it is drawn to the edge, with an arrow."""
    long, short = Bar("a", 1.0, tail=(2.0, 100.0)), Bar("a", 1.0, tail=(1.5, 2.0))
    assert bar_axis([long], "seconds").high <= 4.0
    assert Document(bars([long], "seconds").markup).of("path", "more")
    assert not Document(bars([short], "seconds").markup).of("path", "more")


def test_a_log_axis_says_so() -> None:
    """Samples that span decades are drawn on a logarithmic axis that is called one."""
    assert "logarithmic scale" in ecdf([Curve("a", (1e-6, 1e-3, 1.0))], "seconds").markup
    assert "logarithmic scale" not in ecdf([Curve("a", (1.0, 2.0, 3.0))], "seconds").markup


def test_a_curve_rises_and_stays_on_the_chart() -> None:
    """Steps go right and up only, between 0 and 100; a tail past the axis leaves the curve at the edge below 100 %."""
    values = tuple([1.0] * 50 + [1.5] * 49 + [400.0])
    path = Document(ecdf([Curve("a", values)], "seconds").markup).of("path", "line")[0]["d"] or ""
    across = [float(x) for x in re.findall(r"H([\d.]+)", path)]
    up = [float(y) for y in re.findall(r"V([\d.]+)", path)]
    assert across == sorted(across)
    assert up == sorted(up, reverse=True)
    assert across[-1] <= 100
    assert up[-1] == pytest.approx(1.0)


def test_the_timeline_marks_what_was_missed() -> None:
    """A cross for the call past its budget, a dot in its group's colour for each other, a line for each budget in force."""
    calls = [
        Call(0.0, 0.02, 0.1, "cloud"),
        Call(1.0, 0.15, 0.1, "cloud"),
        Call(2.0, 0.02, 0.05, "local"),
        Call(3.0, 0.3, None, "local"),
    ]
    chart = timeline(calls, events=[(1.5, "SIGKILL")])
    document = Document(chart.markup)
    plot = document.elements[: next(i for i, (_, a) in enumerate(document.elements) if a.get("class") == "legend")]
    count = {
        kind: sum(kind in (a.get("class") or "").split() for _, a in plot) for kind in ("dot", "miss", "budget", "event")
    }
    assert count == {"dot": 3, "miss": 1, "budget": 2, "event": 1}
    assert "missed" in document.text
    assert "SIGKILL" in document.text


def test_charts_of_nothing_are_empty_charts() -> None:
    """No rows and no calls raise nothing, and draw nothing."""
    for chart in (bars([], "seconds"), stacked([], ("a",), "seconds"), timeline([])):
        assert not Document(chart.markup).of("title")  # each bar and each dot has one
        assert not Document(chart.markup).of("circle")


def test_sections_of_one_title_have_addresses_of_their_own() -> None:
    """Links go to the section that they name."""
    document = Document(page("t", "l", [Section("Same"), Section("Same"), Section("日本")]))
    assert [a["id"] for a in document.of("section")] == ["same", "same-2", "section"]
    assert [a["href"] for a in document.of("a")] == ["#same", "#same-2", "#section"]
