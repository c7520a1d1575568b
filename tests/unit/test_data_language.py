"""The phrases in eight languages: whose a word is, which side it is on, and lists that are not what they should be."""

from __future__ import annotations

import gzip
import string
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_runtime.errors import BundleError
from models.data import language
from models.data.language import ALPHABET, APART, LANGUAGES, LENGTH, RAREST, UNKNOWN

HEADER = {"format": "cB", "version": 1}


def own(name: str) -> list[str]:
    """Words that no other language has, enough of them for both sides."""
    return [name + first + second for first in string.ascii_lowercase for second in "xyz"]


def packed(words: Mapping[str, int], header: object = HEADER) -> bytes:
    """A list in wordfreq's format, each word with its rarity in centibels."""
    buckets: list[list[str]] = [[] for _ in range(max(words.values(), default=0) + 1)]
    for word, rarity in words.items():
        buckets[rarity].append(word)
    return gzip.compress(msgspec.msgpack.encode([header, *buckets]))


def write(packages: Path, name: str, content: bytes) -> None:
    """One language's list, where wordfreq has it."""
    folder = packages / "wordfreq" / "data"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"large_{name}.msgpack.gz").write_bytes(content)


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """Eight small lists that share no word."""
    for name in LANGUAGES:
        write(tmp_path, name, packed(dict.fromkeys(own(name), 10)))
    return tmp_path


def both(words: language.Words, name: str) -> set[str]:
    """A language's words, of both sides."""
    place = LANGUAGES.index(name)
    return {*words.train[place], *words.test[place]}


def test_every_word_is_on_one_side(packages: Path) -> None:
    """Train and test share no word, of any language, and together they are all there are."""
    words = language.load(packages)
    train, test = ({word for group in side for word in group} for side in (words.train, words.test))
    assert not train & test
    assert train | test == {word for name in LANGUAGES for word in own(name)}
    assert len(test) < len(train)


def test_a_word_belongs_to_the_language_that_uses_it_clearly_most(packages: Path) -> None:
    """Just often enough and it is that language's alone; a centibel less and it is nobody's."""
    write(packages, "en", packed(dict.fromkeys(own("en"), 10) | {"taxi": 100, "radio": 100}))
    write(packages, "de", packed(dict.fromkeys(own("de"), 10) | {"taxi": 100 + APART, "radio": 99 + APART}))
    words = language.load(packages)
    assert "taxi" in both(words, "en")
    assert "taxi" not in both(words, "de")
    assert "radio" not in both(words, "en") | both(words, "de")


def test_a_word_that_two_use_alike_is_nobodys(packages: Path) -> None:
    """Also where its rarity is the same in both."""
    for name in ("es", "pt"):
        write(packages, name, packed(dict.fromkeys([*own(name), "casa"], 10)))
    words = language.load(packages)
    assert "casa" not in both(words, "es") | both(words, "pt")


@pytest.mark.parametrize("word", ["a", "12th", "l'eau", "ice cream", "Übung", "мир"])
def test_what_is_not_a_plain_word_is_left_out(packages: Path, word: str) -> None:
    """Single letters, digits, signs, capitals and other scripts are in no phrase."""
    write(packages, "fr", packed(dict.fromkeys([*own("fr"), word], 10)))
    assert both(language.load(packages), "fr") == set(own("fr"))


def test_a_rare_word_is_left_out(packages: Path) -> None:
    """The rarest that counts, and one that is rarer."""
    write(packages, "it", packed(dict.fromkeys(own("it"), 10) | {"raro": RAREST, "rarissimo": RAREST + 1}))
    assert both(language.load(packages), "it") == {*own("it"), "raro"}


def test_phrases_are_the_same_for_the_same_seed(packages: Path) -> None:
    """And others for another."""
    words = language.load(packages).train
    first, again, other = (language.phrases(words, 80, seed) for seed in (1, 1, 2))
    assert first.digest == again.digest != other.digest
    assert first.x.shape == (80, LENGTH)
    assert first.x.dtype == np.int32
    assert first.y.dtype == np.int64


