"""Two reports against each other: what both have, how sure a change is, and what speaks against comparing them."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from edge_runtime.bench import compare_page
from edge_runtime.bench.compare import compare
from edge_runtime.bench.forest import ratio_axis
from edge_runtime.bench.gate import gate
from edge_runtime.bench.measure import Samples
from edge_runtime.bench.repeat import joined, repeated
from edge_runtime.bench.report import ColdStart, Report, decode, encode
from edge_runtime.errors import InputError
from tests.reports import entry, failed, report, simulated
from tests.unit.test_bench_html import HOSTILE, Document

NET = {"onnx": 1e-3, "openvino": 2e-3, "tflite": 0.5e-3}


def _two(slower: float = 1.6, *, speed: float = 1.4) -> tuple[Report, Report]:
    random = np.random.default_rng(3)
    changed = {**NET, "openvino": NET["openvino"] * slower, "tflite": NET["tflite"] / slower}
    return simulated(NET, random, starts=3), simulated(changed, random, speed=speed, starts=3)


def test_verdicts_are_of_the_candidates_and_not_of_the_machine() -> None:
    """On a machine 1.4 times slower: what only followed it is inconclusive, what changed is told."""
    found = compare(*_two())
    assert {row.label: row.verdict for row in found.rows} == {
        "onnx fp32": "inconclusive", "openvino fp32": "slower", "tflite fp32": "faster",
    }  # fmt: skip
    assert found.speed == pytest.approx(1.4, rel=0.15)
    slower = next(row for row in found.rows if row.verdict == "slower")
    assert slower.median.value == pytest.approx(1.6, rel=0.1)
    assert slower.p95.value == pytest.approx(1.6, rel=0.15)
    assert slower.median.low is not None
    assert slower.median.low > 1.0


def test_without_a_common_yardstick_it_is_said() -> None:
    """One report has none, or another one: nothing is normalised, and a doubt says so."""
    before, after = _two(1.0)
    other = msgspec.structs.replace(after.yardsticks[0], name="yardstick 0")
    for changed in ((), (other,)):
        found = compare(before, msgspec.structs.replace(after, yardsticks=changed))
        assert found.speed is None
        assert any("same yardstick" in text for text in found.doubts)
        assert found.rows[0].median.value > 1.2


def test_a_report_beside_itself_is_inconclusive() -> None:
    """All of it, with a ratio of just 1, and no doubt about the machine."""
    same = _two()[0]
    found = compare(same, same)
    assert {(row.verdict, row.median.value) for row in found.rows} == {("inconclusive", 1.0)}
    assert found.doubts == ()


def test_what_is_in_one_only_is_listed() -> None:
    """By name, with its figure or that it failed; an error where there was none before is told apart."""
    found = compare(
        report(entry("onnx"), entry("openvino"), failed("litert", "no")),
        report(entry("onnx"), failed("openvino", "it crashed"), entry("tflite", 20e-3)),
    )
    assert [row.label for row in found.rows] == ["onnx fp32"]
    assert found.broken == ("net openvino fp32: it crashed",)
    assert found.only_after == ("net openvino fp32 (failed)", "net tflite fp32 (20.0 ms)")
    assert "net litert fp32 (failed)" in found.only_before


def test_what_differs_beside_the_time_is_stated() -> None:
    """Processor, cores, engines, how long was measured; and of a row its version, engine and input."""
    before, after = (
        report(entry("onnx")),
        report(msgspec.structs.replace(entry("onnx"), version="2.0", engine="onnx 2", inputs="x float32 [9]")),
    )
    machine = msgspec.structs.replace(after.fingerprint, cpu="Other CPU", cores_allowed=4, engines={"openvino": "1"})
    protocol = msgspec.structs.replace(after.protocol, seconds=9.0)
    found = compare(before, msgspec.structs.replace(after, fingerprint=machine, protocol=protocol))
    told = " ".join(found.doubts)
    for words in (
        "cpu was Test CPU before and is Other CPU after", "cores allowed was 2", "onnxruntime was 1.31.1 before",
        "openvino was not there", "400 runs or 2 s", "400 runs or 9 s", "bench --repeat",
    ):  # fmt: skip
        assert words in told, words
    assert found.rows[0].notes == (
        "version: 1.0 before, 2.0 after", "engine: onnx 1.2.3 before, onnx 2 after",
        "input: x float32 [1, 2] before, x float32 [9] after",
    )  # fmt: skip


def test_versions_of_a_model_compare_with_their_like() -> None:
    """Where one report has two versions of a model, each is compared with the same one."""
    old, new = entry("onnx"), msgspec.structs.replace(entry("onnx", 20e-3), version="2.0")
    found = compare(report(old, new), report(new, old))
    assert [row.median.value for row in found.rows] == [1.0, 1.0]
    assert all(row.notes == () for row in found.rows)


def test_rounds_of_the_yardstick_that_are_missing_are_left_out() -> None:
    """A damaged or shortened yardstick costs rounds; it raises nothing."""
    before, after = _two()
    beside = after.yardsticks[0]
    short = msgspec.structs.replace(beside, rounds=((), *beside.rounds[1:6]), starts=())
    found = compare(before, msgspec.structs.replace(after, yardsticks=(short,)))
    assert found.rows[0].median.low is not None
    none = msgspec.structs.replace(beside, rounds=(), starts=())
    assert compare(before, msgspec.structs.replace(after, yardsticks=(none,))).speed is None


def test_reports_with_nothing_in_common_are_refused() -> None:
    """There is nothing to say of them, and that is said."""
    with pytest.raises(InputError, match="nothing in common: measure the same bundles"):
        compare(report(entry("onnx")), report(entry("tflite")))


def test_repetitions_become_one_report() -> None:
    """All rounds in order, the places where a fresh process began, and the cold start that took the middle time."""
    random = np.random.default_rng(0)
    parts = [simulated({"onnx": 1e-3, "tflite": 2e-3}, random) for _ in range(3)]
    colds = [ColdStart(0.1, 0.1, seconds, None) for seconds in (0.3, 0.1, 0.2)]
    parts = [
        msgspec.structs.replace(part, entries=tuple(msgspec.structs.replace(e, cold=cold) for e in part.entries))
        for part, cold in zip(parts, colds, strict=True)
    ]
    whole = joined(parts)
    taken = whole.entries[0].samples
    assert taken is not None
    assert taken.starts == (10, 20) == whole.yardsticks[0].starts
    assert taken.rounds == tuple(r for part in parts if (s := part.entries[0].samples) is not None for r in s.rounds)
    assert whole.protocol.repeat == 3
    assert whole.entries[0].cold == colds[2]
    assert decode(encode(whole)) == whole
    assert joined(parts[:1]) is parts[0]


def test_a_repetition_that_failed_fails_the_whole_and_keeps_the_rest() -> None:
    """Its rounds are empty, so that all others stay where the yardstick's are."""
    random = np.random.default_rng(0)
    first, second = (simulated({"onnx": 1e-3, "tflite": 2e-3}, random) for _ in range(2))
    gone = msgspec.structs.replace(first.entries[0], samples=None, percentiles=(), error="it crashed")
    whole = joined([msgspec.structs.replace(first, entries=(gone, first.entries[1])), second])
    found = whole.entries[0]
    assert found.error == "it crashed"
    assert found.samples is not None
    assert [len(part) for part in found.samples.rounds] == [0] * 10 + [20] * 10
    assert found.samples.starts == (10,)


