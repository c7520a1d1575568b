"""Arrays <-> the protocol's two ways to write a tensor: a JSON list, and raw little-endian bytes."""

from __future__ import annotations

import struct
from functools import cache
from math import prod
from typing import Annotated, Any

import msgspec
import numpy as np

from cloud_bridge.protocol.message import Buffer, Limits
from edge_runtime.errors import InputError, ProtocolError
from edge_runtime.values import Array

DATATYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype("?"), "INT8": np.dtype("i1"), "INT16": np.dtype("<i2"), "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"), "UINT8": np.dtype("u1"), "UINT16": np.dtype("<u2"), "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"), "FP16": np.dtype("<f2"), "FP32": np.dtype("<f4"), "FP64": np.dtype("<f8"),
    "BYTES": np.dtype("O"),
}  # fmt: skip
"""The protocol's name -> the array's dtype. A BYTES array holds `bytes` objects."""

_NAMES = {dtype: name for name, dtype in DATATYPES.items()}


def datatype(dtype: np.dtype[Any]) -> str:
    """The protocol's name for a dtype; KeyError when it has none."""
    return "BYTES" if dtype.kind in "SUO" else _NAMES[dtype.newbyteorder("<") if dtype.byteorder == ">" else dtype]


def written_as(name: str, array: Array) -> str:
    """The protocol's name for the array's dtype. Raises InputError when it has none."""
    try:
        return datatype(array.dtype)
    except KeyError as error:
        raise InputError(f"tensor {name!r} has dtype {array.dtype}, which the protocol does not carry") from error


def count(name: str, shape: list[int], kind: str, limits: Limits) -> int:
    """The elements of a tensor that a message describes, once the description was seen to be one."""
    if kind not in DATATYPES:
        raise ProtocolError(f"tensor {name!r}: {kind[:40]!r} is no datatype; there are {', '.join(DATATYPES)}")
    if len(shape) > limits.rank:
        raise ProtocolError(f"tensor {name!r} has {len(shape)} dimensions; at most {limits.rank} are accepted")
    if any(size < 0 for size in shape):
        raise ProtocolError(f"tensor {name!r} has a negative size in its shape")
    elements = prod(shape)
    # Each size by itself too: beside a zero any other would pass. None is told: these integers have no end.
    most = min(limits.elements, limits.texts) if kind == "BYTES" else limits.elements
    if max(elements, *shape, 0) > most:
        raise ProtocolError(f"tensor {name!r} has too many elements; at most {most} are accepted")
    return elements


def to_bytes(array: Array) -> Buffer:
    """The array's elements, row major and little endian; without a copy where they lie so already."""
    if array.dtype.kind in "SUO":
        return b"".join(struct.pack("<I", len(item)) + item for item in map(_as_bytes, array.ravel().tolist()))
    plain = np.asarray(array, array.dtype.newbyteorder("<"), order="C")
    return plain.reshape(-1).view(np.uint8).data


def from_bytes(name: str, shape: list[int], kind: str, elements: int, data: memoryview) -> Array:
    """The array in these bytes: a view of them where their alignment allows, else a copy.

    A view is read-only when the bytes are."""
    if kind == "BYTES":
        return objects(_split(name, elements, data), shape)
    dtype = DATATYPES[kind]
    if len(data) != elements * dtype.itemsize:
        raise ProtocolError(f"tensor {name!r}: {len(data)} bytes are given for {elements} elements of {kind}")
    if kind == "BOOL" and elements and np.frombuffer(data, np.uint8).max() > 1:
        raise ProtocolError(f"tensor {name!r}: a BOOL byte is neither 0 nor 1")
    flat: Array = np.frombuffer(data, dtype)
    return (flat if flat.flags.aligned else flat.copy()).reshape(shape)


def to_json(name: str, array: Array) -> list[Any]:
    """The elements as a flat list. Raises InputError for what JSON cannot carry."""
    if array.dtype.kind in "SUO":
        try:
            return [_as_bytes(item).decode() for item in array.ravel().tolist()]
        except UnicodeDecodeError as error:
            raise InputError(
                f"tensor {name!r} holds bytes that are not UTF-8: JSON cannot carry it, use binary data"
            ) from error
    if array.dtype == np.float16:
        raise InputError(f"tensor {name!r} is float16, which the protocol carries as binary data only")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InputError(f"tensor {name!r} holds NaN or infinity, which JSON cannot carry: use binary data")
    flat: list[Any] = array.ravel().tolist()
    return flat


