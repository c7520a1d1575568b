"""Series as text: recordings and heartbeats are read as they stand, and what is damaged is refused with its line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.errors import InputError
from edge_runtime.processing.before import Kit, prepare
from edge_runtime.values import Array
from models import recipe as recipes
from models.data import heartbeats, motions, ts, vowels
from models.heartbeat_autoencoder.calibration import area_under_curve

HEAD = "# a comment\n@problemName Example\n@dimensions 2\n@classLabel true still moving\n\n@data\n"


def test_recordings_of_unequal_length() -> None:
    """Channels stand one after the other in the text, and side by side in the array; classes are numbered by the head."""
    one, other = ts.parse(HEAD + "0.5,1e-1,-3:1,2,3:moving\n4:5:still\n")
    np.testing.assert_array_equal(one.values, np.array([[0.5, 1], [0.1, 2], [-3, 3]], np.float32))
    np.testing.assert_array_equal(other.values, np.array([[4, 5]], np.float32))
    assert (one.label, other.label, one.values.dtype.name) == (1, 0, "float32")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "ends without a recording"),
        (HEAD, "ends without a recording"),
        ("\x00\x01binary", "line 1: .* stands before @data"),
        ("1,2:3,4:still", "stands before @data"),
        (HEAD + "1,2,3", "line 7: no colon"),
        (HEAD + "1,2:3,4:", "'' is none of the classes"),
        (HEAD + "1,2:3,4:running", "'running' is none of the classes of @classLabel .still, moving."),
        ("@data\n1,2:3,4:still", "none of the classes of @classLabel .none."),
        (HEAD + "1,2:3,?:still", "line 7: could not convert"),
        (HEAD + "1,2:3,:still", "line 7: could not convert"),
        (HEAD + "1,2:3:still", "channels of 1 and of 2 steps"),
        (HEAD + "1,2:3,4:still\n1,2:still", "line 8: 2 and 1 channels"),
        (HEAD + "1,2:3,nan:still", "NaN, infinite or huge"),
        (HEAD + "1,2:3,1e300:still", "NaN, infinite or huge"),
        (HEAD + "1,2:3," + "9" * 10_000 + ":still", "NaN, infinite or huge"),
    ],
)
def test_damaged_recordings_are_refused(text: str, said: str) -> None:
    """What is cut off, of another kind or absurd has a message with its line, and no traceback of another kind."""
    with pytest.raises(InputError, match=said):
        ts.parse(text)


def test_a_long_word_is_not_repeated_whole() -> None:
    """A message stays short, whatever stands in the file."""
    with pytest.raises(InputError) as caught:
        ts.parse(HEAD + "1," + "x" * 100_000 + ":3,4:still")
    assert len(str(caught.value)) < 200


def test_files_that_are_none(tmp_path: Path) -> None:
    """A file that is missing, no text, or far too large is refused before it is parsed."""
    with pytest.raises(InputError, match="cannot be read"):
        ts.read(tmp_path / "none.ts")
    (tmp_path / "bytes.ts").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read"):
        ts.read(tmp_path / "bytes.ts")
    with (tmp_path / "huge.ts").open("wb") as file:
        file.truncate(ts.MAX_BYTES + 1)
    with pytest.raises(InputError, match="at most"):
        ts.read(tmp_path / "huge.ts")


def test_an_utterance_as_the_nets_take_it() -> None:
    """Normalised coefficient by coefficient, then zeros up to the fixed length; what is longer is cut."""
    short = vowels.prepare(np.array([vowels.MEAN, np.add(vowels.MEAN, vowels.SCALE)], np.float32))
    np.testing.assert_allclose(short[:2], np.repeat([[0.0], [1.0]], 12, 1), atol=1e-5)
    assert not short[2:].any()
    assert vowels.prepare(np.ones((40, 12), np.float32)).shape == (vowels.STEPS, 12)


def _prepared(name: str, raw: Array) -> list[Array]:
    """What a recipe makes of a user's series: the input of each call."""
    processing = recipes.load(name).processing
    assert processing is not None
    return [call["in"] for call in prepare(processing.before, raw, Kit("in"))]


@pytest.mark.parametrize("name", ["speaker_rnn", "speaker_gru"])
@pytest.mark.parametrize("steps", [7, vowels.STEPS, 40])
def test_a_users_utterance_is_prepared_as_the_training_was(name: str, steps: int) -> None:
    """The steps that the recipe names do what the training data went through, and the classes are the same."""
    raw = np.random.default_rng(steps).normal(0, 1, (steps, 12)).astype(np.float32)
    (prepared,) = _prepared(name, raw)
    np.testing.assert_allclose(prepared[0], vowels.prepare(raw), rtol=1e-5, atol=1e-6)
    assert recipes.load(name).classes == vowels.CLASSES


