"""How right an answer is: frozen figures, each with one line for a table. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from edge_runtime.errors import InputError
from edge_runtime.values import Array, Tensors


class CharacterErrors(msgspec.Struct, frozen=True):
    """How a text differs from the true one."""

    edits: int
    """Characters to insert, delete or replace, at least, to make one text of the other (Levenshtein's distance)."""
    length: int
    """Characters of the true text."""

    @property
    def rate(self) -> float:
        """The character error rate: edits by true characters. Above 1 where far too much was read."""
        return self.edits / self.length if self.length else float(self.edits > 0)

    def __str__(self) -> str:
        return f"character error rate {self.rate:.1%} ({self.edits} of {self.length})"


class Detection(msgspec.Struct, frozen=True):
    """Frames that were said to be something, against those that are."""

    hits: int
    false_alarms: int
    misses: int

    @property
    def precision(self) -> float:
        """The share of what was found that is there; 1 when nothing was found."""
        return _share(self.hits, self.false_alarms)

    @property
    def recall(self) -> float:
        """The share of what is there that was found; 1 when nothing is there."""
        return _share(self.hits, self.misses)

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall."""
        return _share(2 * self.hits, self.false_alarms + self.misses)

    def __str__(self) -> str:
        return f"precision {self.precision:.3f}, recall {self.recall:.3f}, F1 {self.f1:.3f}"


class Difference(msgspec.Struct, frozen=True):
    """How far outputs lie from reference outputs, over every element of every tensor."""

    worst: float
    """The largest absolute difference."""
    mean: float
    """The mean absolute difference."""
    flipped: float
    """The share of elements that lie on the other side of .5: of probabilities, the decisions that changed."""

    def __str__(self) -> str:
        return f"max difference {self.worst:.1e}, mean {self.mean:.1e}, decisions changed {self.flipped:.2%}"


def normalise(text: str) -> str:
    """The text with every run of white space (line ends too) as one space, and none at its ends. Nothing else is forgiven:
    case, punctuation and symbols count."""
    return " ".join(text.split())


def compare_text(found: str, truth: str) -> CharacterErrors:
    """The character errors of a text that was read, both texts normalised first."""
    found, truth = normalise(found), normalise(truth)
    return CharacterErrors(edit_distance(found, truth), len(truth))


def edit_distance(a: str, b: str) -> int:
    """Levenshtein's distance in characters (code points), by Wagner and Fischer's table, one row at a time.

    Inside a row, cell j is the cheapest of what comes from above and `cell[j-1] + 1`; so cell j - j is a running minimum.
    """
    codes = np.array([ord(char) for char in b], dtype=np.int64)
    columns = np.arange(len(b) + 1)
    row = columns.copy()
    for char in a:
        above = row[1:] + 1
        diagonal = row[:-1] + (codes != ord(char))
        row = np.concatenate(([row[0] + 1], np.minimum(above, diagonal)))
        row = np.minimum.accumulate(row - columns) + columns
    return int(row[-1])


def compare_frames(found: Array, truth: Array) -> Detection:
    """Count bool[N] against bool[N]. Raises InputError when they are not that."""
    if found.shape != truth.shape or found.ndim != 1 or found.dtype != np.bool_ or truth.dtype != np.bool_:
        raise InputError(
            f"frames to compare are two bool[N]; these are {found.dtype} {list(found.shape)} and "
            f"{truth.dtype} {list(truth.shape)}"
        )
    return Detection(int((found & truth).sum()), int((found & ~truth).sum()), int((~found & truth).sum()))


def compare_tensors(found: Sequence[Tensors], reference: Sequence[Tensors]) -> Difference:
    """The difference of a run of outputs from a run of reference outputs, call by call. A NaN on either side is infinitely
    far. Raises InputError unless both have the same calls, names and shapes."""
    if len(found) != len(reference) or not reference:
        raise InputError(
            f"{len(found)} outputs cannot be compared with {len(reference)}: give as many of both, and one at least"
        )
    worst, total, flipped, count = 0.0, 0.0, 0, 0
    for one, other in zip(found, reference, strict=True):
        _check_same(one, other)
        for name, array in other.items():
            far = np.abs(np.asarray(one[name], np.float64) - array)
            far[np.isnan(far)] = np.inf
            worst = max(worst, float(far.max(initial=0.0)))
            total += float(far.sum())
            flipped += int(((one[name] > 0.5) != (array > 0.5)).sum())
            count += far.size
    return Difference(worst, total / max(count, 1), flipped / max(count, 1))


def _check_same(one: Tensors, other: Tensors) -> None:
    shapes: list[Mapping[str, tuple[int, ...]]] = [{name: t.shape for name, t in side.items()} for side in (one, other)]
    if shapes[0] != shapes[1]:
        raise InputError(f"outputs {dict(shapes[0])} cannot be compared with {dict(shapes[1])}")


def _share(part: int, rest: int) -> float:
    return part / (part + rest) if part + rest else 1.0
