"""The smallest models there can be: y = x + 1 over f32[1,10], as ONNX and as TFLite, made on the spot.

An engine spends microseconds on them, so that what the runtime adds on top can be seen.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import numpy as np

from edge_runtime.bundles import archive, golden
from edge_runtime.bundles.manifest import MANIFEST, File, Manifest, Variant, encode
from edge_runtime.bundles.store import Bundle
from edge_runtime.signature import Signature, TensorSpec

SHAPE = (1, 10)
GOLDEN = "golden.npz"
SIGNATURE = Signature(inputs=(TensorSpec("x", "float32", SHAPE),), outputs=(TensorSpec("y", "float32", SHAPE),))


def tiny_bundle(folder: Path, *, version: str = "1.0", partner: str | None = None, adds: float | None = None) -> Bundle:
    """The bundle "tiny" in this (empty or new) folder; with a `partner` it may be asked of a cloud. With `adds` it has
    golden samples, in which so much is added: 1.0 is right, and all else is a version that must not be let in."""
    folder.mkdir(parents=True, exist_ok=True)
    variants = []
    for format_, data in (("onnx", onnx_add()), ("tflite", tflite_add())):
        path = f"add.{format_}"
        (folder / path).write_bytes(data)
        file = File(path, sha256(data).hexdigest(), len(data))
        variants.append(Variant(f"fp32-{format_}", format_, "fp32", (file,), tolerance=None if adds is None else 1e-3))
    if adds is not None:
        inputs = [{"x": np.full(SHAPE, value, np.float32)} for value in (0.0, 2.0)]
        golden.write(folder / GOLDEN, SIGNATURE, inputs, [{"y": sample["x"] + np.float32(adds)} for sample in inputs])
    manifest = Manifest(
        name="tiny", version=version, task="add one", signature=SIGNATURE, variants=tuple(variants), partner=partner,
        golden=None if adds is None else archive.file_of(folder, GOLDEN),
    )  # fmt: skip
    (folder / MANIFEST).write_bytes(encode(manifest))
    return Bundle(manifest, folder)


def onnx_add() -> bytes:
    """y = x + 1 as an ONNX file."""
    from onnx import TensorProto, helper, numpy_helper

    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, SHAPE) for name in ("x", "y")]
    one = numpy_helper.from_array(np.ones(SHAPE, np.float32), "one")
    graph = helper.make_graph([helper.make_node("Add", ["x", "one"], ["y"])], "add", tensors[:1], tensors[1:], [one])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return bytes(model.SerializeToString())


def tflite_add() -> bytes:
    """y = x + 1 as a TFLite flatbuffer."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    def tensor(name: str, buffer: int) -> schema.TensorT:
        made = schema.TensorT()
        made.name, made.shape, made.type, made.buffer = name, list(SHAPE), schema.TensorType.FLOAT32, buffer
        return made

    empty, one = schema.BufferT(), schema.BufferT()
    one.data = np.frombuffer(np.ones(SHAPE, np.float32).tobytes(), np.uint8)
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.ADD
    code.version = 1
    add = schema.OperatorT()
    add.opcodeIndex, add.inputs, add.outputs = 0, [0, 1], [2]
    add.builtinOptionsType, add.builtinOptions = schema.BuiltinOptions.AddOptions, schema.AddOptionsT()
    graph = schema.SubGraphT()
    graph.tensors = [tensor("x", 0), tensor("one", 1), tensor("y", 0)]
    graph.inputs, graph.outputs, graph.operators = [0], [2], [add]
    model = schema.ModelT()
    model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, [code], [graph], [empty, one]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())