def test_a_users_movement_is_prepared_as_the_training_was() -> None:
    """A call for each second, normalised by the same numbers; and the same classes."""
    raw = np.random.default_rng(0).normal(0, 5, (motions.WINDOW * motions.WINDOWS, 6)).astype(np.float32)
    prepared = np.concatenate(_prepared("activity_cnn_lstm", raw))
    np.testing.assert_allclose(prepared, motions.stream(motions.prepare(raw)), rtol=1e-5, atol=1e-6)
    assert recipes.load("activity_cnn_lstm").classes == motions.CLASSES


def test_a_users_heart_is_prepared_as_the_training_was() -> None:
    """A call for every two seconds, normalised by the same numbers."""
    signal = heartbeats.parse(_heart(8000, range(7000, 7100)))
    first, *_, last = _prepared("heartbeat_autoencoder", signal.values[:, None])
    np.testing.assert_allclose(first[0], heartbeats.split(signal).train[0], rtol=1e-5, atol=1e-6)
    assert first.shape == last.shape == (1, heartbeats.WINDOW)


def test_windows_of_a_stream() -> None:
    """A stream is cut from its start on, without gaps."""
    series = motions.prepare(np.arange(600, dtype=np.float32).reshape(100, 6))
    windows = motions.stream(series, start=5)
    assert windows.shape == (motions.WINDOWS, motions.WINDOW, 6)
    np.testing.assert_array_equal(windows.reshape(-1, 6), series[5:85])


def _heart(samples: int, abnormal: range) -> str:
    return "data,label\n" + "".join(f"{np.sin(at):.3f},{int(at in abnormal)}\n" for at in range(samples))


def test_heartbeats_are_split_by_time() -> None:
    """Nothing that is trained with is held out; normal windows touch nothing abnormal, abnormal ones hold half of it."""
    signal = heartbeats.parse(_heart(8000, range(7000, 7100)))
    windows = heartbeats.split(signal)
    trained, end = heartbeats.TRAINED, 7000 - heartbeats.WINDOW
    assert len(windows.train) == (trained - heartbeats.WINDOW) / 2
    assert len(windows.normal) == len(range(trained, end + 1, 4)) + len(range(7100, 8000 - heartbeats.WINDOW + 1, 4))
    assert len(windows.abnormal) == len(range(end + 52, 7051, 4))
    np.testing.assert_allclose(windows.normal[0][0] * heartbeats.SCALE + heartbeats.MEAN, np.sin(trained), atol=1e-3)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "begins with"),
        ("0.1,0\n", "begins with"),
        ("data,label\n", "has 0 samples"),
        ("data,label\n0.1,0\n0.2", "line 3: '0.2' is not"),
        ("data,label\n0.1,0\n0.2,\n", "line 3"),
        ("data,label\n0.1,2\n", "line 2"),
        ("data,label\nnan,0\n", "line 2"),
        ("data,label\n-inf,1\n", "line 2"),
        ("data,label\n1e39,1\n", "line 2"),
        ("data,label\n" + "x" * 100_000 + ",1\n", "line 2: 'x{40}' is not"),
        (_heart(100, range(0)), "has 100 samples"),
    ],
)
def test_damaged_heartbeats_are_refused(text: str, said: str) -> None:
    """A file that is cut off, or has something else in a line, is refused with the line."""
    with pytest.raises(InputError, match=said):
        heartbeats.parse(text)


@pytest.mark.parametrize("abnormal", [range(0), range(100, 200)])
def test_a_heart_that_cannot_be_judged_by(abnormal: range) -> None:
    """Without an abnormal beat among those held out, or with one among those trained with, there is nothing to measure."""
    with pytest.raises(InputError, match="normal up to 5000"):
        heartbeats.split(heartbeats.parse(_heart(6000, abnormal)))


def test_no_heart_file(tmp_path: Path) -> None:
    """A package that is not there is an error with its path."""
    with pytest.raises(InputError, match=r"mitdb\.csv cannot be read"):
        heartbeats.load(tmp_path)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=9), st.lists(st.integers(0, 5), min_size=1, max_size=9))
def test_the_area_is_the_share_of_pairs_in_order(higher: list[int], lower: list[int]) -> None:
    """By ranks as by its definition, equals counting half."""
    pairs = [(a > b) + (a == b) / 2 for a in higher for b in lower]
    assert area_under_curve(np.array(higher), np.array(lower)) == pytest.approx(np.mean(pairs))
