"""What the command line makes of each kind of answer."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edge_runtime.cli import outputs
from edge_runtime.errors import InputError
from edge_runtime.processing import answers
from edge_runtime.processing.answers import Answer
from edge_runtime.processing.files import read_image, read_wav
from edge_runtime.values import Result

REGION = answers.Region(((1.2, 2.0), (3.0, 2.0), (3.0, 4.0), (1.0, 4.0)), 0.9)
ANSWERS: list[tuple[Answer, str]] = [
    (
        answers.Labels((answers.Label("cat", 0.75), answers.Label("a dog", 0.25))),
        "LABEL  SCORE\ncat    0.750\na dog  0.250",
    ),
    (answers.Boxes((REGION,)), "1,2       3,2        3,4           1,4          0.900"),
    (answers.Boxes(()), "nothing was found"),
    (answers.Text("what it says", 0.5), "text: what it says\nscore: 0.500"),
    (answers.Events((answers.Event("speech", 0.5, 1.25, 0.9),)), "speech  0.500 s  1.250 s  0.900"),
    (answers.Embedding(np.array([0.6, 0.8], np.float32)), "embedding of 2 numbers, of length 1: 0.6000 0.8000"),
    (answers.Picture(np.zeros((2, 3), np.uint8)), "a picture, 3 x 2 pixels"),
    (answers.Sound(np.zeros(4, np.float32), 8), "a sound, 4 samples, 0.50 s"),
    (answers.Anomaly((0.25, 0.5), True), "anomalous: mean squared difference 0.5 (the largest of 2)"),
]


def result(answer: Answer | None) -> Result:
    """A result with this answer."""
    made = {"y": np.zeros((1, 2), np.float32)}
    return Result(made, "local", "engine 1", "CPU", "fp32", 0.1, None, (), "a test", answer)


@pytest.mark.parametrize(("answer", "told"), ANSWERS, ids=lambda value: type(value).__name__)
def test_every_answer_is_told_in_words_and_as_json(answer: Answer, told: str) -> None:
    """A person reads the figures, a script the kind and the fields."""
    assert told in outputs.as_text(result(answer))
    assert json.loads(outputs.as_json(result(answer)))["answer"]["kind"] == type(answer).__name__.lower()


def test_without_an_answer_the_tensors_are_told() -> None:
    """Their shapes."""
    assert "y: float32 [1, 2], 0 to 0" in outputs.as_text(result(None))
    assert json.loads(outputs.as_json(result(None)))["answer"] is None


def test_what_a_model_made_is_written_as_what_it_is(tmp_path: Path) -> None:
    """A picture as a picture, a sound as a sound, and tensors from any model."""
    pixels = np.array([[0, 255], [9, 8]], np.uint8)
    outputs.save(result(answers.Picture(pixels)), tmp_path / "a.png")
    assert (read_image(tmp_path / "a.png")[..., 0] == pixels).all()
    outputs.save(result(answers.Sound(np.array([0.5], np.float32), 8000)), tmp_path / "a.wav")
    assert read_wav(tmp_path / "a.wav", 8000).tolist() == pytest.approx([0.5], abs=1e-4)
    outputs.save(result(answers.Text("a", 1.0)), tmp_path / "a.npz")
    assert np.load(tmp_path / "a.npz")["y"].shape == (1, 2)


@pytest.mark.parametrize("answer", [answers.Text("a", 1.0), answers.Sound(np.zeros(2, np.float32), None)])
def test_what_cannot_be_written_so_is_told(tmp_path: Path, answer: Answer) -> None:
    """A text is no picture, and a sound of no known rate no WAV file."""
    for name in ("a.png", "a.wav"):
        with pytest.raises(InputError, match=r"outputs are written as \.npz"):
            outputs.save(result(answer), tmp_path / name)
