"""What follows from an endpoint's measurements: how many calls at once, and which way to run each model."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_bridge.endpoint.plans import FILE, NEAR, Measured, Plans, Point, Trial, goes_on, load, save, sizes
from edge_runtime.bundles.store import read_bundle
from edge_runtime.errors import InputError
from edge_runtime.profile import Key
from edge_runtime.values import Settings
from tests.bundles import write_bundle


def trial(calls: int, *rates: float, threads: int = 1) -> Trial:
    """With these rates at 1, 2, 4, ... rows."""
    key = Key(sha256="0" * 64, backend="onnx", device="CPU", engine="1", cpu="x", cores=4, settings=Settings(threads))
    return Trial("fp32-onnx", key, calls, tuple(Point(1 << n, rate, (1 << n) / rate) for n, rate in enumerate(rates)))


def measured(*trials: Trial, model: str = "double", version: str = "1.0", date: str = "2026-01-01") -> Measured:
    return Measured(model, version, date, trials)


def test_the_fewest_rows_that_are_as_good_as_any() -> None:
    """More rows that bring next to nothing only make others wait."""
    assert trial(1, 100, 180, 195, 200).best.rows == 4
    assert trial(1, 100, 60).best.rows == 1


def test_the_fewest_calls_at_once_that_are_as_good_as_any() -> None:
    """For all models together: one that gains much outweighs one that loses little."""
    one = measured(trial(1, 100, 200), trial(2, 140, 202))
    assert Plans(models=(one,)).calls == 1
    other = measured(trial(1, 100), trial(2, 190), model="other")
    assert Plans(models=(one, other)).calls == 2
    assert Plans().calls is None


def test_the_plan_of_a_model(tmp_path: Path) -> None:
    """Is that of its own version; else of the one that was measured last; none of a model that was not measured."""
    manifest = read_bundle(write_bundle(tmp_path / "b", "1.0")).manifest
    old, new = (measured(trial(1, 1.0, threads=n), version="0.9", date=f"2026-01-0{n}") for n in (1, 2))
    assert Plans().plan(manifest) is None
    plans = Plans(models=(old,)).updated([new])
    assert len(plans.models) == 1
    plan = plans.plan(manifest)
    assert plan is not None
    assert plan.key.settings.threads == 2
    plan = plans.updated([measured(trial(1, 1.0, threads=3))]).plan(manifest)
    assert plan is not None
    assert plan.key.settings.threads == 3


def test_sizes() -> None:
    """Powers of two, and the last."""
    assert [sizes(n) for n in (1, 2, 6)] == [(1,), (1, 2), (1, 2, 4, 6)]


@given(st.lists(st.floats(1.0, 1e6), min_size=1, max_size=8))
def test_the_best_is_never_far_from_the_highest(rates: list[float]) -> None:
    """And none with fewer rows is as good."""
    one = trial(1, *rates)
    assert one.best.rate >= NEAR * max(rates)
    assert all(point.rate < NEAR * max(rates) for point in one.points if point.rows < one.best.rows)


def test_more_rows_are_tried_while_it_helps() -> None:
    """Until the rate fell twice, or a run takes too long."""
    assert goes_on(trial(1, 100).points, 1.0)
    assert goes_on(trial(1, 100, 200, 150).points, 1.0)
    assert not goes_on(trial(1, 100, 200, 150, 140).points, 1.0)
    assert not goes_on(trial(1, 1.0, 1.1).points, 1.0)


def test_they_are_kept(tmp_path: Path) -> None:
    """What was saved is read again."""
    plans = Plans(models=(measured(trial(1, 100, 200)),))
    save(plans, tmp_path / FILE)
    assert load(tmp_path / FILE) == plans
    assert load(tmp_path / "none.json") == Plans()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"schema": 9}',
        '{"models": 1}',
        '{"models": [{"model": "m", "version": "1", "date": "", "trials": [], "x": 1}]}',
    ],
)
def test_a_damaged_file_is_told(tmp_path: Path, text: str) -> None:
    """With what to do."""
    (tmp_path / FILE).write_text(text)
    with pytest.raises(InputError, match=r"endpoint\.json .*tune again"):
        load(tmp_path / FILE)
