"""A tournament's outcome in words, and as a page."""

from __future__ import annotations

import msgspec

from edge_runtime.host import Host
from edge_runtime.objective import Objective
from edge_runtime.profile import Candidate, Lost, Measurement, Tuned, distribution, key_of
from edge_runtime.tuning.page import render
from edge_runtime.tuning.words import SHOWN, explain
from edge_runtime.values import Device, Settings
from tests.doubles import manifest

DESCRIBED = manifest(variants=2)
FIRST, SECOND = (
    Candidate(variant, Device("onnx", "CPU", engine="onnxruntime 1"), Settings(threads=number))
    for number, variant in enumerate(DESCRIBED.variants, 1)
)


def _measured(candidate: Candidate, scale: float) -> Measurement:
    return Measurement(
        model="double", version="1.0", variant=candidate.variant.name, key=key_of(candidate, Host("a cpu", 2)),
        latency=distribution([scale * n for n in range(1, 101)]), runs=100, cpu=0.0002, rate=100.0,
        busy=distribution([0.1]), joules=0.25, memory=3 << 20, load=0.5,
    )  # fmt: skip


TUNED = Tuned(
    model="double", version="1.0", objective=Objective(busy=True, memory=10**8, rate=20.0),
    date="2026-01-02T03:04:05+00:00", winner=_measured(FIRST, 1e-5), runners_up=(_measured(SECOND, 2e-5),),
    seconds=12.0, verdict="v0 on onnx:CPU 1T: <b>best</b>",
    lost=tuple(Lost(f"candidate {n}", "it crashed") for n in range(SHOWN + 3)),
)  # fmt: skip


def test_it_is_explained_with_its_figures() -> None:
    """What runs, for which objective, its percentiles, the runner-up, who lost and why, and how many more."""
    said = "\n".join(explain(TUNED))
    for part in (
        "double 1.0 runs as v0 on onnx:CPU 1T (onnxruntime 1).", f"Of {SHOWN + 5} candidates",
        "p95 at 20/s beside a busy neighbour within 100 MB", "p50 500 µs, p95 950 µs, p99 990 µs", "0.25 J an inference",
        "loads in 500 ms and takes 3.00 MiB", "Runner-up: v1 on onnx:CPU 2T, p50 1.00 ms",
        "Lost: candidate 10: it crashed.", "3 more lost",
    ):  # fmt: skip
        assert part in said
    assert "something changed" not in said


def test_what_has_changed_since_is_told() -> None:
    """A choice that may hold no more says so."""
    assert (
        "the engine was 1, now 2. Until it is tuned again, it serves." in explain(TUNED, ("the engine was 1, now 2",))[-1]
    )


def test_a_page_has_all_of_it_and_is_escaped() -> None:
    """Winner, runner-up and those that lost; what an engine said is no markup; the same outcome gives the same bytes."""
    page = render([TUNED])
    assert "<b>best" not in page
    assert "v1 on onnx:CPU 2T" in page
    assert "candidate 0" in page
    assert page == render([TUNED])
    alone = msgspec.structs.replace(TUNED, runners_up=(), lost=(), model="other")
    assert "2 models, each on the engine" in render([TUNED, alone])
