"""CIFAR-10's folder: read without running what is in its pickles."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from edge_runtime.errors import InputError
from models.data import cifar

NAMES = [b"airplane", b"automobile", b"bird", b"cat", b"deer", b"dog", b"frog", b"horse", b"ship", b"truck"]


def batch(seed: int, count: int = 4) -> dict[bytes, object]:
    """A batch of made-up pictures as CIFAR-10 has them."""
    dice = np.random.default_rng(seed)
    pixels = dice.integers(0, 256, (count, 3072), np.uint8)
    return {b"batch_label": b"made up", b"labels": dice.integers(0, 10, count).tolist(), b"data": pixels}


def write(path: Path, content: object) -> None:
    path.write_bytes(pickle.dumps(content, protocol=2))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder like cifar-10-batches-py, of four pictures a file."""
    for seed, name in enumerate((*cifar.TRAIN, cifar.TEST)):
        write(tmp_path / name, batch(seed))
    write(tmp_path / cifar.META, {b"num_cases_per_batch": 4, b"label_names": NAMES, b"num_vis": 3072})
    return tmp_path


def test_a_folder_of_cifar_is_read(folder: Path) -> None:
    """All batches come in their order, channels last, and the classes by their names."""
    split = cifar.load(folder)
    assert split.train_x.shape == (20, 32, 32, 3)
    assert split.test_x.shape == (4, 32, 32, 3)
    assert split.classes == tuple(name.decode() for name in NAMES)
    first = batch(0)
    assert split.train_y[:4].tolist() == first[b"labels"]
    rows = first[b"data"]
    assert isinstance(rows, np.ndarray)
    assert (split.train_x[0, ..., 2] == rows[0, 2048:].reshape(32, 32)).all()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_what_is_not_read_says_so_in_every_protocol(folder: Path, protocol: int) -> None:
    """Whatever protocol a batch is written in, it is read right or refused with the one error."""
    (folder / cifar.TEST).write_bytes(pickle.dumps(batch(5), protocol=protocol))
    try:
        split = cifar.load(folder)
    except InputError:
        assert protocol < 2 or protocol > 4  # arrays are written in other ways there
    else:
        assert (split.test_x.transpose(0, 3, 1, 2).reshape(4, -1) == batch(5)[b"data"]).all()


class Hostile:
    """A pickle that makes a folder when it is read."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("name", [*cifar.TRAIN, cifar.TEST, cifar.META])
def test_a_hostile_pickle_is_not_run(folder: Path, tmp_path: Path, name: str) -> None:
    """A file that calls something is refused by what it asks for, and the call is not made."""
    mark = tmp_path / "run"
    write(folder / name, {b"data": Hostile(mark), b"labels": [0]})
    with pytest.raises(InputError, match=rf"{name} is not a file of CIFAR-10 .*\.mkdir"):
        cifar.load(folder)
    assert not mark.exists()


@pytest.mark.parametrize(
    "raw",
    [
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"cbuiltins\ngetattr\n(cnumpy\nndarray\nS'tofile'\ntR.",
        b"cnumpy\nload\n(S'x'\ntR.",
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\ndtype\nI0\ntR.",
        b"cnumpy\ndtype\n(S'O8'\ntR.",
        b"Pelsewhere\n.",
        b"\x80\x02}",
        b"",
        b"no pickle",
    ],
    ids=["eval", "getattr", "load", "other array", "objects", "outside", "cut off", "empty", "text"],
)
def test_a_pickle_of_anything_else_is_refused(folder: Path, raw: bytes) -> None:
    """Other names, arrays of objects, references outside, and files that are no pickle are one clear error."""
    (folder / "data_batch_2").write_bytes(raw)
    with pytest.raises(InputError, match=r"data_batch_2 is not a file of CIFAR-10"):
        cifar.load(folder)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([1], "holds a list"),
        ({b"labels": [0]}, "no data and labels"),
        ({b"labels": [0], b"data": [1, 2]}, "no data and labels"),
        ({b"labels": [10, 0, 0, 0], b"data": np.zeros((4, 3072), np.uint8)}, "not 0 to 9"),
        ({b"labels": [0], b"data": np.zeros((4, 3072), np.uint8)}, r"shape \[4, 3072\] for 1 labels"),
        ({b"labels": [0], b"data": np.zeros((1, 3072), np.float32)}, "bytes only"),
    ],
)
def test_a_batch_that_does_not_fit_is_refused(folder: Path, content: object, said: str) -> None:
    """A batch without pixels or labels, or with others than CIFAR-10 has, is an error that says what it has."""
    write(folder / cifar.TEST, content)
    with pytest.raises(InputError, match=rf"test_batch .*{said}"):
        cifar.load(folder)


def test_a_missing_file_and_missing_names_are_refused(folder: Path) -> None:
    """A folder without a batch, and one whose classes are not ten, are errors that name the file."""
    (folder / "data_batch_5").unlink()
    with pytest.raises(InputError, match=r"data_batch_5 cannot be read .* cifar-10-batches-py"):
        cifar.load(folder)
    write(folder / cifar.META, {b"label_names": [b"cat"]})
    with pytest.raises(InputError, match=r"batches\.meta does not name 10 classes"):
        cifar.load(folder)
