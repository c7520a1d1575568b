"""CIFAR-10 from its own folder, `cifar-10-batches-py`: pickles, of which nothing is let in but numbers, texts and pixels.

To read a pickle is to run it. Here its calls of numpy, the few that CIFAR's files make, end in small functions of this
module, and any other name in it is an error.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edge_runtime.errors import InputError
from edge_runtime.values import Array
from models.data.split import Split

SIDE, CLASSES = 32, 10
TRAIN = tuple(f"data_batch_{number}" for number in range(1, 6))
TEST, META = "test_batch", "batches.meta"
LARGEST = 64 << 20
"""Bytes of a file, at most: CIFAR's have 31 million."""


def load(folder: Path) -> Split:
    """All of it, as uint8 [n, 32, 32, 3], red first. Raises InputError for a folder or a file that is not CIFAR-10's."""
    names = _read(folder / META).get("label_names")
    if not isinstance(names, list) or len(names) != CLASSES:
        raise InputError(f"{folder / META} does not name {CLASSES} classes")
    train = [_batch(folder / name) for name in TRAIN]
    test_x, test_y = _batch(folder / TEST)
    return Split(
        np.concatenate([pixels for pixels, _ in train]),
        np.concatenate([labels for _, labels in train]),
        test_x,
        test_y,
        tuple(_text(name) for name in names),
    )


def _batch(path: Path) -> tuple[Array, Array]:
    content = _read(path)
    pixels, labels = content.get("data"), content.get("labels")
    if not isinstance(pixels, _Pixels) or not isinstance(labels, list):
        raise InputError(f"{path} has no data and labels; is it a batch of CIFAR-10?")
    if not all(isinstance(label, int) and 0 <= label < CLASSES for label in labels):
        raise InputError(f"{path} has labels that are not 0 to {CLASSES - 1}")
    rows = pixels.rows
    if rows.shape != (len(labels), 3 * SIDE * SIDE):
        raise InputError(f"{path} has pixels of shape {list(rows.shape)} for {len(labels)} labels")
    return np.ascontiguousarray(rows.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)), np.array(labels, np.int64)


def _read(path: Path) -> Mapping[str, Any]:
    """The mapping in one file, by names."""
    try:
        with path.open("rb") as file:
            if path.stat().st_size > LARGEST:
                raise InputError(f"{path} is larger than a file of CIFAR-10 can be")
            content = _Unpickler(file, encoding="bytes").load()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): give the folder cifar-10-batches-py") from error
    except BROKEN as error:
        raise InputError(f"{path} is not a file of CIFAR-10 and was not read: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} is not a file of CIFAR-10: it holds a {type(content).__name__}")
    return {_text(key): value for key, value in content.items()}


def _text(name: object) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)


BROKEN = (
    pickle.UnpicklingError, EOFError, AttributeError, ImportError, IndexError, KeyError, TypeError, ValueError,
    OverflowError, MemoryError, RecursionError,
)  # fmt: skip
"""What reading a file that is no pickle, or a broken one, may raise."""


class _Type:
    """Stands for numpy's dtype: it takes its arguments, and must be bytes."""

    def __init__(self, name: object, *_: object) -> None:
        if _text(name) != "u1":
            raise pickle.UnpicklingError(f"it has an array of {_text(name)!r}, where CIFAR-10 has bytes only")

    def __setstate__(self, state: object) -> None:
        """What numpy tells of the byte order, of which bytes have none."""


class _Pixels:
    """Stands for numpy's array."""

    rows: Array = np.empty(0, np.uint8)

    def __setstate__(self, state: tuple[object, ...]) -> None:
        _, shape, kind, by_columns, content = state
        if not isinstance(kind, _Type) or not isinstance(content, bytes) or not isinstance(shape, tuple):
            raise pickle.UnpicklingError("it has an array that is not made of bytes")
        self.rows = np.frombuffer(content, np.uint8).reshape(shape, order="F" if by_columns else "C")


def _array(kind: object, *_: object) -> _Pixels:
    if kind is not _Pixels:
        raise pickle.UnpicklingError("it has an array that is not numpy's own")
    return _Pixels()


def _encode(text: object, encoding: object = "latin1") -> bytes:
    """How Python 3 writes bytes in the old protocol."""
    if not isinstance(text, str) or _text(encoding) not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError("it has a text in an unknown encoding")
    return text.encode("latin1")


LET_IN = {
    ("numpy", "ndarray"): _Pixels,
    ("numpy", "dtype"): _Type,
    ("numpy.core.multiarray", "_reconstruct"): _array,
    ("numpy._core.multiarray", "_reconstruct"): _array,
    ("_codecs", "encode"): _encode,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return LET_IN[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which could run anything") from None

    def persistent_load(self, pid: object) -> Any:
        raise pickle.UnpicklingError(f"it refers to {pid!r} outside itself")
