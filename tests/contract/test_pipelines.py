"""The three pipelines with the real models on real input, on every engine that runs them: right means right everywhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge_runtime.backends import backend
from edge_runtime.backends.base import Session
from edge_runtime.bundles.store import Store
from edge_runtime.processing.files import read_image, read_wav
from edge_runtime.values import Array, Tensors
from models.pipelines.listen import RATE, listen, reference
from models.pipelines.model import Direct
from models.pipelines.parity import TOLERANCE, resample, run, split, windows
from models.pipelines.read import Page, read_line, read_page
from models.pipelines.score import compare_frames, compare_tensors, compare_text
from models.pipelines.sources import PAGE, SPEAKERS, SPEECH, read_rttm, transcript


def load(store: Store, engine: str, model: str, precision: str = "fp32") -> Session:
    """A model of the zoo in this precision, as it is deployed, on an engine's CPU."""
    bundle, chosen = store.bundle(model), backend(engine)
    variant = next(v for v in bundle.manifest.variants if v.format in chosen.formats and v.precision == precision)
    return chosen.load(bundle.artifact(variant), signature=bundle.manifest.signature, names=variant.names)


@pytest.fixture(scope="module", params=["onnx", "openvino"])
def engine(request: pytest.FixtureRequest) -> str:
    """An engine that runs ONNX files."""
    return str(request.param)


@pytest.fixture(scope="module")
def detector(store: Store, engine: str) -> Iterator[Direct]:
    session = load(store, engine, "ppocr_det")
    yield Direct(session, session.device, processor=store.bundle("ppocr_det").processor())
    session.close()


@pytest.fixture(scope="module")
def reader(store: Store, engine: str) -> Iterator[Direct]:
    session = load(store, engine, "ppocr_rec")
    yield Direct(session, session.device, processor=store.bundle("ppocr_rec").processor())
    session.close()


@pytest.fixture(scope="module")
def page(packages: Path, detector: Direct, reader: Direct) -> Page:
    """The printed page, read."""
    return read_page(read_image(packages / PAGE), detector, reader, budget=60.0)


def test_every_line_of_the_page_is_read_to_the_letter(page: Page) -> None:
    """The seven whole lines in their order, symbols and spaces included; nothing made up from the line that is cut off."""
    assert page.text.splitlines() == transcript().splitlines()
    assert compare_text(page.text, transcript()).rate == 0.0


def test_each_line_was_found_surely_and_read_in_its_budget(page: Page, engine: str) -> None:
    """Scores, confidences and results belong to the lines: all sure, all answered by the engine that was asked."""
    assert len(page.lines) == len(page.readings) == 7
    assert all(line.region.score > 0.6 for line in page.lines)
    assert all(reading.confidence > 0.95 for reading in page.readings)
    assert all(reading.result.met and reading.result.outputs["symbols"].shape[2] == 18710 for reading in page.readings)
    name = {"onnx": "onnxruntime", "openvino": "openvino"}[engine]
    assert {reading.result.engine.split()[0] for reading in page.readings} == {name}


def test_a_page_upside_down_in_colour_is_no_reason_to_fail(packages: Path, detector: Direct, reader: Direct) -> None:
    """What cannot be read well is read badly, without an error: text comes out, and it is not the page's."""
    image = np.ascontiguousarray(read_image(packages / PAGE)[::-1, ::-1])
    found = read_page(image, detector, reader)
    assert found.lines
    assert compare_text(found.text, transcript()).rate > 0.5


def test_a_blank_page_has_no_lines(detector: Direct, reader: Direct) -> None:
    """White, and of a size that is no multiple of anything."""
    assert read_page(np.full((211, 333, 3), 255, np.uint8), detector, reader).lines == ()


@pytest.mark.parametrize("shape", [(1, 1), (3, 700), (300, 4)])
def test_a_crop_of_any_shape_is_taken(shape: tuple[int, int], reader: Direct) -> None:
    """A pixel, a hair and a pole: read as something or nothing, at no risk to the engine."""
    reading = read_line(np.full(shape, 200, np.uint8), reader)
    assert 0.0 <= reading.confidence <= 1.0


def test_speech_is_found_as_the_reference_says(packages: Path, store: Store, engine: str) -> None:
    """30 s of conversation, frame by frame through a stream: the figures of a plain loop over the model."""
    session = load(store, engine, "silero_vad")
    heard = listen(
        read_wav(packages / SPEECH, RATE),
        Direct(session.stream(), session.device, processor=store.bundle("silero_vad").processor()),
    )
    truth = reference(read_rttm(packages / SPEAKERS), len(heard.probabilities))
    score = compare_frames(heard.speech(), truth)
    session.close()
    assert len(truth) == 937
    assert str(score) == "precision 0.994, recall 0.981, F1 0.988"
    assert heard.segments()[0].start == pytest.approx(6.784)


def test_silence_is_no_speech(store: Store, engine: str) -> None:
    """Three seconds of nothing at all."""
    session = load(store, engine, "silero_vad")
    heard = listen(
        np.zeros(3 * RATE, np.float32),
        Direct(session.stream(), session.device, processor=store.bundle("silero_vad").processor()),
    )
    session.close()
    assert heard.segments() == ()
    assert heard.probabilities.max() < 0.1


@pytest.fixture(scope="module")
def sound(packages: Path) -> tuple[Array, ...]:
    """The windows that engines are judged by."""
    return split(windows(resample(read_wav(packages / SPEECH, RATE))))[1]


@pytest.fixture(scope="module")
def original(store: Store, sound: tuple[Array, ...]) -> tuple[Tensors, ...]:
    """What the fp32 ONNX file gives on onnxruntime."""
    session = load(store, "onnx", "basic_pitch")
    outputs = run(Direct(session, session.device), sound)
    session.close()
    return outputs


@pytest.mark.parametrize("other", ["openvino", "tflite"])
def test_fp32_is_the_same_on_every_engine(
    other: str, store: Store, sound: tuple[Array, ...], original: tuple[Tensors, ...]
) -> None:
    """The same net from two files on three engines: every probability within 5e-5, and so hardly a decision changed."""
    session = load(store, other, "basic_pitch")
    difference = compare_tensors(run(Direct(session, session.device), sound), original)
    session.close()
    assert len(sound) == 10
    assert difference.worst <= TOLERANCE["fp32"]
    assert difference.flipped <= 1e-5


@pytest.mark.parametrize("other", ["onnx", "openvino", "tflite"])
def test_int8_is_near_on_every_engine(
    other: str, store: Store, sound: tuple[Array, ...], original: tuple[Tensors, ...]
) -> None:
    """The two quantized files: probabilities within the tolerance, and one decision in a thousand changed at most."""
    session = load(store, other, "basic_pitch", "int8")
    difference = compare_tensors(run(Direct(session, session.device), sound), original)
    session.close()
    assert TOLERANCE["fp32"] < difference.worst <= TOLERANCE["int8"]
    assert difference.flipped <= 1e-3


def test_the_parity_sound_makes_the_net_speak(original: tuple[Tensors, ...]) -> None:
    """Parity on outputs that are all alike would show nothing: these cross the decision threshold in every tensor."""
    for name in ("note", "onset", "contour"):
        values = np.concatenate([outputs[name].ravel() for outputs in original])
        assert values.min() < 0.1
        assert values.max() > 0.6
