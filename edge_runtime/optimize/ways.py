"""Every way to make a variant of another: what it reads, what it writes, and the tool that does it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from edge_runtime.errors import InputError
from edge_runtime.optimize import onnx, openvino, tflite
from edge_runtime.optimize.quantization import Quantization, Quantizer


class Way(msgspec.Struct, frozen=True):
    """One way."""

    variant: str
    """The name of the variant that comes out."""
    reads: tuple[str, ...]
    """The formats that it is made of, the best first."""
    writes: str
    precision: str
    stem: str
    """What stands in the name of its file, between the model's name and the suffix."""
    make: Quantizer

    @property
    def suffix(self) -> str:
        """Of the file that an engine is told to load."""
        return "xml" if self.writes == "openvino" else self.writes


PRUNED = Way("pruned-onnx", ("onnx",), "onnx", "fp32", "pruned", onnx.prune)
WAYS = (
    PRUNED,
    Way("fp32-openvino", ("onnx",), "openvino", "fp32", "fp32", openvino.convert),
    Way("int8-onnx", ("onnx",), "onnx", "int8", "int8", onnx.quantize),
    Way("int8-onnx-dynamic", ("onnx",), "onnx", "int8", "int8-dynamic", onnx.quantize_dynamic),
    Way("int8-openvino", ("onnx", "openvino"), "openvino", "int8", "int8", openvino.quantize),
    Way("int8-tflite", ("tflite",), "tflite", "int8", "int8", tflite.quantize),
    Way("int8-tflite-static", ("tflite",), "tflite", "int8", "int8-static", tflite.quantize_static),
)
NAMES = tuple(way.variant for way in WAYS)


def chosen(only: Sequence[str], quantization: Quantization) -> tuple[Way, ...]:
    """The ways of these names, or all; pruning where a share to prune is given. Raises InputError for a name of none."""
    if unknown := [name for name in only if name not in NAMES]:
        raise InputError(f"{', '.join(unknown)}: there is no such variant to make; there are {', '.join(NAMES)}")
    if PRUNED.variant in only and not quantization.prune:
        raise InputError(f"{PRUNED.variant} is made where a share of the weights to prune is given")
    wanted = set(only or NAMES) | {PRUNED.variant}
    return tuple(way for way in WAYS if way.variant in wanted and (way != PRUNED or quantization.prune))
