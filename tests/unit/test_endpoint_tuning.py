"""How an endpoint's best way to run a model is found, with contenders in Python."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloud_bridge.endpoint.tuning import Effort, measure
from edge_runtime.bench.measure import Turn
from edge_runtime.bench.process import Started
from edge_runtime.bench.report import ColdStart
from edge_runtime.bundles.bundle import Bundle
from edge_runtime.bundles.store import read_bundle
from edge_runtime.engines import Candidate
from edge_runtime.errors import EngineMissingError, RunError
from edge_runtime.values import Device
from tests.bundles import write_bundle

ONNX, OPENVINO = (Device(name, "CPU", "1") for name in ("onnx", "openvino"))


class Model:
    """Runs in so many seconds for the first row and each further one; onnx is faster, openvino gains more by rows."""

    def __init__(self, candidate: Candidate, started: list[Candidate]) -> None:
        self.device = candidate.device
        self._fixed, self._row = (0.010, 0.008) if candidate.device == ONNX else (0.012, 0.004)
        self.closed = False
        started.append(candidate)

    def started(self) -> Started:
        return Started(ColdStart(0.0, 0.0, 0.0, None), self.device, None)

    def together(self, calls: int, rows: int, seconds: float) -> Turn:
        assert not self.closed
        took = int((self._fixed + self._row * rows) * (1.0 if calls == 1 else 1.5 * calls) * 1e9)
        return Turn((took,) * calls, 0)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return read_bundle(write_bundle(tmp_path / "b", "1.0"))


def test_the_best_by_rows_is_found(bundle: Bundle) -> None:
    """Not that which answers one call soonest; every process is ended; a number of calls that does not help is seen so."""
    started: list[Candidate] = []
    models: list[Model] = []

    def open(candidate: Candidate) -> Model:
        models.append(Model(candidate, started))
        return models[-1]

    told: list[tuple[str, float]] = []
    found = measure(bundle, devices=(ONNX, OPENVINO), open=open, progress=lambda what, share: told.append((what, share)))
    best = found.best(1)
    assert best is not None
    assert best.key.backend == "openvino"
    assert best.best.rows >= 16
    assert best.best.rate == pytest.approx(best.best.rows / (0.012 + 0.004 * best.best.rows))
    assert all(model.closed for model in models)
    assert len(set(map(str, started))) == len(started)
    assert [share for _, share in told] == sorted(share for _, share in told)


def test_one_that_fails_is_named(bundle: Bundle) -> None:
    """As it starts, or later; the others go on."""

    class Breaking(Model):
        def together(self, calls: int, rows: int, seconds: float) -> Turn:
            if rows > 4 and self.device == OPENVINO:
                raise RunError("it took 900 MB")
            return super().together(calls, rows, seconds)

    found = measure(bundle, devices=(ONNX, OPENVINO), open=lambda c: Breaking(c, []), effort=Effort(opening=(1,)))
    assert {trial.key.backend for trial in found.trials} == {"onnx"}
    assert any("900 MB" in lost.why for lost in found.lost)


def test_nothing_that_runs_it(bundle: Bundle) -> None:
    """Says why each failed, or what to install."""

    def open(candidate: Candidate) -> Model:
        raise RunError("its outputs are wrong")

    with pytest.raises(RunError, match="its outputs are wrong"):
        measure(bundle, devices=(ONNX,), open=open)
    with pytest.raises(EngineMissingError):
        measure(bundle, devices=())
