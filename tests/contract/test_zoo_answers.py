"""Every model of the zoo is handed what a user has, and gives what a user wants; digits are read as they lie there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge_runtime import Runtime
from edge_runtime.bundles.store import Store
from edge_runtime.processing import answers, steps
from edge_runtime.processing.files import read_image, read_wav
from edge_runtime.processing.kinds import Raw
from models import recipe as recipes
from models.data import digits
from models.pipelines.sources import PAGE, SPEECH

PROCESSED = [name for name in recipes.names() if recipes.load(name).processing is not None]
ANSWERS: dict[type[object], type[object]] = {
    steps.Labels: answers.Labels, steps.Boxes: answers.Boxes, steps.Ctc: answers.Text, steps.Events: answers.Events,
    steps.Pooled: answers.Embedding, steps.Picture: answers.Picture, steps.Sound: answers.Sound,
    steps.Anomaly: answers.Anomaly,
}  # fmt: skip


@pytest.fixture(scope="module")
def runtime(store: Store) -> Iterator[Runtime]:
    """A device with every model, and no cloud."""
    with Runtime(store.path) as runtime:
        yield runtime


def handed(kind: steps.Kind, channels: int, packages: Path) -> Raw:
    """Something of this kind."""
    if kind == "image":
        return read_image(packages / PAGE)
    if kind == "audio":
        return read_wav(packages / SPEECH, 16_000)[: 3 * 16_000]
    if kind == "series":
        return np.random.default_rng(0).normal(size=(1440, channels)).astype(np.float32)
    known: dict[str, Raw] = {"text": "das ist ein kleiner test", "bytes": Path(__file__).read_bytes(), "noise": 3}
    return known[kind]


@pytest.mark.parametrize("name", PROCESSED)
def test_what_a_user_has_becomes_an_answer(runtime: Runtime, packages: Path, name: str) -> None:
    """Of the kind that the manifest names; the outputs are there too, finite."""
    model = runtime.model(name)
    processing = recipes.load(name).processing
    assert processing is not None
    shape = next(spec.shape for spec in model.manifest.signature.inputs if spec.name == processing.input)
    channels = int(shape[-1]) if len(shape) == 3 else 1  # [1, steps, channels], or a series of one, flat
    result = model.infer(handed(processing.takes, channels, packages))
    assert isinstance(result.answer, ANSWERS[type(processing.after)])
    assert all(np.isfinite(array).all() for array in result.outputs.values())


@pytest.mark.parametrize("name", ["digits_mlp", "digits_cnn", "digits_vit"])
def test_digits_are_read_as_they_are(runtime: Runtime, packages: Path, name: str) -> None:
    """Held-out pictures, handed over as they lie in the data: at least 90 of 100 right, so the steps are the training's."""
    data, model = digits.load(packages), runtime.model(name)
    right = 0
    for pixels, digit in zip(data.test_x[::10], data.test_y[::10], strict=True):
        answer = model.infer(pixels).answer
        assert isinstance(answer, answers.Labels)
        right += answer.labels[0].name == data.classes[digit]
    assert right >= 90


def test_a_phrase_is_told(runtime: Runtime) -> None:
    """By all three nets, as a user writes it."""
    told = [
        runtime.model(name).infer("schöne grüße aus berlin").answer
        for name in ("language_lstm", "language_lstm_attention", "language_attention")
    ]
    assert [answer.labels[0].name for answer in told if isinstance(answer, answers.Labels)] == ["German"] * 3
