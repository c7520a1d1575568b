"""What a user may hand over, kind by kind: checked before a step or an engine sees it, and bounded in size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from edge_runtime.errors import InputError
from edge_runtime.processing.steps import Kind
from edge_runtime.signature import MAX_ELEMENTS
from edge_runtime.values import Array

Raw: TypeAlias = Array | str | bytes | int
"""What a user has: see `TAKES`."""

MAX_SIDE = 1 << 14
"""Pixels of a picture's side."""
MAX_SAMPLES = 1 << 26
"""Samples of a sound (over an hour at 16 kHz), steps of a series."""
MAX_CHANNELS = 1 << 10
MAX_TEXT = 1 << 20
"""Characters."""
MAX_BYTES = 1 << 28

TAKES: dict[Kind, str] = {
    "image": "a picture: uint8 [height, width, 3], red first, or uint8 [height, width]",
    "audio": "a sound: float32 [samples] in -1..1",
    "text": "a text: str",
    "bytes": "bytes",
    "series": "a series: float32 [steps, channels]",
    "noise": "the number of a class: int",
}
"""Each kind in words, for messages."""


def checked(kind: Kind, raw: object) -> Any:
    """What was handed over as the steps take it; InputError when it is not of this kind, or too large."""
    return _CHECKS[kind](raw)


def _picture(raw: object) -> Array:
    picture = _array("image", raw, np.uint8)
    if picture.ndim not in (2, 3) or picture.shape[2:] not in ((), (3,)):
        raise _other("image", raw)
    if max(picture.shape[:2]) > MAX_SIDE:
        raise InputError(
            f"a picture of {list(picture.shape)}: its sides may have {MAX_SIDE} pixels at most; make it smaller"
        )
    return np.repeat(picture[..., None], 3, axis=2) if picture.ndim == 2 else np.ascontiguousarray(picture)


def _sound(raw: object) -> Array:
    return _finite("sound", "samples", _ranked("audio", raw, 1))


def _series(raw: object) -> Array:
    series = _finite("series", "steps", _ranked("series", raw, 2))
    if series.shape[1] > MAX_CHANNELS:
        raise InputError(f"a series of {series.shape[1]} channels; at most {MAX_CHANNELS} are taken")
    return series


def _text(raw: object) -> str:
    if not isinstance(raw, str) or not raw:
        raise _other("text", raw)
    if len(raw) > MAX_TEXT:
        raise InputError(f"a text of {len(raw)} characters; at most {MAX_TEXT} are taken: give the part that matters")
    return raw


def _bytes(raw: object) -> bytes:
    if not isinstance(raw, bytes) or not raw:
        raise _other("bytes", raw)
    if len(raw) > MAX_BYTES:
        raise InputError(f"{len(raw)} bytes; at most {MAX_BYTES} are taken: give the part that matters")
    return raw


def _class(raw: object) -> int:
    if isinstance(raw, bool) or not isinstance(raw, int | np.integer):
        raise _other("noise", raw)
    return int(raw)


def _array(kind: Kind, raw: object, dtype: type[np.generic]) -> Array:
    if not isinstance(raw, np.ndarray) or raw.dtype != dtype or raw.size == 0:
        raise _other(kind, raw)
    return raw


def _ranked(kind: Kind, raw: object, rank: int) -> Array:
    array = _array(kind, raw, np.float32)
    if array.ndim != rank:
        raise _other(kind, raw)
    return array


def _finite(name: str, steps: str, array: Array) -> Array:
    if len(array) > MAX_SAMPLES or array.size > MAX_ELEMENTS:
        raise InputError(f"a {name} of {len(array)} {steps}; at most {MAX_SAMPLES} are taken at once: cut it")
    if not np.isfinite(array).all():
        raise InputError(f"the {name} has NaN or infinite {steps}, which no model takes")
    return np.ascontiguousarray(array)


def _other(kind: Kind, raw: object) -> InputError:
    return InputError(f"the model takes {TAKES[kind]}; this is {described(raw)}")


def described(raw: object) -> str:
    """What something is, in a few words."""
    if isinstance(raw, np.ndarray):
        return f"{raw.dtype} {list(raw.shape)}"
    return f"an empty {type(raw).__name__}" if raw in ("", b"") else f"a {type(raw).__name__}"


_CHECKS: dict[Kind, Callable[[object], Any]] = {
    "image": _picture,
    "audio": _sound,
    "series": _series,
    "text": _text,
    "bytes": _bytes,
    "noise": _class,
}
