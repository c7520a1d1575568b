"""Series as text: recordings and heartbeats are read as they stand, and what is damaged is refused with its line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_runtime.errors import InputError
from edge_runtime.processing.steps import Fit, Normalise
from models import recipe as recipes
from models.data import ts, vowels

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


@pytest.mark.parametrize("name", ["speaker_rnn", "speaker_gru"])
def test_the_recipes_prepare_an_utterance_in_the_same_way(name: str) -> None:
    """What a user's series goes through is what the training data went through."""
    processing = recipes.load(name).processing
    assert processing is not None
    assert processing.before[:2] == (Normalise(vowels.MEAN, vowels.SCALE), Fit(vowels.STEPS))
    assert recipes.load(name).classes == vowels.CLASSES
