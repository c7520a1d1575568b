"""MLPerf LoadGen beside our own driver, on the same call."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from edge_runtime.bench import loadgen
from edge_runtime.bench.drive import drive
from edge_runtime.bench.report import load
from edge_runtime.bench.scenarios import Burst, MultiStream, Offline, Scenario, Server, SingleStream
from edge_runtime.bundles.store import Store
from edge_runtime.cli import main
from edge_runtime.errors import InputError

pytest.importorskip("mlperf_loadgen", reason="LoadGen has no wheels for this Python or processor")


@pytest.mark.parametrize(
    "scenario",
    [
        SingleStream(queries=128),
        MultiStream(queries=70, samples=2),
        Server(rate=100.0, latency=0.5, queries=500),
        Server(rate=400.0, latency=0.02, queries=700),
        Offline(queries=200),
    ],
    ids=lambda scenario: f"{scenario.name}-{scenario.queries}",
)
def test_both_judge_alike(scenario: Scenario) -> None:
    """Valid or not, and, where load is not past what the call can take, a figure of the same size."""

    def call() -> None:
        time.sleep(0.003)

    ours, theirs = drive(call, scenario).judged(scenario), loadgen.judged(call, scenario)
    assert ours.valid == theirs.valid
    assert bool(theirs.reasons) != theirs.valid
    if ours.valid:
        assert 0.2 < ours.figure / theirs.figure < 5


def test_a_failing_call_is_not_valid() -> None:
    """Whatever LoadGen says of its speed."""
    judged = loadgen.judged(lambda: 1 / 0, SingleStream(queries=70))
    assert not judged.valid
    assert "ZeroDivisionError" in judged.reasons[0]


def test_a_scenario_that_it_has_not() -> None:
    """Bursts are ours alone."""
    with pytest.raises(InputError, match="has no scenario Burst"):
        loadgen.judged(lambda: None, Burst(size=1, gap=1.0))


def test_from_a_shell(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A verdict a line, LoadGen's beside it, all of it in the JSON and on the page; 1 where one is not valid."""
    asked = ["bench", "digits_mlp", "--store", str(store.path), "--queries", "70"]
    out, html = tmp_path / "out.json", tmp_path / "out.html"
    done = main([*asked, "--scenario", "SingleStream", "--loadgen", "--json", str(out), "--report", str(html)])
    said = capsys.readouterr().out
    assert done == 0, said
    assert "digits_mlp 1.0 SingleStream: VALID, p90" in said
    assert "LoadGen: VALID" in said
    [run] = load(out).scenarios
    assert len(run.ended) == 70
    assert "Under load" in html.read_text()
    assert main([*asked, "--scenario", "MultiStream"]) == 1
    assert "662 are needed" in capsys.readouterr().out
    assert main([*asked, "--scenario", "Server"]) == 2
    assert "needs --rate" in capsys.readouterr().err
    assert main([*asked, "--scenario", "Burst", "--loadgen"]) == 2
