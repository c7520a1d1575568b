"""A runtime: models opened, asked and closed by many threads at the same time; what it is given at its start."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from benchmarks.tiny import SHAPE, tiny_bundle
from edge_runtime import EdgeError, InputError, Result, Runtime
from edge_runtime.bundles.bundle import Bundle
from edge_runtime.bundles.manifest import Variant
from edge_runtime.errors import ArtifactError

AMPLE = 60.0
X = {"x": np.zeros(SHAPE, np.float32)}


class Gate:
    """Where a bundle waits in the middle of being opened."""

    def __init__(self) -> None:
        self.reached, self.opened = threading.Event(), threading.Event()


GATES: dict[str, Gate] = {}


class SlowBundle(Bundle, frozen=True):
    """A bundle whose opening takes as long as its gate is closed."""

    def artifact(self, variant: Variant) -> Path:
        gate = GATES[str(self.folder)]
        gate.reached.set()
        assert gate.opened.wait(AMPLE)
        return super().artifact(variant)


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[SlowBundle]:
    bundle = tiny_bundle(tmp_path / "slow")
    gate = GATES[str(bundle.folder)] = Gate()
    yield SlowBundle(bundle.manifest, bundle.folder)
    gate.opened.set()
    del GATES[str(bundle.folder)]


def test_a_model_that_is_being_opened_keeps_no_open_one_waiting(slow: SlowBundle, tmp_path: Path) -> None:
    """Opening takes seconds, and a budget is milliseconds."""
    quick = tiny_bundle(tmp_path / "quick")
    with ThreadPoolExecutor() as pool, Runtime(None, device="onnx") as runtime:
        runtime.open(quick)
        opening = pool.submit(runtime.open, slow)
        gate = GATES[str(slow.folder)]
        try:
            assert gate.reached.wait(AMPLE)
            asked: list[Callable[[], Result]] = [
                lambda: runtime.open(quick).infer(X),
                lambda: runtime.open(quick).submit(X).result(),
            ]
            answers = [pool.submit(each).result(AMPLE) for each in asked]
        finally:
            gate.opened.set()
        assert [answer.target for answer in answers] == ["local", "local"]
        assert opening.result(AMPLE).infer(X).target == "local"


def test_a_runtime_that_is_closed_meanwhile_leaves_nothing_open(slow: SlowBundle) -> None:
    """A model whose opening ends after that is unusable, like all others, and so is the runtime."""
    runtime = Runtime(None, device="onnx")
    gate = GATES[str(slow.folder)]
    with ThreadPoolExecutor() as pool:
        opening = pool.submit(runtime.open, slow)
        assert gate.reached.wait(AMPLE)
        closing = pool.submit(runtime.close)
        gate.opened.set()
        closing.result(AMPLE)
        with pytest.raises(EdgeError):
            opening.result(AMPLE).infer(X)
    with pytest.raises(InputError, match="closed"):
        runtime.open(slow)


@pytest.mark.parametrize("device", ["onnx", "openvino", "tflite"])
def test_closing_in_the_middle_of_calls_ends_them_with_an_answer_or_an_error_of_the_tree(
    device: str, tmp_path: Path
) -> None:
    """Never with another error, a wrong answer, or none."""
    runtime = Runtime(None, device=device)
    model = runtime.open(tiny_bundle(tmp_path / "tiny"))
    started = threading.Barrier(5)

    def ask() -> int:
        started.wait(AMPLE)
        for turn in range(100_000):
            try:
                x = {"x": np.full(SHAPE, turn, np.float32)}
                assert (model.infer(x).outputs["y"] == turn + 1).all()
            except EdgeError:
                return turn
        raise AssertionError("the runtime was closed, and the model still answers")

    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask) for _ in range(4)]
        started.wait(AMPLE)
        assert model.submit(X).result(AMPLE).target == "local"
        runtime.close()
        for each in asking:
            each.result(AMPLE)


def test_a_profile_that_was_named_and_is_not_there_is_told(tmp_path: Path) -> None:
    """Silence would run whatever loads first, and look like a choice."""
    with pytest.raises(InputError, match=r"no profile at .*none\.json"):
        Runtime(None, profile=tmp_path / "none.json")


def test_a_budget_that_was_set_holds_where_a_call_names_none(tmp_path: Path) -> None:
    """For models that are open and for those that are opened later; another one, or none, from the next call on."""
    bundle = tiny_bundle(tmp_path / "tiny")
    with Runtime(None, device="onnx") as runtime:
        assert runtime.open(bundle).infer(X).budget is None
        runtime.budgets = {"tiny": AMPLE, "other": 1.0}
        assert runtime.budgets == {"tiny": AMPLE, "other": 1.0}
        assert runtime.open(bundle).infer(X).budget == AMPLE
        assert runtime.open(bundle).infer(X, budget=50.0).budget == 50.0
        assert runtime.open(tiny_bundle(tmp_path / "newer", version="2.0")).submit(X).result().budget == AMPLE
        runtime.budgets = {}
        assert runtime.open(bundle).infer(X).budget is None
        with pytest.raises(InputError, match="budget"):
            runtime.budgets = {"tiny": -1.0}


def test_a_version_that_is_watched_is_counted(tmp_path: Path) -> None:
    """Whether it is open already or opened later; and that it cannot be opened counts as a call that failed."""
    one, two = tiny_bundle(tmp_path / "1.0"), tiny_bundle(tmp_path / "2.0", version="2.0")
    with Runtime(None, device="onnx") as runtime:
        runtime.open(one).infer(X)
        first, second = runtime.watch("tiny", "1.0"), runtime.watch("tiny", "2.0")
        runtime.open(one).infer(X)
        runtime.open(two).infer(X)
        assert (first.calls, second.calls) == (1, 1)
        runtime.unwatch("tiny", "1.0")
        runtime.open(one).infer(X)
        assert (first.calls, first.failures) == (1, 0)
        broken = tiny_bundle(tmp_path / "3.0", version="3.0")
        (broken.folder / "add.onnx").write_bytes(b"damaged")
        third = runtime.watch("tiny", "3.0")
        with pytest.raises(ArtifactError):
            runtime.open(broken)
        assert (third.calls, third.failures, third.last.startswith("ArtifactError")) == (1, 1, True)