def test_every_language_has_as_many_phrases(packages: Path) -> None:
    """The held-out ones too."""
    held_out = language.held_out(packages)
    assert np.bincount(held_out.y).tolist() == [len(held_out.y) // len(LANGUAGES)] * len(LANGUAGES)


def test_phrases_are_of_words_of_their_language(packages: Path) -> None:
    """What is encoded can be read back: one to three words, all of the language that the phrase is said to be in."""
    words = language.load(packages).train
    made = language.phrases(words, 64, 5)
    for row, place in zip(made.x, made.y, strict=True):
        text = "".join(ALPHABET[number - 2] for number in row if number)
        assert 1 <= len(text.split(" ")) <= 3
        assert set(text.split(" ")) <= set(words[place])


def test_characters_are_places_in_the_alphabet() -> None:
    """Plus 2; lower-cased first; 1 for what is not in it; 0 after the end; and what is too long is cut off."""
    row = language.characters("Aé ß😀")
    assert row[:6].tolist() == [ALPHABET.index("a") + 2, ALPHABET.index("é") + 2, 2, UNKNOWN, UNKNOWN, 0]
    assert row.shape == (LENGTH,)
    assert language.characters("z" * 100).tolist() == [ALPHABET.index("z") + 2] * LENGTH
    assert not language.characters("").any()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "cannot be read|is not one of"),
        (b"not gzip", "Not a gzipped file"),
        (packed({"ord": 3})[:-9], "cannot be read"),
        (gzip.compress(b""), "is not one of wordfreq's lists"),
        (gzip.compress(b"\xc1"), "is not one of wordfreq's lists"),
        (gzip.compress(msgspec.msgpack.encode({"format": "cB"})), "is not one of wordfreq's lists"),
        (gzip.compress(msgspec.msgpack.encode([])), "is not one of wordfreq's lists"),
        (gzip.compress(msgspec.msgpack.encode([HEADER, [1, 2]])), "is not one of wordfreq's lists"),
        (gzip.compress(b"\x91" * 100_000), "is not one of wordfreq's lists"),
        (gzip.compress(msgspec.msgpack.encode([HEADER, HEADER])), "second header"),
        (packed({"ord": 3}, {"format": "cB", "version": 2}), "not that of cBpack version 1"),
        (packed({}), "too few words"),
        (packed({"ord": 3}), "too few words"),
        (gzip.compress(bytes(language.MOST_BYTES + 1), 1), "larger than 64 MiB"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_list_that_is_none_is_named(packages: Path, content: bytes, told: str) -> None:
    """Truncated, hostile, of another version, or too short: one error that says which file, and what to do."""
    write(packages, "sv", content)
    with pytest.raises(BundleError, match=told) as caught:
        language.load(packages)
    assert "sv" in str(caught.value)
    assert "install wordfreq 3.1.1 again" in str(caught.value)


def test_a_list_that_is_missing_is_named(tmp_path: Path) -> None:
    """No packages there at all."""
    with pytest.raises(BundleError, match=r"large_en\.msgpack\.gz cannot be read .*No such file"):
        language.load(tmp_path)


@given(content=st.binary(max_size=200), squeezed=st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100, deadline=None)
def test_any_bytes_are_words_or_one_error(tmp_path: Path, content: bytes, squeezed: bool) -> None:
    """Nothing but BundleError comes out of a list of nonsense."""
    write(tmp_path, "en", gzip.compress(content) if squeezed else content)
    with pytest.raises(BundleError):
        language.load(tmp_path)


@given(damage=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=4))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
def test_a_damaged_list_is_words_or_one_error(packages: Path, damage: Sequence[tuple[int, int]]) -> None:
    """A few bytes changed anywhere, also inside what is packed."""
    unpacked = bytearray(gzip.decompress(packed(dict.fromkeys(own("nl"), 10))))
    for place, value in damage:
        unpacked[place % len(unpacked)] = value
    write(packages, "nl", gzip.compress(bytes(unpacked)))
    language.load.cache_clear()
    try:
        language.load(packages)
    except BundleError as error:
        assert "wordfreq" in str(error)  # noqa: PT017 - it may also still be a list
