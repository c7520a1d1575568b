"""What every benchmark script has in common: arguments in; rows, JSON, a last line and an exit status out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.convention import Bar, Options, Outcome, at_least, at_most, main, summary
from edge_runtime.errors import NotInstalledError

MET, MISSED = at_most("overhead", 2.5, "us", 5.0), at_least("throughput", 3.0, "1/s", 10.0)


def _run(outcome: Outcome, *argv: str) -> tuple[int, Options]:
    seen: list[Options] = []

    def run(options: Options) -> Outcome:
        seen.append(options)
        options.progress(1, 2)
        options.progress(2, 2)
        return outcome

    with pytest.raises(SystemExit) as ended:
        main("sample", "What it measures.", run, argv)
    assert isinstance(ended.value.code, int)
    return ended.value.code, seen[0]


def test_aims() -> None:
    """A limit is met by the limit itself; a figure that is no number meets nothing."""
    assert at_most("a", 5.0, "us", 5.0).met
    assert not at_most("a", 5.1, "us", 5.0).met
    assert at_least("a", 5.0, "us", 5.0).met
    assert not at_least("a", 4.9, "us", 5.0).met
    assert not at_most("a", float("nan"), "us", 5.0).met
    assert not at_least("a", float("inf"), "us", 5.0).met


@pytest.mark.parametrize(("bars", "status"), [((MET,), 0), ((MET, MISSED), 1), ((), 1)])
def test_exit_status_says_whether_every_aim_was_met(bars: tuple[Bar, ...], status: int) -> None:
    """0 for all, 1 for one that was missed, and 1 for a benchmark that measured nothing."""
    assert _run(Outcome(bars))[0] == status


def test_the_last_line_is_the_summary(capsys: pytest.CaptureFixture[str]) -> None:
    """Rows first, then one line with each value beside its aim; progress is not in the output."""
    _run(Outcome((MET, MISSED), ["a row"]))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "a row"
    assert lines[-1] == summary("sample", (MET, MISSED))
    assert lines[-1] == (
        "sample: 1 of 2 aims met: overhead 2.5 us (at most 5); throughput 3 1/s (at least 10) MISSED"
    )  # fmt: skip


def test_json_has_the_bars_and_the_machine(tmp_path: Path) -> None:
    """`bars` with name, value, unit, aim and met; the environment and the raw values beside them; new folders are made."""
    path = tmp_path / "reports/sample.json"
    _run(Outcome((MET, MISSED), (), {"raw": [1, 2]}), "--json", str(path), "--quick")
    record = json.loads(path.read_bytes())
    assert [{key: bar[key] for key in ("name", "value", "unit", "aim", "met")} for bar in record["bars"]] == [
        {"name": "overhead", "value": 2.5, "unit": "us", "aim": 5.0, "met": True},
        {"name": "throughput", "value": 3.0, "unit": "1/s", "aim": 10.0, "met": False},
    ]
    assert record["details"] == {"raw": [1, 2]}
    assert record["quick"] is True
    assert record["fingerprint"]["cpu"]


def test_options_are_those_of_the_command_line() -> None:
    """The script sees what was asked for."""
    assert _run(Outcome((MET,)))[1].quick is False
    options = _run(Outcome((MET,)), "--quick", "--store", "elsewhere")[1]
    assert (options.quick, options.store) == (True, Path("elsewhere"))


def test_a_file_that_cannot_be_written_is_told_before_anything_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not after a minute of measuring."""

    def run(options: Options) -> Outcome:
        pytest.fail("it measured")

    with pytest.raises(SystemExit) as ended:
        main("sample", None, run, ["--json", str(tmp_path)])
    assert ended.value.code == 2
    assert "cannot be written" in capsys.readouterr().err


def test_what_cannot_be_measured_is_one_line_and_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    """An error of the tree is no traceback, and no missed aim either."""

    def run(options: Options) -> Outcome:
        raise NotInstalledError("the store holds no basic_pitch")

    with pytest.raises(SystemExit) as ended:
        main("sample", None, run, [])
    assert ended.value.code == 2
    assert capsys.readouterr().err == "sample: the store holds no basic_pitch\n"
