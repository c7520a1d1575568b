"""A store of tiny ONNX models, made on the spot, that real engines run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from edge_runtime.bundles.manifest import MANIFEST, Manifest, Variant, encode
from edge_runtime.bundles.store import Store
from edge_runtime.signature import Signature, StatePair, TensorSpec
from tests.bundles import file_of

KINDS = ("bool", "int8", "uint8", "int32", "int64", "float16", "float32", "float64")
"""The dtypes of the model `kinds`, which gives each of its inputs back."""

_OPSET = 17


def double(factor: float) -> tuple[onnx.GraphProto, Signature]:
    """y = factor * x, on any number of pairs."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 2]) for name in "xy")
    by = helper.make_tensor("by", TensorProto.FLOAT, [], [factor])
    graph = helper.make_graph([helper.make_node("Mul", ["x", "by"], ["y"])], "double", [x], [y], [by])
    shape: tuple[int | str, ...] = ("N", 2)
    return graph, Signature((TensorSpec("x", "float32", shape, finite=True),), (TensorSpec("y", "float32", shape),))


def counter() -> tuple[onnx.GraphProto, Signature]:
    """y = 2 x and t = s + x: t is the s of the next call."""
    x, s, y, t = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xsyt")
    nodes = [helper.make_node("Add", ["x", "x"], ["y"]), helper.make_node("Add", ["s", "x"], ["t"])]
    specs = {name: TensorSpec(name, "float32", (1,)) for name in "xsyt"}
    signature = Signature((specs["x"], specs["s"]), (specs["y"], specs["t"]), (StatePair("s", "t"),))
    return helper.make_graph(nodes, "counter", [x, s], [y, t]), signature


def kinds() -> tuple[onnx.GraphProto, Signature]:
    """Each input out again, in every dtype."""
    inputs, outputs, nodes = [], [], []
    for kind in KINDS:
        element = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
        inputs.append(helper.make_tensor_value_info(f"{kind}_in", element, ["N"]))
        outputs.append(helper.make_tensor_value_info(f"{kind}_out", element, ["N"]))
        nodes.append(helper.make_node("Identity", [f"{kind}_in"], [f"{kind}_out"]))
    signature = Signature(
        tuple(TensorSpec(f"{kind}_in", kind, ("N",)) for kind in KINDS),
        tuple(TensorSpec(f"{kind}_out", kind, ("N",)) for kind in KINDS),
    )
    return helper.make_graph(nodes, "kinds", inputs, outputs), signature


def patience() -> tuple[onnx.GraphProto, Signature]:
    """y = turns, counted one by one: a model that takes as long as it is told to."""
    scalar = {name: helper.make_tensor_value_info(name, TensorProto.INT64, []) for name in ("i", "in", "out", "turns", "y")}
    go, on = (helper.make_tensor_value_info(name, TensorProto.BOOL, []) for name in ("go", "on"))
    step = [helper.make_node("Add", ["in", "one"], ["out"]), helper.make_node("Identity", ["go"], ["on"])]
    one = helper.make_tensor("one", TensorProto.INT64, [], [1])
    body = helper.make_graph(step, "step", [scalar["i"], go, scalar["in"]], [on, scalar["out"]], [one])
    zero = helper.make_tensor("zero", TensorProto.INT64, [], [0])
    loop = helper.make_node("Loop", ["turns", "", "zero"], ["y"], body=body)
    graph = helper.make_graph([loop], "patience", [scalar["turns"]], [scalar["y"]], [zero])
    return graph, Signature((TensorSpec("turns", "int64", ()),), (TensorSpec("y", "int64", ()),))


def write_store(folder: Path) -> Store:
    """A store of `double` 1.0 (active) and 2.0 (which triples), `counter`, `kinds` and `patience`."""
    store = Store(folder / "store", create=True)
    models = {
        ("double", "1.0"): double(2.0),
        ("double", "2.0"): double(3.0),
        ("counter", "1.0"): counter(),
        ("kinds", "1.0"): kinds(),
        ("patience", "1.0"): patience(),
    }
    for (name, version), (graph, signature) in models.items():
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=8)
        onnx.checker.check_model(model)
        data = model.SerializeToString()
        described = Manifest(
            name=name,
            version=version,
            task="test",
            signature=signature,
            variants=(Variant("fp32-onnx", "onnx", "fp32", (file_of("model.onnx", data),)),),
            sizes={"N": 1} if any("N" in spec.shape for spec in signature.inputs) else {},
        )
        source = folder / f"{name}-{version}"
        source.mkdir()
        (source / "model.onnx").write_bytes(data)
        (source / MANIFEST).write_bytes(encode(described))
        store.install(source, activate=version == "1.0")
    return store
