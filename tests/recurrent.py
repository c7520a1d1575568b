"""A tiny recurrent net with its state outside, in two formats: h' = x W + h, y = h' V."""

from __future__ import annotations

from pathlib import Path

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from onnx import TensorProto, helper, numpy_helper

from edge_runtime.bundles.bundle import Bundle, read_bundle
from edge_runtime.bundles.manifest import MANIFEST, Manifest, Variant, encode
from edge_runtime.signature import Signature, StatePair, TensorSpec
from edge_runtime.values import Array
from tests.bundles import file_of

SHAPES = {"x": (1, 6), "h": (1, 8), "u": (1, 8), "new_h": (1, 8), "y": (1, 4)}
SIGNATURE = Signature(
    inputs=(TensorSpec("x", "float32", SHAPES["x"]), TensorSpec("h", "float32", SHAPES["h"])),
    outputs=(TensorSpec("y", "float32", SHAPES["y"]), TensorSpec("new_h", "float32", SHAPES["new_h"])),
    state=(StatePair("h", "new_h"),),
)


def weights() -> dict[str, Array]:
    """W and V as TFLite lays them out: [out, in]."""
    dice = np.random.default_rng(11)
    return {
        name: dice.normal(0, 0.3, size).astype(np.float32)
        for name, size in (("w", (8, 6)), ("wb", (8,)), ("v", (4, 8)), ("vb", (4,)))
    }


def samples(count: int, seed: int = 0) -> list[dict[str, Array]]:
    """Random inputs and states."""
    dice = np.random.default_rng(seed)
    return [{name: dice.normal(size=SHAPES[name]).astype(np.float32) for name in ("x", "h")} for _ in range(count)]


def onnx_net() -> bytes:
    """As ONNX."""
    nodes = [
        helper.make_node("Gemm", ["x", "w", "wb"], ["u"], name="in", transB=1),
        helper.make_node("Add", ["u", "h"], ["new_h"], name="add"),
        helper.make_node("Gemm", ["new_h", "v", "vb"], ["y"], name="out", transB=1),
    ]
    values = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in SHAPES.items()}
    constants = [numpy_helper.from_array(array, name) for name, array in weights().items()]
    graph = helper.make_graph(nodes, "net", [values["x"], values["h"]], [values["y"], values["new_h"]], constants)
    return bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString())


def tflite_net() -> bytes:
    """As TFLite."""
    buffers, tensors = [schema.BufferT()], {}

    def tensor(name: str, shape: tuple[int, ...], data: Array | None = None) -> None:
        made = schema.TensorT()
        made.name, made.shape, made.type, made.buffer = name, list(shape), schema.TensorType.FLOAT32, 0
        if data is not None:
            made.buffer = len(buffers)
            buffers.append(schema.BufferT())
            buffers[-1].data = np.frombuffer(data.tobytes(), np.uint8)
        tensors[name] = made

    for name, shape in SHAPES.items():
        tensor(name, shape)
    for name, array in weights().items():
        tensor(name, array.shape, array)
    builtin, kinds = schema.BuiltinOperator, schema.BuiltinOptions
    codes: list[schema.OperatorCodeT] = []
    operators: list[schema.OperatorT] = []
    for code, kind, options, inputs, output in (
        (builtin.FULLY_CONNECTED, kinds.FullyConnectedOptions, schema.FullyConnectedOptionsT(), ("x", "w", "wb"), "u"),
        (builtin.ADD, kinds.AddOptions, schema.AddOptionsT(), ("u", "h"), "new_h"),
        (builtin.FULLY_CONNECTED, kinds.FullyConnectedOptions, schema.FullyConnectedOptionsT(), ("new_h", "v", "vb"), "y"),
    ):
        operator, known = schema.OperatorT(), schema.OperatorCodeT()
        known.builtinCode = known.deprecatedBuiltinCode = code
        known.version = 1
        operator.opcodeIndex, operator.builtinOptionsType, operator.builtinOptions = len(codes), kind, options
        operator.inputs, operator.outputs = [list(tensors).index(name) for name in inputs], [list(tensors).index(output)]
        codes.append(known)
        operators.append(operator)
    graph, entry, model = schema.SubGraphT(), schema.SignatureDefT(), schema.ModelT()
    graph.tensors, graph.operators = list(tensors.values()), operators
    graph.inputs, graph.outputs = ([list(tensors).index(name) for name in ends] for ends in (("x", "h"), ("y", "new_h")))
    entry.signatureKey, entry.subgraphIndex = "serving_default", 0
    entry.inputs, entry.outputs = ([_row(index) for index in ends] for ends in (graph.inputs, graph.outputs))
    model.signatureDefs, model.version, model.operatorCodes = [entry], 3, codes
    model.subgraphs, model.buffers = [graph], buffers
    builder = flatbuffers.Builder(1 << 14)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _row(index: int) -> schema.TensorMapT:
    row = schema.TensorMapT()
    row.name, row.tensorIndex = f"args_{index}", index
    return row


def bundle(folder: Path) -> Bundle:
    """A bundle of the net in both formats."""
    folder.mkdir()
    variants = []
    for form, data in (("onnx", onnx_net()), ("tflite", tflite_net())):
        (folder / f"net.{form}").write_bytes(data)
        variants.append(Variant(f"fp32-{form}", form, "fp32", (file_of(f"net.{form}", data),)))
    manifest = Manifest(name="net", version="1.0", task="test", signature=SIGNATURE, variants=tuple(variants))
    (folder / MANIFEST).write_bytes(encode(manifest))
    return read_bundle(folder)
