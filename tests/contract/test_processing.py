"""Real models given a picture or a sound as it is, on real input: the answers are those that the pipelines are held to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge_runtime import InputError, Runtime
from edge_runtime.bundles.store import Store
from edge_runtime.processing import answers
from edge_runtime.processing.boxes import cut
from edge_runtime.processing.files import read_image, read_wav
from edge_runtime.values import Array
from models.pipelines.sources import PAGE, SPEECH, transcript


@pytest.fixture(scope="module")
def runtime(store: Store) -> Iterator[Runtime]:
    """A device with every model, and no cloud."""
    with Runtime(store.path) as runtime:
        yield runtime


@pytest.fixture(scope="module")
def picture(packages: Path) -> Array:
    """The printed page."""
    return read_image(packages / PAGE)


@pytest.fixture(scope="module")
def sound(packages: Path) -> Array:
    """30 s of conversation."""
    return read_wav(packages / SPEECH, 16_000)


def chord() -> Array:
    """A C major chord of half a second, half a second in; and an A after it. float32 at 22,050 Hz, 3 s."""
    time = np.arange(3 * 22_050) / 22_050
    made = np.zeros(time.size)
    for pitch, start, end in ((261.63, 0.5, 1.0), (329.63, 0.5, 1.0), (392.0, 0.5, 1.0), (440.0, 1.6, 2.4)):
        envelope = ((time >= start) & (time < end)) * np.exp(-2 * np.clip(time - start, 0, None))
        made += envelope * sum(np.sin(2 * np.pi * pitch * harmonic * time) / harmonic for harmonic in range(1, 6))
    return np.asarray(made / np.abs(made).max(), np.float32)


def test_a_page_gives_its_lines_and_each_its_text(runtime: Runtime, picture: Array) -> None:
    """In reading order, to the letter, as the picture is handed over; grey or in colour."""
    detector, reader = runtime.model("ppocr_det"), runtime.model("ppocr_rec")
    found = detector.infer(picture, budget=60.0)
    assert found.met
    assert isinstance(found.answer, answers.Boxes)
    read = [reader.infer(cut(picture, region)).answer for region in found.answer.boxes]
    assert [text.text for text in read if isinstance(text, answers.Text)] == transcript().splitlines()
    grey = detector.infer(picture[..., 0]).answer
    assert isinstance(grey, answers.Boxes)
    assert len(grey.boxes) == len(found.answer.boxes)
    corners = np.array([region.corners for region in found.answer.boxes])
    assert (corners.min(axis=(0, 1)) > -20).all()
    assert (corners.max(axis=(0, 1)) < np.array(picture.shape[1::-1]) + 20).all()


def test_a_conversation_gives_its_speech(runtime: Runtime, sound: Array) -> None:
    """All at once, and frame by frame through a stream: bit for bit the same probabilities, and the same time in speech."""
    model = runtime.model("silero_vad")
    whole = model.infer(sound, budget=60.0)
    assert isinstance(whole.answer, answers.Events)
    assert whole.answer.events[0].start == pytest.approx(6.784)
    assert {event.name for event in whole.answer.events} == {"speech"}
    assert whole.outputs["speech"].shape == (len(sound) // 512, 1)
    stream, outputs, spoken = model.stream(), [], 0.0
    for start in range(0, len(sound) - 511, 512):
        step = stream.infer(sound[start : start + 512])
        assert isinstance(step.answer, answers.Events)
        outputs.append(step.outputs["speech"])
        spoken += sum(event.end - event.start for event in step.answer.events)
    assert np.array_equal(np.concatenate(outputs), whole.outputs["speech"])
    assert spoken == pytest.approx(sum(event.end - event.start for event in whole.answer.events))


def test_silence_has_no_speech(runtime: Runtime) -> None:
    """Nothing is found, without an error."""
    found = runtime.model("silero_vad").infer(np.zeros(16_000, np.float32)).answer
    assert isinstance(found, answers.Events)
    assert found.events == ()


def test_a_chord_gives_its_notes(runtime: Runtime) -> None:
    """By their names and times, the likeliest ones; the second note lies behind the border of a window."""
    found = runtime.model("basic_pitch").infer(chord(), budget=60.0)
    assert isinstance(found.answer, answers.Events)
    sure = {event.name: event for event in found.answer.events if event.score > 0.5}
    assert {"C4", "E4", "G4", "A4"} <= set(sure)
    for name, start, end in (("C4", 0.5, 1.0), ("E4", 0.5, 1.0), ("G4", 0.5, 1.0), ("A4", 1.6, 2.4)):
        assert sure[name].start == pytest.approx(start, abs=0.08)
        assert sure[name].end == pytest.approx(end, abs=0.12)
    assert found.outputs["note"].shape == (2, 172, 88)


def test_the_keys_of_a_piano_are_the_labels(store: Store) -> None:
    """From the lowest to the highest, each once."""
    labels = store.bundle("basic_pitch").labels()
    assert (len(labels), len(set(labels)), labels[0], labels[39], labels[48], labels[-1]) == (
        88,
        88,
        "A0",
        "C4",
        "A4",
        "C8",
    )


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("ppocr_det", np.zeros((8, 8, 3), np.float32)),
        ("ppocr_rec", "text"),
        ("silero_vad", np.zeros((1, 576), np.float32)),
        ("silero_vad", np.zeros(511, np.float32)),
        ("basic_pitch", np.full(43_844, np.nan, np.float32)),
    ],
)
def test_what_is_wrong_is_told(runtime: Runtime, name: str, raw: object) -> None:
    """Floats for a picture, a text for one, tensors without names, a sound too short, NaN."""
    with pytest.raises(InputError, match=r"takes|too short"):
        runtime.model(name).infer(raw)  # type: ignore[arg-type]
