"""Processing as a whole: what users hand over in, tensors out, outputs in, answers out; and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edge_runtime.errors import BundleError, InputError, ManifestError
from edge_runtime.processing import answers, kinds, steps
from edge_runtime.processing.process import Processor
from edge_runtime.processing.steps import Before, Kind, Processing
from edge_runtime.signature import Signature, StatePair, TensorSpec
from edge_runtime.values import Array


def signature(y: tuple[int | str, ...] = ("N", "K"), more: tuple[str, ...] = ()) -> Signature:
    """Input x, output y, and other inputs by their names."""
    others = tuple(TensorSpec(name, "float32", (1, "P")) for name in more)
    return Signature((TensorSpec("x", "float32", ("N", "M")), *others), (TensorSpec("y", "float32", y),))


def made(
    kind: Kind, before: tuple[Before, ...], after: steps.After, labels: tuple[str, ...] = (), rate: int | None = None,
    y: tuple[int | str, ...] = ("N", "K"), more: tuple[str, ...] = (),
) -> Processor:  # fmt: skip
    return Processor(Processing(kind, "x", before, after, rate), signature(y, more), labels)


def answer(processor: Processor, raw: Any, *outputs: Array) -> Any:
    """What becomes of these outputs of y, of each call."""
    return processor.after(raw, processor.before(raw), [{"y": output} for output in outputs])


def test_labels_are_the_likeliest_best_first() -> None:
    """Names and probabilities; logits become probabilities first; without labels the numbers are the names."""
    picture = np.zeros((2, 2), np.uint8)
    processor = made("image", (steps.Flatten(), steps.Batch()), steps.Labels("y", 2), ("a", "b", "c"))
    found = answer(processor, picture, np.array([[0.2, 0.7, 0.1]], np.float32))
    assert [(label.name, label.score) for label in found.labels] == [("b", pytest.approx(0.7)), ("a", pytest.approx(0.2))]
    processor = made("image", (), steps.Labels("y", softmax=True))
    found = answer(processor, picture, np.array([[0.0, 1000.0]], np.float32))
    assert [(label.name, label.score) for label in found.labels] == [("1", 1.0), ("0", 0.0)]


def test_labels_of_many_windows_are_those_of_their_mean() -> None:
    """A label that is likely in all is likelier than one that is sure in one."""
    processor = made("series", (steps.Windows(2), steps.Batch()), steps.Labels("y", 1), ("a", "b"))
    found = answer(processor, np.zeros((4, 1), np.float32), np.array([[1.0, 0.0]]), np.array([[0.1, 0.9]]))
    assert [(label.name, label.score) for label in found.labels] == [("a", pytest.approx(0.55))]


def test_a_text_has_the_labels_of_its_symbols() -> None:
    """Read by the first label being the blank."""
    processor = made("image", (), steps.Ctc("y"), ("", "a", "b"))
    found = answer(processor, np.zeros((2, 2), np.uint8), np.array([[[0, 1, 0], [1, 0, 0], [0, 0, 1]]], np.float32))
    assert (found.text, found.score) == ("ab", 1.0)


def test_events_count_from_the_beginning_of_the_sound() -> None:
    """Two windows of three frames; one goes on over the border between them."""
    processor = made("audio", (steps.Windows(4, pad=True),), steps.Events("y", 1.0), ("do",), 1, y=("N", "F", 1))
    one, two = np.array([[[0.0], [0.0], [1.0]]], np.float32), np.array([[[1.0], [0.0], [0.0]]], np.float32)
    found = answer(processor, np.zeros(7, np.float32), one, two)
    assert found.events == (answers.Event("do", 2.0, 5.0, 1.0),)


def test_an_embedding_is_the_unit_mean_of_what_is_marked(tmp_path: Path) -> None:
    """What the mask leaves out does not count."""
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n")
    before = (steps.WordPieces("x", "mask", None, 4, pad=True), steps.Batch())
    pooled = Processing("text", "x", before, steps.Pooled("y", "mask"))
    processor = Processor(pooled, signature(more=("mask",)), (), tmp_path / "vocab.txt")
    (call,) = processor.before("a")
    assert (call["x"].tolist(), call["mask"].tolist()) == ([[2, 4, 3, 0]], [[1, 1, 1, 0]])
    features = np.array([[[3.0, 0.0], [1.0, 8.0], [2.0, 0.0], [99.0, 99.0]]], np.float32)
    found = processor.after("a", [call], [{"y": features}])
    assert isinstance(found, answers.Embedding)
    assert found.vector.tolist() == pytest.approx([0.6, 0.8])


def test_noise_is_drawn_the_same_each_time() -> None:
    """Class 2 of 3 in one-hot, and standard normal noise from the seed."""
    processor = made("noise", (steps.Draw("z", 1000, 3, seed=5),), steps.Picture("y"), more=("z",))
    (one,), (two,) = processor.before(2), processor.before(2)
    assert one["x"].tolist() == [[0.0, 0.0, 1.0]]
    assert one["z"].shape == (1, 1000)
    assert (one["z"] == two["z"]).all()
    assert abs(float(one["z"].std()) - 1) < 0.1
    found = answer(processor, 2, np.ones((1, 1, 2, 3), np.float32))
    assert found.pixels.tolist() == [[255] * 3] * 2
    for number in (3, -1):
        with pytest.raises(InputError, match=f"there is no class {number}: give 0 to 2"):
            processor.before(number)


def test_a_made_sound_is_its_windows_in_a_row() -> None:
    """With the rate that the processing tells."""
    processor = made("audio", (steps.Windows(2), steps.Batch()), steps.Sound("y"), (), 16_000)
    found = answer(processor, np.zeros(4, np.float32), np.array([[0.1, 0.2]]), np.array([[0.3, 0.4]]))
    assert found.samples.tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert found.rate == 16_000


def test_an_anomaly_is_far_from_what_the_model_makes_of_it() -> None:
    """The worst window counts."""
    processor = made("series", (steps.Windows(2), steps.Flatten(), steps.Batch()), steps.Anomaly("y", 0.5))
    found = answer(processor, np.zeros((4, 1), np.float32), np.zeros((1, 2), np.float32), np.ones((1, 2), np.float32))
    assert (found.errors, found.anomalous) == ((0.0, 1.0), True)
    found = answer(processor, np.zeros((2, 1), np.float32), np.full((1, 2), 0.5, np.float32))
    assert (found.errors, found.anomalous) == ((0.25,), False)


def test_every_step_has_its_function() -> None:
    """Nothing that a manifest can name is unknown when it is called for."""
    from edge_runtime.processing import after, before

    assert set(before._STEPS) == set(steps.Before.__args__)
    assert set(after._STEPS) == set(steps.After.__args__)


def test_an_answer_is_json() -> None:
    """Its kind, and arrays as lists."""
    picture = answers.encode(answers.Picture(np.array([[1, 2]], np.uint8)))
    assert msgspec.json.decode(picture) == {"kind": "picture", "pixels": [[1, 2]]}
    assert answers.encode(None) == b"null"


GOOD: dict[Kind, object] = {
    "image": np.zeros((2, 2, 3), np.uint8), "audio": np.zeros(2, np.float32), "series": np.zeros((2, 1), np.float32),
    "text": "a", "bytes": b"a", "noise": 0,
}  # fmt: skip


@pytest.mark.parametrize("kind", GOOD)
def test_each_kind_is_taken_and_every_other_refused(kind: Kind) -> None:
    """The message says what the model takes, and what was given."""
    for other, raw in GOOD.items():
        if other == kind:
            kinds.checked(kind, raw)
        else:
            with pytest.raises(InputError, match=r"the model takes .*; this is "):
                kinds.checked(kind, raw)


@pytest.mark.parametrize(
    ("kind", "raw", "says"),
    [
        ("image", np.zeros((2, 2, 4), np.uint8), "uint8 \\[2, 2, 4\\]"),
        ("image", np.zeros((0, 2, 3), np.uint8), "uint8 \\[0, 2, 3\\]"),
        ("image", np.zeros((1, kinds.MAX_SIDE + 1), np.uint8), "sides may have"),
        ("image", None, "a NoneType"),
        ("audio", np.zeros(0, np.float32), "float32 \\[0\\]"),
        ("audio", np.zeros(2, np.int16), "int16"),
        ("audio", np.array([0, np.nan], np.float32), "NaN"),
        ("audio", np.array([0, np.inf], np.float32), "infinite"),
        ("audio", np.broadcast_to(np.float32(0), (kinds.MAX_SAMPLES + 1,)), "at most"),
        ("series", np.zeros((2, kinds.MAX_CHANNELS + 1), np.float32), "channels; at most"),
        ("series", np.full((2, 2), np.nan, np.float32), "NaN"),
        ("text", "", "an empty str"),
        ("text", "a" * (kinds.MAX_TEXT + 1), "at most"),
        ("bytes", b"", "an empty bytes"),
        ("noise", True, "a bool"),
        ("noise", 1.0, "a float"),
    ],
)
def test_what_is_wrong_or_too_large_is_refused(kind: Kind, raw: object, says: str) -> None:
    """Before a step or an engine sees it."""
    with pytest.raises(InputError, match=says):
        kinds.checked(kind, raw)


def test_too_little_and_too_much_for_windows() -> None:
    """Too short for one, and more calls than anybody can mean."""
    processor = made("audio", (steps.Windows(4),), steps.Events("y", 1.0))
    with pytest.raises(InputError, match="3 samples are too short: the model takes 4"):
        processor.before(np.zeros(3, np.float32))
    processor = made("audio", (steps.Windows(1),), steps.Events("y", 1.0))
    with pytest.raises(InputError, match="over 131072 windows"):
        processor.before(np.zeros(131_073, np.float32))


def test_a_stream_carries_its_context_on() -> None:
    """Window by window it is given what all at once would be, contexts longer than a window too; reset by a new feed."""
    sound = np.arange(1, 13, dtype=np.float32)
    for context in (0, 2, 7):
        processor = made("audio", (steps.Windows(3, context), steps.Batch()), steps.Events("y", 1.0), (), 3)
        wanted = [call["x"].tolist() for call in processor.before(sound)]
        feed, given, starts = processor.feed(), [], []
        for at in range(0, 12, 3):
            call = feed.before(sound[at : at + 3])
            given.append(call["x"].tolist())
            found = feed.after(sound[at : at + 3], call, {"y": np.ones((1, 1), np.float32)})
            assert isinstance(found, answers.Events)
            starts.append(found.events[0].start)
        assert given == wanted
        assert starts == [0.0, 1.0, 2.0, 3.0]
        with pytest.raises(InputError, match="3 new samples at a time; these are 4"):
            feed.before(sound[:4])


@pytest.mark.parametrize(
    ("processing", "says"),
    [
        ({"takes": "text", "before": [{"step": "gray"}]}, "takes text, of which gray is no step"),
        ({"before": [{"step": "batch"}, {"step": "windows", "length": 2}]}, "windows can only be the first step"),
        ({"before": [{"step": "normalise", "scale": [0.0]}]}, "no scale of 0"),
        ({"before": [{"step": "normalise", "mean": []}]}, "give finite numbers"),
        ({"before": [{"step": "windows", "length": 0}]}, ">= 1"),
        ({"before": [{"step": "dance"}]}, "dance"),
        ({"after": {"step": "events", "output": "y", "seconds": 0.0}}, "> 0"),
    ],
)
def test_processing_that_contradicts_itself_is_refused(processing: dict[str, Any], says: str) -> None:
    """When it is read, not when it is first used."""
    after = {"step": "events", "output": "y", "seconds": 1.0}
    document = {"takes": "audio", "input": "x", "before": [], "after": after, **processing}
    with pytest.raises((ManifestError, msgspec.ValidationError), match=says):
        msgspec.convert(document, Processing)


@pytest.mark.parametrize(
    ("processing", "says"),
    [
        (Processing("audio", "z", (), steps.Events("y", 1.0)), "fills z; the model takes x"),
        (Processing("audio", "x", (), steps.Events("z", 1.0)), "reads output 'z'; the model gives y"),
        (Processing("audio", "x", (), steps.Pooled("y", "mask")), "pooled reads an input"),
        (Processing("noise", "x", (steps.Draw("z", 1, 1),), steps.Picture("y")), "fills x, z; the model takes x"),
    ],
)
def test_processing_that_does_not_fit_the_model_is_refused(processing: Processing, says: str) -> None:
    """An input that nothing fills, an output that is not there."""
    with pytest.raises(ManifestError, match=says):
        processing.check(signature())


def test_a_state_is_not_for_processing_to_fill() -> None:
    """It comes from the stream: steps that fill the rest are right, and steps that fill the state are not."""
    s, t = TensorSpec("s", "float32", (1,)), TensorSpec("t", "float32", (1,))
    plain = signature()
    recurrent = Signature((*plain.inputs, s), (*plain.outputs, t), (StatePair("s", "t"),))
    Processing("audio", "x", (), steps.Events("y", 1.0)).check(recurrent)
    with pytest.raises(ManifestError, match="the model takes x"):
        Processing("audio", "s", (), steps.Events("y", 1.0)).check(recurrent)


def test_labels_and_vocabularies_that_do_not_fit_are_the_bundles_fault() -> None:
    """Too many, none where they are needed, and no word pieces where texts are taken apart by them."""
    with pytest.raises(BundleError, match="3 labels do not fit the 2 classes of output 'y'"):
        Processor(Processing("image", "x", (), steps.Labels("y")), signature(y=(1, 2)), ("a", "b", "c"))
    with pytest.raises(BundleError, match="made of labels"):
        made("image", (), steps.Ctc("y"))
    with pytest.raises(BundleError, match="taken apart by a vocabulary"):
        made("text", (steps.WordPieces("x", "mask", None, 8),), steps.Labels("y"), more=("mask",))


@pytest.mark.parametrize(
    ("kind", "after", "shape"),
    [("audio", steps.Events("y", 1.0), (1,)), ("image", steps.Boxes("y"), (1, 4)), ("image", steps.Labels("y"), ())],
)
def test_an_output_of_another_shape_is_the_manifests_fault(kind: Kind, after: steps.After, shape: tuple[int, ...]) -> None:
    """The model ran, and what it gave is not what the last step is for."""
    with pytest.raises(ManifestError, match=r"output|made of"):
        answer(made(kind, (), after), GOOD[kind], np.zeros(shape, np.float32))


def test_a_step_that_stands_where_it_cannot_is_the_manifests_fault() -> None:
    """A picture that was flattened has no channels to put first."""
    processor = made("image", (steps.Batch(), steps.Gray()), steps.Labels("y"))
    assert processor.before(np.zeros((2, 2), np.uint8))[0]["x"].shape == (1, 2, 2, 1)
    processor = made("image", (steps.Flatten(), steps.Gray()), steps.Labels("y"))
    with pytest.raises(ManifestError, match="'gray' cannot be done where it stands"):
        processor.before(np.zeros((2, 2), np.uint8))
