"""Printed text made up for calibration: pages and lines of words that mean nothing, in many sizes, colours and lights.

The same seed gives the same picture, so that a bundle built twice has one digest.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from edge_runtime.values import Array

SIZES = ((192, 384), (256, 512), (320, 480), (480, 352))
"""Of pages: height, width."""
FONTS = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_COMPLEX, cv2.FONT_HERSHEY_TRIPLEX)
CHARACTERS = tuple("etaoinshrdlucmfwypvbgkjqxzETAOINSHRDLU0123456789.,:;()=-+*/&%$#@'")
_ODDS = np.array([3.0 if character.islower() else 1.0 for character in CHARACTERS])


def page(seed: int, photos: Sequence[Array]) -> Array:
    """Lines of text on paper, or on one of the photos: uint8 [H, W, 3]."""
    dice = np.random.default_rng(seed)
    height, width = SIZES[seed % len(SIZES)]
    dark = dice.random() < 0.25
    image = np.full((height, width, 3), int(dice.integers(0, 70) if dark else dice.integers(170, 256)), np.uint8)
    if dice.random() < 0.3:
        image = np.asarray(cv2.resize(photos[int(dice.integers(len(photos)))], (width, height)))
    light = np.linspace(1 - 0.45 * dice.random(), 1, width)[None, :, None]
    image = (image * light).astype(np.uint8)
    y = 4
    while y < height - 8:
        scale = float(dice.uniform(0.32, 0.8))
        y += int(30 * scale)
        ink = dice.integers(180, 256, 3) if dark else dice.integers(0, 90, 3)
        _write(image, words(dice, 8), (int(dice.integers(2, 40)), y), _font(dice), scale, ink)
        y += int(dice.integers(2, 14))
    return _soft(image, dice)


def line(seed: int) -> tuple[str, Array]:
    """One line of text, and its picture: uint8 [H, W, 3]."""
    dice = np.random.default_rng(seed)
    scale, text, font = float(dice.uniform(0.4, 1.1)), words(dice, 5), _font(dice)
    (width, height), below = cv2.getTextSize(text, font, scale, 1)
    size = (height + below + int(dice.integers(2, 10)), width + int(dice.integers(4, 20)), 3)
    image = np.full(size, int(dice.integers(160, 256)), np.uint8)
    _write(image, text, (3, height + 2), font, scale, dice.integers(0, 90, 3))
    return text, _soft(image, dice)


def words(dice: np.random.Generator, most: int) -> str:
    """From one to `most` of something that looks like words."""
    chances = _ODDS / _ODDS.sum()
    return " ".join(
        "".join(dice.choice(CHARACTERS, int(dice.integers(1, 11)), p=chances)) for _ in range(dice.integers(1, most + 1))
    )


def _font(dice: np.random.Generator) -> int:
    return FONTS[int(dice.integers(len(FONTS)))]


def _write(image: Array, text: str, at: tuple[int, int], font: int, scale: float, ink: Array) -> None:
    cv2.putText(image, text, at, font, scale, [int(level) for level in ink], 1, cv2.LINE_AA)


def _soft(image: Array, dice: np.random.Generator) -> Array:
    """Half of the pictures are a little out of focus."""
    return np.asarray(cv2.GaussianBlur(image, (3, 3), 0)) if dice.random() < 0.5 else image
