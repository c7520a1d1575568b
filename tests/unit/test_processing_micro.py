"""Sound as nets for microcontrollers hear it: the package's own features, cut into calls, at once or piece by piece."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from pymicro_features import MicroFrontend

from edge_runtime.errors import InputError, ManifestError
from edge_runtime.processing import micro, steps
from edge_runtime.processing.process import Processor
from edge_runtime.processing.steps import Processing
from edge_runtime.signature import Signature, TensorSpec
from edge_runtime.values import Array

SIGNATURE = Signature((TensorSpec("x", "float32", (1, 3, 40)),), (TensorSpec("y", "float32", (1, 1)),))
PROCESSING = Processing("audio", "x", (steps.MicroFeatures(), steps.Batch()), steps.Events("y", 0.03), 16_000)


def noise(samples: int) -> Array:
    """A sound that grows louder, on the grid of 16 bits."""
    loud = np.linspace(0, 20_000, samples) * np.random.default_rng(3).uniform(-1, 1, samples)
    return np.asarray(np.rint(loud) / (1 << 15), np.float32)


def features(sound: Array) -> Array:
    """What the package makes of int16 [samples] after 20 ms of silence, 10 ms at a time."""
    frontend = MicroFrontend()
    whole = np.concatenate([np.zeros(320, np.int16), sound])
    found = (frontend.process_samples(whole[at : at + 160].tobytes()) for at in range(0, len(whole) - 159, 160))
    return np.array([output.features for output in found if output.features], np.float32)


@pytest.mark.parametrize(("samples", "count"), [(480, 1), (959, 1), (960, 2), (16_000, 33)])
def test_silence_gives_its_calls(samples: int, count: int) -> None:
    """One for each 30 ms of it, whole; a rest is left out; there is nothing to hear."""
    calls = Processor(PROCESSING, SIGNATURE).before(np.zeros(samples, np.float32))
    assert len(calls) == count
    assert {call["x"].shape for call in calls} == {(1, 3, 40)}
    assert {str(call["x"].dtype) for call in calls} == {"float32"}
    assert not any(call["x"].any() for call in calls)


def test_features_are_the_package_s_own() -> None:
    """Bit for bit, of the samples in 16 bits; what is too loud for them is clipped."""
    sound = noise(4_800)
    wanted = features(np.rint(sound * (1 << 15)).astype(np.int16))
    found = micro.windows(steps.MicroFeatures(2), sound)
    assert found.shape == (15, 2, 40)
    assert np.array_equal(found.reshape(-1, 40), wanted)
    assert 5 < found.max() <= 26
    loud = np.where(sound > 0, np.float32(3e38), np.float32(-3e38))
    assert np.array_equal(micro.Ears().hear(loud), features(np.where(sound > 0, 32767, -32768).astype(np.int16)))


def test_a_stream_hears_what_the_whole_sound_is() -> None:
    """Call by call the same; a call that is tried again is not heard twice; a new feed begins anew."""
    sound, processor = noise(4_800), Processor(PROCESSING, SIGNATURE)
    whole = processor.before(sound)
    for _ in range(2):
        feed = processor.feed()
        for number, wanted in enumerate(whole):
            piece = sound[number * 480 : (number + 1) * 480]
            feed.before(piece)
            call = feed.before(piece.copy())
            assert np.array_equal(call["x"], wanted["x"])
            feed.after(piece, call, {"y": np.zeros((1, 1), np.float32)})
    with pytest.raises(InputError, match="480 new samples at a time; these are 479"):
        feed.before(sound[:479])


def test_too_little_and_too_much_is_refused() -> None:
    """Less than a call, and more calls than anybody can mean: before anything is heard."""
    with pytest.raises(InputError, match="479 samples are too short: the model takes 480"):
        Processor(PROCESSING, SIGNATURE).before(np.zeros(479, np.float32))
    one = msgspec.structs.replace(PROCESSING, before=(steps.MicroFeatures(1),))
    with pytest.raises(InputError, match="over 131072 windows of 160"):
        Processor(one, SIGNATURE).before(np.zeros(131_073 * 160, np.float32))


def test_a_manifest_can_name_it_only_where_it_can_stand() -> None:
    """First, and of the one rate that the front end is made for."""
    cut: tuple[steps.Before, ...] = (steps.MicroFeatures(),)
    with pytest.raises(ManifestError, match="micro-features can only be the first step"):
        Processing("audio", "x", (steps.Batch(), *cut), steps.Events("y", 0.03), 16_000)
    for rate in (None, 8_000):
        with pytest.raises(ManifestError, match="micro-features are of 16000 samples a second"):
            Processing("audio", "x", cut, steps.Events("y", 0.03), rate)
    with pytest.raises(ManifestError, match="takes series, of which micro-features is no step"):
        Processing("series", "x", cut, steps.Events("y", 0.03), 16_000)
    assert msgspec.convert(msgspec.to_builtins(PROCESSING), Processing) == PROCESSING
