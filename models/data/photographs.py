"""Patches of ten colour photographs, as scikit-image and scikit-learn carry them: which photograph is a patch from?

Of scikit-image: astronaut, coffee, chelsea, rocket, hubble_deep_field, retina (public domain or CC0), ihc, motorcycle_left
(Middlebury's stereo pictures); of scikit-learn: china and flower (CC BY 2.0, danielbuechele and vultilion on Flickr).
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from edge_runtime.errors import BundleError
from edge_runtime.values import Array
from models.data.split import Split

FILES = (
    "skimage/data/astronaut.png",
    "skimage/data/chelsea.png",
    "sklearn/datasets/images/china.jpg",
    "skimage/data/coffee.png",
    "sklearn/datasets/images/flower.jpg",
    "skimage/data/hubble_deep_field.jpg",
    "skimage/data/ihc.png",
    "skimage/data/motorcycle_left.png",
    "skimage/data/retina.jpg",
    "skimage/data/rocket.jpg",
)
CLASSES = tuple(Path(file).stem for file in FILES)
SIDE = 32
TRAIN_EACH, TEST_EACH = 800, 200
"""Patches of each photograph."""
TRAIN_STRIP, TEST_STRIP, GAP = 120, 48, 32
"""Every photograph is cut into upright strips, in turn to train with and held out, with a gap of a patch between them."""
SEED = 32


def load(packages: Path) -> Split:
    """The patches as uint8 [n, 32, 32, 3], red first: always the same. Raises BundleError."""
    dice = np.random.default_rng(SEED)
    train, test = [], []
    for file in FILES:
        photo = _photo(packages / file)
        taught, held_out = strips(photo.shape[1])
        train.append(_patches(photo, taught, TRAIN_EACH, dice))
        test.append(_patches(photo, held_out, TEST_EACH, dice))
    numbers = np.arange(len(FILES))
    return Split(
        np.concatenate(train), numbers.repeat(TRAIN_EACH), np.concatenate(test), numbers.repeat(TEST_EACH), CLASSES
    )


def strips(width: int) -> tuple[Array, Array]:
    """Where the left sides of patches can lie: those to train with, and those held out. The two share no column."""
    period = TRAIN_STRIP + GAP + TEST_STRIP + GAP
    left = np.arange(width - SIDE + 1)
    place = left % period
    held_out = TRAIN_STRIP + GAP
    return left[place <= TRAIN_STRIP - SIDE], left[(held_out <= place) & (place <= held_out + TEST_STRIP - SIDE)]


def _patches(photo: Array, lefts: Array, count: int, dice: np.random.Generator) -> Array:
    tops = dice.integers(0, photo.shape[0] - SIDE + 1, count)
    return np.stack(
        [photo[top : top + SIDE, left : left + SIDE] for top, left in zip(tops, dice.choice(lefts, count), strict=True)]
    )


def _photo(path: Path) -> Array:
    try:
        found = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR_RGB)
    except (OSError, cv2.error) as error:
        raise BundleError(f"{path} cannot be read ({error}): install its package again") from error
    if found is None:
        raise BundleError(f"{path} is not a picture: install its package again")
    return np.asarray(found)
