"""How JSON is read as values, in a process of many threads.

msgspec (to 0.22 at least) makes what it knows of a struct at the struct's first use, and crashes where two threads are the
first at once. So it is made here, by one thread at a time.
"""

from __future__ import annotations

from threading import Lock
from typing import Any, TypeVar

import msgspec

_Read = TypeVar("_Read")

_lock = Lock()
_made: dict[Any, msgspec.json.Decoder[Any]] = {}


def decoder(kind: type[_Read]) -> msgspec.json.Decoder[_Read]:
    """For values of this type, the same one each time."""
    if (found := _made.get(kind)) is None:
        with _lock:
            found = _made[kind] = _made.get(kind) or msgspec.json.Decoder(kind)
    return found


def convert(value: object, kind: type[_Read]) -> _Read:
    """`msgspec.convert`, after what that needs was made."""
    decoder(kind)
    return msgspec.convert(value, kind)
