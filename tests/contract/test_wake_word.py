"""The wake word listens to real sound as it is: at once, and through a stream."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge_runtime import Model, Runtime
from edge_runtime.bundles.store import Store
from edge_runtime.processing import answers
from edge_runtime.processing.files import read_wav
from edge_runtime.values import Array
from models import recipe as recipes
from models.build import build
from models.pipelines.sources import SPEECH


@pytest.fixture(scope="module")
def model(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    """A device that has this model alone."""
    store = Store(tmp_path_factory.mktemp("wake") / "store", create=True)
    build(recipes.load("wake_word"), packages, store)
    with Runtime(store.path) as runtime:
        yield runtime.model("wake_word")


@pytest.fixture(scope="module")
def sound(packages: Path) -> Array:
    """10 s of conversation."""
    return read_wav(packages / SPEECH, 16_000)[:160_000]


def test_a_conversation_does_not_wake_it(model: Model, sound: Array) -> None:
    """All 333 calls are far below the threshold."""
    found = model.infer(sound, budget=60.0)
    assert isinstance(found.answer, answers.Events)
    assert found.answer.events == ()
    assert found.outputs["heard"].shape == (333, 1)
    assert 0 < found.outputs["heard"].max() < 0.1


def test_a_stream_hears_what_all_at_once_is(model: Model, sound: Array) -> None:
    """30 ms at a time, to the bit; and again from the beginning once it is reset."""
    whole, stream = model.infer(sound).outputs["heard"], model.stream()
    for _ in range(2):
        steps = [stream.infer(sound[at : at + 480]) for at in range(0, 480 * len(whole), 480)]
        assert np.array_equal(np.concatenate([step.outputs["heard"] for step in steps]), whole)
        stream.reset()
