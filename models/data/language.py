"""Phrases in eight languages, made up of real words: wordfreq's lists of words by how often each is used.

wordfreq 3.1.1: code Apache-2.0, lists CC BY-SA 4.0 (Robyn Speer; from Wikipedia, subtitles, news, books, the web, Twitter
and Reddit). Only its files are read; wordfreq itself is not imported.

A list is "cBpack": gzip around MessagePack, a header and then the words used 0, 1, 2... centibels less often than always.

**Whose a word is.** Lists share words (names, loans, English everywhere). A word belongs to the language that uses it most,
and only if no other uses it more than a third as often; the rest belong to none and are left out.

**Train and test share no word.** A hash of the word decides its side, so it is the same for every language, and on every
machine. What is measured is how well a net tells languages by how their words look, not how many words it has by heart.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import msgspec
import numpy as np

from edge_runtime.errors import BundleError
from edge_runtime.values import Array

LANGUAGES = ("en", "de", "fr", "es", "it", "nl", "pt", "sv")
NAMES = ("English", "German", "French", "Spanish", "Italian", "Dutch", "Portuguese", "Swedish")
ALPHABET = " abcdefghijklmnopqrstuvwxyzàáâãäåçèéêëìíîïñòóôõöùúûüœ"
UNKNOWN = 1
VOCABULARY = len(ALPHABET) + 2
LENGTH = 64
TEST_PHRASES = 4_000

RAREST = 600
"""In centibels: once in a million words. What is rarer is often a name or a slip."""
APART = 50
"""In centibels: about three times as often."""
HELD_OUT_DATA = "4,000 phrases of 1 to 3 words, 500 in each language; none of the words was trained with"
FEWEST_WORDS, MOST_WORDS = 1, 3
ONE_OF = 5
"""One word of so many is for testing."""
MOST_BYTES = 64 << 20
_TEST_SEED = 2_000_000


class Words(msgspec.Struct, frozen=True):
    """Each language's own words, in the order of `LANGUAGES`, in two parts that share none."""

    train: tuple[tuple[str, ...], ...]
    test: tuple[tuple[str, ...], ...]


class Phrases(msgspec.Struct, frozen=True):
    """Phrases as the nets take them, and which language each is in."""

    x: Array
    """int32 [phrases, LENGTH]: as the processing step `characters` makes them."""
    y: Array
    """int64 [phrases]: places in LANGUAGES."""

    @property
    def digest(self) -> str:
        """sha256 of both."""
        return hashlib.sha256(self.x.tobytes() + self.y.tobytes()).hexdigest()


class _Numbers(dict[int, int]):
    """Character -> its number, for str.translate: 1 for one that is not in the alphabet."""

    def __missing__(self, character: int) -> int:
        return UNKNOWN


_NUMBERS = _Numbers({ord(character): place + 2 for place, character in enumerate(ALPHABET)})


@lru_cache(maxsize=1)
def load(packages: Path) -> Words:
    """The words of each language. Raises BundleError."""
    lists = [_read(packages / "wordfreq" / "data" / f"large_{language}.msgpack.gz") for language in LANGUAGES]
    owned = _owned(lists)
    for language, words in zip(LANGUAGES, owned, strict=True):
        if not _side(words, test=True) or not _side(words, test=False):
            raise BundleError(f"wordfreq's list of {language!r} has too few words of its own: install wordfreq 3.1.1 again")
    return Words(
        train=tuple(_side(words, test=False) for words in owned), test=tuple(_side(words, test=True) for words in owned)
    )


def phrases(words: Sequence[Sequence[str]], count: int, seed: int) -> Phrases:
    """So many phrases, as many in each language as in the next; the same for the same seed."""
    random = np.random.default_rng(seed)
    y = np.arange(count, dtype=np.int64) % len(words)
    random.shuffle(y)
    lengths = random.integers(FEWEST_WORDS, MOST_WORDS + 1, count)
    places = random.random((count, MOST_WORDS))
    texts = (
        " ".join(words[language][int(place * len(words[language]))] for place in row[:length])
        for language, length, row in zip(y.tolist(), lengths.tolist(), places.tolist(), strict=True)
    )
    return Phrases(np.stack([characters(text) for text in texts]), y)


def held_out(packages: Path) -> Phrases:
    """The phrases to judge by: words that no net was trained with. Raises BundleError."""
    return phrases(load(packages).test, TEST_PHRASES, _TEST_SEED)


def characters(text: str) -> Array:
    """A text as int32 [LENGTH], as the processing step `characters` makes it."""
    numbers = text.lower()[:LENGTH].translate(_NUMBERS).encode("latin-1")
    return np.frombuffer(numbers.ljust(LENGTH, b"\0"), np.uint8).astype(np.int32)


def _read(path: Path) -> dict[str, int]:
    """How rare each word of a list is, in centibels; without those too rare to own a word or to contest one."""
    again = "install wordfreq 3.1.1 again"
    try:
        with gzip.open(path) as file:
            packed = file.read(MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise BundleError(f"{path} cannot be read ({error}): {again}") from error
    if len(packed) > MOST_BYTES:
        raise BundleError(f"{path} is larger than {MOST_BYTES >> 20} MiB when unpacked, no list of wordfreq is: {again}")
    try:
        header, *buckets = msgspec.msgpack.decode(packed, type=list[dict[str, str | int] | list[str]])
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise BundleError(f"{path} is not one of wordfreq's lists ({error}): {again}") from error
    if header != {"format": "cB", "version": 1}:
        raise BundleError(f"{path} has the header {str(header)[:80]}, not that of cBpack version 1: {again}")
    if not all(isinstance(bucket, list) for bucket in buckets):
        raise BundleError(f"{path} has a second header among its words: {again}")
    return {word: rarity for rarity, bucket in enumerate(buckets[: RAREST + APART]) for word in bucket}


def _owned(lists: Sequence[dict[str, int]]) -> list[list[str]]:
    """The words that each list has to itself: those that it uses clearly more often than any other does."""
    letters = set(ALPHABET) - {" "}
    rarities: dict[str, list[int]] = {}
    for rare in lists:
        for word, rarity in rare.items():
            rarities.setdefault(word, []).append(rarity)
    return [
        [
            word
            for word, rarity in rare.items()
            if rarity <= RAREST
            and len(word) > 1
            and letters.issuperset(word)
            and all(other - rarity >= APART for other in _without(rarities[word], rarity))
        ]
        for rare in lists
    ]


def _without(rarities: list[int], own: int) -> list[int]:
    rest = rarities.copy()
    rest.remove(own)
    return rest


def _side(words: Sequence[str], *, test: bool) -> tuple[str, ...]:
    return tuple(word for word in words if (zlib.crc32(word.encode()) % ONE_OF == 0) == test)
