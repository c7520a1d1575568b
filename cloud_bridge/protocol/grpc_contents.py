"""A tensor's elements in typed fields, as a gRPC message may hold them instead of raw bytes. Pure: fields -> arrays."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from cloud_bridge.protocol.protobuf import I32, I64, LEN, VARINT, fields, varints
from cloud_bridge.protocol.tensors import DATATYPES, objects
from edge_runtime.errors import ProtocolError
from edge_runtime.values import Array

_LOOSE = 1 << 16
"""Elements that are fields of their own, as each of `bytes_contents` is."""

_WORD = (1 << 64) - 1

_CONTENTS = {
    "BOOL": 1, "INT8": 2, "INT16": 2, "INT32": 2, "INT64": 3, "UINT8": 4, "UINT16": 4, "UINT32": 4, "UINT64": 5,
    "FP32": 6, "FP64": 7, "BYTES": 8,
}  # fmt: skip
"""Which field of the contents holds a datatype's elements; FP16 has none."""


def read_contents(name: str, kind: str, shape: list[int], elements: int, contents: list[memoryview]) -> Array:
    """The array that these InferTensorContents hold together. Raises ProtocolError."""
    if kind not in _CONTENTS:
        raise ProtocolError(f"tensor {name!r} is {kind}, which the protocol carries in raw_input_contents only")
    blocks: list[Array] = [np.empty(0, DATATYPES[kind])]
    for part in contents:
        for number, form, integer, data in fields(part, _LOOSE):
            if number != _CONTENTS[kind]:
                raise ProtocolError(f"tensor {name!r} is {kind}, but its contents are of another type")
            blocks += _block(name, kind, form, integer, data)
    flat: Array = np.concatenate(blocks)
    if len(flat) != elements:
        raise ProtocolError(f"tensor {name!r}: its contents have {len(flat)} elements; its shape has {elements}")
    return flat.reshape(shape)


def _block(name: str, kind: str, form: int, integer: int, data: memoryview) -> Iterator[Array]:
    """The elements of one field: packed, or one by itself."""
    dtype = DATATYPES[kind]
    if kind == "BYTES" and form == LEN:
        yield objects([bytes(data)], [1])
    elif dtype.kind == "f" and form in (LEN, I32, I64) and len(data) % dtype.itemsize == 0:
        yield np.frombuffer(data, dtype)
    elif dtype.kind in "biu" and form == LEN:
        for block in varints(data):
            yield _narrow(name, kind, block)
    elif dtype.kind in "biu" and form == VARINT:
        yield _narrow(name, kind, np.array([integer & _WORD], np.uint64))
    else:
        raise ProtocolError(f"tensor {name!r}: its contents are not those of {kind}")


def _narrow(name: str, kind: str, block: NDArray[np.uint64]) -> Array:
    """As the datatype says, of which the contents hold several in one field."""
    if kind == "BOOL":
        return np.asarray(block != 0)
    info = np.iinfo(DATATYPES[kind])
    values: Array = block.view(np.int64) if info.min < 0 else block
    if values.size and not info.min <= int(values.min()) <= int(values.max()) <= info.max:
        raise ProtocolError(f"tensor {name!r}: its contents do not all fit {kind}")
    return values.astype(info.dtype)
