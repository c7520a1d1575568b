"""Texts and bytes as numbers, and texts from what models give: known values, and bounds that hold for any input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.errors import BundleError, InputError
from edge_runtime.processing.steps import Characters, Ends, WordPieces
from edge_runtime.processing.texts import characters, decode, ends, word_pieces
from edge_runtime.values import Array

LABELS = ("", "a", "b", " ")
WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "cat", "sat", "##s", "un", "##able", ",")


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of eleven word pieces."""
    path = tmp_path_factory.mktemp("words") / "vocab.txt"
    path.write_text("\n".join(WORDS) + "\n")
    return path


def test_characters_are_places_in_the_alphabet() -> None:
    """Two more than the place; 1 for a stranger, 0 after the end; upper case is lowered, and what is too long cut off."""
    step = Characters("abc ", 6)
    assert characters(step, "Ab?").tolist() == [2, 3, 1, 0, 0, 0]
    assert characters(step, "c abcabc").tolist() == [4, 5, 2, 3, 4, 2]


@given(st.text(min_size=1, max_size=40), st.integers(1, 30))
def test_any_text_fills_its_length_with_known_numbers(text: str, length: int) -> None:
    """int32, just so long, none past the alphabet."""
    numbers = characters(Characters("abcdefgh", length), text)
    assert (numbers.dtype, numbers.shape) == (np.dtype(np.int32), (length,))
    assert 0 <= numbers.min() <= numbers.max() <= 9


def test_a_text_is_taken_apart_as_bert_does(vocabulary: Path) -> None:
    """Lower case, punctuation apart, the longest pieces first, an unknown word as one, between [CLS] and [SEP]."""
    encode = word_pieces(WordPieces("ids", "mask", "types", 16), vocabulary)
    found = encode("The cats, unable dog")
    assert [WORDS[number] for number in found["ids"]] == [
        "[CLS]",
        "the",
        "cat",
        "##s",
        ",",
        "un",
        "##able",
        "[UNK]",
        "[SEP]",
    ]
    assert found["mask"].tolist() == [1] * 9
    assert found["types"].tolist() == [0] * 9
    assert {array.dtype for array in found.values()} == {np.dtype(np.int64)}


def test_word_pieces_are_padded_where_the_step_says_so(vocabulary: Path) -> None:
    """The mask marks what is text; a model without types gets none."""
    found = word_pieces(WordPieces("ids", "mask", None, 6, pad=True), vocabulary)("cat")
    assert found["ids"].tolist() == [2, 5, 3, 0, 0, 0]
    assert found["mask"].tolist() == [1, 1, 1, 0, 0, 0]
    assert set(found) == {"ids", "mask"}


@given(st.text(min_size=1, max_size=60), st.integers(2, 12))
def test_any_text_makes_pieces_within_bounds(vocabulary: Path, text: str, longest: int) -> None:
    """From [CLS] to [SEP], no longer than allowed, every number a word's."""
    ids = word_pieces(WordPieces("ids", "mask", None, longest), vocabulary)(text)["ids"]
    assert 2 <= len(ids) <= longest
    assert (ids[0], ids[-1]) == (2, 3)
    assert 0 <= ids.min() <= ids.max() < len(WORDS)


@pytest.mark.parametrize("content", [None, b"cat\nsat\n", b"\xff\xfe\x00"], ids=["missing", "no [CLS]", "no text"])
def test_a_vocabulary_that_is_none_is_the_bundles_fault(tmp_path: Path, content: bytes | None) -> None:
    """The error names the file."""
    path = tmp_path / "vocab.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BundleError, match=r"vocab\.txt"):
        word_pieces(WordPieces("ids", "mask", None, 8), path)


def test_ends_are_the_first_and_the_last_bytes() -> None:
    """White space at both ends is left out; what is missing is padded at the inner side."""
    assert ends(Ends(3, 2), b"  abcdef\n").tolist() == [97, 98, 99, 101, 102]
    assert ends(Ends(4, 3), b"a").tolist() == [97, 256, 256, 256, 256, 256, 97]
    assert ends(Ends(2, 2, pad=0), b" \n ").tolist() == [0, 0, 0, 0]
    assert ends(Ends(2, 1, block=3), b"   abc   ").tolist() == [256, 256, 256]


@given(st.binary(min_size=1, max_size=80), st.integers(1, 20), st.integers(1, 20))
def test_any_bytes_fill_both_ends(data: bytes, first: int, last: int) -> None:
    """Bytes or padding, and what is a byte there is one of the data's."""
    numbers = ends(Ends(first, last), data)
    assert (numbers.dtype, numbers.shape) == (np.dtype(np.int32), (first + last,))
    assert set(numbers.tolist()) <= {*data, 256}
    assert bytes(numbers[:first][numbers[:first] < 256].tolist()) == data.lstrip()[:first]
    assert bytes(numbers[first:][numbers[first:] < 256].tolist()) == data.rstrip()[-last:]


def one_hot(path: list[int], probability: float = 1.0) -> Array:
    """float32 [steps, classes] whose likeliest classes are `path`."""
    symbols = np.full((len(path), len(LABELS)), (1 - probability) / (len(LABELS) - 1), np.float32)
    symbols[np.arange(len(path)), path] = probability
    return symbols


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ([0, 0, 0], ""),
        ([1, 1, 1], "a"),
        ([1, 0, 1], "aa"),
        ([0, 1, 1, 0, 0, 2, 3, 1, 0], "ab a"),
        ([1, 2, 1], "aba"),
        ([2], "b"),
    ],
)
def test_decoding_joins_repeats_and_drops_blanks(path: list[int], text: str) -> None:
    """A class repeated without a blank between is one symbol; the blank itself is none."""
    assert decode(one_hot(path), LABELS)[0] == text


@given(st.text("ab ", max_size=12), st.data())
def test_any_text_survives_being_spelt_out(text: str, data: st.DataObject) -> None:
    """Each symbol held for some steps, with blanks between equals: decoding gives the text back."""
    path: list[int] = []
    for char in text:
        symbol = LABELS.index(char)
        if (path and path[-1] == symbol) or data.draw(st.booleans()):
            path.append(0)
        path += [symbol] * data.draw(st.integers(1, 3))
    found, confidence = decode(one_hot([*path, 0], 0.8), LABELS)
    assert found == text
    assert confidence == pytest.approx(0.8 if text else 0.0)


def test_labels_that_are_too_few_are_refused() -> None:
    """A labels file of another model would shift every symbol: it is an error, not a wrong text."""
    with pytest.raises(InputError, match="3 labels do not fit"):
        decode(one_hot([1]), LABELS[:3])
