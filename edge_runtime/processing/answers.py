"""What a user gets back: one of these for each step that a manifest can end with (`steps.py`), under the same name.

Frozen values. Scores are 0..1, times in seconds, places in pixels of the picture that was handed over, with y downwards.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from edge_runtime.values import Array

Point: TypeAlias = tuple[float, float]
"""x, y in pixels."""


class Label(msgspec.Struct, frozen=True):
    """A class, and how likely it is."""

    name: str
    score: float


class Region(msgspec.Struct, frozen=True):
    """Where something is in a picture."""

    corners: tuple[Point, Point, Point, Point]
    """Clockwise, from where a line of text begins, at the top."""
    score: float


class Event(msgspec.Struct, frozen=True):
    """A stretch of time in which something is on, in seconds from the beginning (of a stream, from its beginning)."""

    name: str
    start: float
    end: float
    score: float
    """The mean over it."""


class Base(msgspec.Struct, frozen=True, eq=False, tag_field="kind", tag=str.lower):
    """Any of the answers. As JSON each says which it is: {"kind": "labels", ...}."""


class Labels(Base, frozen=True, eq=False):
    """The likeliest classes, best first."""

    labels: tuple[Label, ...]


class Boxes(Base, frozen=True, eq=False):
    """What was found in a picture, in reading order; empty where nothing was."""

    boxes: tuple[Region, ...]


class Text(Base, frozen=True, eq=False):
    """What was read; "" where nothing was."""

    text: str
    score: float
    """The mean over its symbols; 0 where there are none."""


class Events(Base, frozen=True, eq=False):
    """What was on and when, in the order in which it began."""

    events: tuple[Event, ...]


class Embedding(Base, frozen=True, eq=False):
    """A point on the unit sphere: what means the same is near."""

    vector: Array
    """float32 [features], of length 1."""


class Picture(Base, frozen=True, eq=False):
    """A picture that the model made."""

    pixels: Array
    """uint8 [height, width]."""


class Sound(Base, frozen=True, eq=False):
    """A sound that the model made."""

    samples: Array
    """float32 [samples], -1..1."""
    rate: int | None
    """Samples a second, where the manifest tells."""


class Anomaly(Base, frozen=True, eq=False):
    """How far the input is from what the model knows."""

    errors: tuple[float, ...]
    """The mean squared difference from what the model made of it, of each window (or of the whole)."""
    anomalous: bool
    """Whether the largest reaches the threshold."""


Answer: TypeAlias = Labels | Boxes | Text | Events | Embedding | Picture | Sound | Anomaly


def encode(answer: Answer | None) -> bytes:
    """The answer as JSON; arrays as lists of numbers."""
    return msgspec.json.encode(answer, enc_hook=lambda array: array.tolist())