def from_json(name: str, shape: list[int], kind: str, elements: int, data: msgspec.Raw) -> Array:
    """The array that a JSON list gives, flat or nested as the shape says."""
    text = bytes(data)
    if kind == "FP16":
        raise ProtocolError(f"tensor {name!r} is FP16, which the protocol carries as binary data only")
    # Counted before a list is built: each element but the first follows a comma, however the lists are nested.
    if kind != "BYTES" and elements and text.count(b",") != elements - 1:
        raise ProtocolError(
            f"tensor {name!r}: its data has {text.count(b',') + 1} elements; its shape {shape} has {elements}"
        )
    nested = len(shape) > 1 and text[1:].lstrip()[:1] == b"["
    try:
        values = _list_decoder(kind, len(shape) if nested else 1).decode(text)
        array = _nested(values, shape) if kind == "BYTES" else _numbers(values, kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(f"tensor {name!r}: its data does not fit {kind}: {error}") from error
    except (OverflowError, ValueError) as error:
        raise ProtocolError(f"tensor {name!r}: its data is no {kind} array of shape {shape}: {error}") from error
    if array.size != elements or (nested and list(array.shape) != shape):
        raise ProtocolError(f"tensor {name!r}: its data has the shape {list(array.shape)}; {shape} was announced")
    return array.reshape(shape)


def from_nested(name: str, rank: int, kind: str, text: bytes, limits: Limits) -> Array:
    """The array of this many dimensions that nested JSON lists give; they tell its shape."""
    if text.count(b",") >= limits.elements:  # before a list is built
        raise ProtocolError(f"tensor {name!r} has too many elements; at most {limits.elements} are accepted")
    try:
        array = np.asarray(_numbers(_list_decoder(kind, rank).decode(text), kind))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(f"tensor {name!r}: its data is no {kind} of {rank} dimensions: {error}") from error
    except (OverflowError, ValueError) as error:
        raise ProtocolError(f"tensor {name!r}: its data is no {kind} array: {error}") from error
    if array.ndim != rank:
        raise ProtocolError(f"tensor {name!r} has {array.ndim} dimensions; the model takes {rank}")
    return array


def plain(name: str, array: Array) -> Any:
    """The elements as nested lists for JSON. Raises InputError for what it cannot carry."""
    if array.dtype.kind in "SUO":
        return np.asarray(to_json(name, array), object).reshape(array.shape).tolist()
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InputError(f"tensor {name!r} holds NaN or infinity, which JSON cannot carry")
    return array.tolist()


@cache
def _list_decoder(kind: str, depth: int) -> msgspec.json.Decoder[Any]:
    element: Any = float
    if kind == "BOOL":
        element = bool
    elif kind == "BYTES":
        element = str
    elif kind == "UINT64":
        element = Annotated[int, msgspec.Meta(ge=0)]  # numpy refuses what is too large
    elif "INT" in kind:
        info = np.iinfo(DATATYPES[kind])
        element = Annotated[int, msgspec.Meta(ge=int(info.min), le=int(info.max))]
    for _ in range(depth):
        element = list[element]
    return msgspec.json.Decoder(element)


def _numbers(values: list[Any], kind: str) -> Array:
    array: Array = np.array(values, np.float64 if kind == "FP32" else DATATYPES[kind])
    if kind != "FP32":
        return array
    with np.errstate(over="ignore"):
        narrow = array.astype(np.float32)
    if np.isinf(narrow).any():
        raise OverflowError("a number is too large")
    return narrow


def _nested(values: list[Any], shape: list[int]) -> Array:
    """Strings need their own walk: numpy would take equal-length text apart or pad it."""
    level: list[Any] = values
    if level and isinstance(level[0], list):
        for size in shape[1:]:
            if any(len(item) != size for item in level):
                raise ValueError("its lists differ in length")
            level = [part for item in level for part in item]
    return objects([item.encode() for item in level], shape)


def objects(items: list[bytes], shape: list[int]) -> Array:
    """An array of BYTES."""
    array = np.empty(len(items), object)
    array[:] = items
    return array.reshape(shape)


def _split(name: str, elements: int, data: memoryview) -> list[bytes]:
    items: list[bytes] = []
    at = 0
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "little")
        end = at + 4 + length
        if at + 4 > len(data) or end > len(data) or len(items) == elements:
            raise ProtocolError(f"tensor {name!r}: its BYTES data is not {elements} lengths, each with its bytes")
        items.append(bytes(data[at + 4 : end]))
        at = end
    if len(items) != elements:
        raise ProtocolError(f"tensor {name!r}: its BYTES data has {len(items)} elements; its shape has {elements}")
    return items


def _as_bytes(item: Any) -> bytes:
    if isinstance(item, bytes):
        return item
    if isinstance(item, str):
        return item.encode()
    raise InputError(f"an object array holds a {type(item).__name__}; the protocol carries bytes and str")