def test_repetitions_tell_how_far_they_are() -> None:
    """Which of them it is, and a share that grows from 0 to 1 over all."""
    told: list[tuple[str, float]] = []
    part = simulated({"onnx": 1e-3}, np.random.default_rng(0))

    def measure(tell: object) -> Report:
        tell("net", 0.5)  # type: ignore[operator]
        return part

    repeated(measure, 2, lambda what, share: told.append((what, share)))
    assert told == [("1 of 2, net", 0.25), ("2 of 2, net", 0.75)]


def test_a_page_and_a_table_say_what_was_found() -> None:
    """Rows, intervals, verdicts, the yardstick, what is missing, and doubts; the page is the same for the same reports."""
    before, after = _two()
    after = msgspec.structs.replace(after, entries=(*after.entries, failed("litert", "no such op")))
    found = compare(before, after)
    page, text = Document(compare_page.render(found)), compare_page.as_text(found)
    for words in ("openvino fp32", "slower", "faster", "inconclusive", "litert fp32 (failed)"):
        assert words in page.text
        assert words in text
    assert "The machine itself" in page.text
    assert page.of("g", "bad")
    assert compare_page.render(found) == compare_page.render(found)
    assert text.splitlines()[-1] == (
        "of 3 ways to run a model, 1 became slower and 1 became faster; 1 show no change beyond the noise"
    )


def test_a_decision_in_words_ends_with_what_it_is() -> None:
    """Passed, or each failure in a line."""
    before, after = _two()
    assert compare_page.decided(gate(before, after, 0.05)).splitlines()[-1].startswith("FAILED net openvino fp32: 1.")
    assert (
        compare_page.decided(gate(before, before, 0.05))
        .splitlines()[-1]
        .startswith("passed: no regression of more than 5%")
    )


def test_names_make_no_markup() -> None:
    """A model that is called like a script stays text."""
    strange = msgspec.structs.replace(entry("onnx"), model=HOSTILE, error=None)
    found = compare(report(strange), report(strange))
    assert not Document(compare_page.render(found)).of("script")


def test_samples_with_impossible_starts_are_refused() -> None:
    """Starts are places among the rounds, in order."""
    for starts in ((3,), (2, 1), (1, 1)):
        with pytest.raises(ValueError, match="no ascending places"):
            Samples("x", ((1,), (1,), (1,)), starts=starts)


@pytest.mark.parametrize("values", [[], [1.0], [0.5, 3.0], [0.01, 100.0], [0.99, 1.01]])
def test_the_axis_of_ratios_has_one_in_its_middle(values: list[float]) -> None:
    """1 is marked, on a figure that a phone shows too, with as much room to either side."""
    made = ratio_axis(values)
    assert made.at(1.0) == pytest.approx(50)
    assert made.ticks.index(1.0) % 2 == 0
    assert list(made.ticks) == sorted(made.ticks)
    assert made.high <= 4.2
