"""Texts and bytes, as the numbers that models take; and texts from what models give."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np

from edge_runtime.errors import BundleError, InputError
from edge_runtime.processing import steps
from edge_runtime.processing.extra import pieces
from edge_runtime.values import Array

Encode: TypeAlias = Callable[[str], dict[str, Array]]
"""A text to its tensors, by input name."""
SPECIAL = ("[UNK]", "[CLS]", "[SEP]", "[PAD]")


def characters(step: steps.Characters, text: str) -> Array:
    """int32 [length]."""
    places = {character: place for place, character in enumerate(step.alphabet, 2)}
    numbers = [places.get(character, 1) for character in text.lower()[: step.length]]
    return np.array(numbers + [0] * (step.length - len(numbers)), np.int32)


def word_pieces(step: steps.WordPieces, vocabulary: Path) -> Encode:
    """What takes a text apart by this vocabulary: to be made once, it reads the file. Raises BundleError."""
    library = pieces()
    try:
        words = library.models.WordPiece.read_file(str(vocabulary))
    except Exception as error:  # the package raises Exception itself
        raise BundleError(f"{vocabulary} cannot be read as a vocabulary: {error}") from error
    if missing := [word for word in SPECIAL if word not in words]:
        raise BundleError(f"{vocabulary} is no vocabulary of BERT's: it lacks {', '.join(missing)}")
    tokenizer = library.Tokenizer(library.models.WordPiece(words, unk_token="[UNK]"))  # noqa: S106  (a piece of text)
    tokenizer.normalizer = library.normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = library.pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = library.processors.BertProcessing(("[SEP]", words["[SEP]"]), ("[CLS]", words["[CLS]"]))
    tokenizer.enable_truncation(step.longest)
    if step.pad:
        tokenizer.enable_padding(length=step.longest, pad_id=words["[PAD]"], pad_token="[PAD]")  # noqa: S106

    def encode(text: str) -> dict[str, Array]:
        found = tokenizer.encode(text)
        rows = {step.ids: found.ids, step.mask: found.attention_mask}
        if step.types is not None:
            rows[step.types] = found.type_ids
        return {name: np.array(row, np.int64) for name, row in rows.items()}

    return encode


def ends(step: steps.Ends, data: bytes) -> Array:
    """int32 [first + last]."""
    first = data[: step.block].lstrip()[: step.first]
    last = data[-step.block :].rstrip()[-step.last :]
    numbers = np.full(step.first + step.last, step.pad, np.int32)
    numbers[: len(first)] = np.frombuffer(first, np.uint8)
    numbers[len(numbers) - len(last) :] = np.frombuffer(last, np.uint8)
    return numbers


def decode(symbols: Array, labels: Sequence[str]) -> tuple[str, float]:
    """The text of float32 [steps, classes] of probabilities, and the mean probability of its symbols.

    Greedy: the likeliest class of each step; a class that is repeated counts once; class 0 is the blank between symbols.
    """
    if symbols.ndim != 2 or symbols.shape[1] != len(labels):
        raise InputError(
            f"{len(labels)} labels do not fit symbols {list(symbols.shape)}: give one for each class, blank first"
        )
    best = symbols.argmax(axis=1)
    starts = (best != 0) & (np.diff(best, prepend=0) != 0)
    if not starts.any():
        return "", 0.0
    return "".join(labels[index] for index in best[starts]), float(symbols.max(axis=1)[starts].mean())
