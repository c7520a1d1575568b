"""What the calibrations of the nets that tell languages share: inputs from the right side, and a figure that counts."""

from __future__ import annotations

import gzip
import string
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edge_runtime.values import Array, Tensors
from models import language
from models.data import language as data
from models.data.language import LANGUAGES
from tests.doubles import PythonSession


class Teller(PythonSession):
    """Says of every text that it is in one language."""

    def __init__(self, place: int) -> None:
        super().__init__()
        self._place = place

    def run(self, inputs: Tensors) -> dict[str, Array]:
        assert inputs["text"].shape == (1, data.LENGTH)
        return {"scores": np.eye(len(LANGUAGES), dtype=np.float32)[[self._place]]}


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """Eight small lists that share no word."""
    folder = tmp_path / "wordfreq" / "data"
    folder.mkdir(parents=True)
    for name in LANGUAGES:
        words = [name + first + second for first in string.ascii_lowercase for second in "xyz"]
        packed = gzip.compress(msgspec.msgpack.encode([{"format": "cB", "version": 1}, words]))
        (folder / f"large_{name}.msgpack.gz").write_bytes(packed)
    return tmp_path


def words_of(inputs: Tensors) -> set[str]:
    """The words of one input, read back."""
    return set("".join(data.ALPHABET[number - 2] for number in inputs["text"][0] if number).split())


def test_samples_are_of_words_that_were_trained_with(packages: Path) -> None:
    """None of them is held out."""
    samples = language.samples(packages)
    assert len(samples) == language.SAMPLES
    assert set().union(*map(words_of, samples)) <= {word for group in data.load(packages).train for word in group}


def test_golden_inputs_are_one_in_each_language_and_held_out(packages: Path) -> None:
    """In the order of the classes."""
    golden = language.golden(packages)
    assert len(golden) == len(LANGUAGES)
    for one, words in zip(golden, data.load(packages).test, strict=True):
        assert one["text"].dtype == np.int32
        assert words_of(one) <= set(words)


def test_the_figure_is_the_share_told_right(packages: Path) -> None:
    """Who always says the same is right once in eight times; and the digest is that of what was held out."""
    measure = language.measure(packages)
    assert measure.metric == "accuracy"
    assert [measure.of(Teller(place)) for place in range(len(LANGUAGES))] == [1 / len(LANGUAGES)] * len(LANGUAGES)
    assert measure.digest == data.held_out(packages).digest
