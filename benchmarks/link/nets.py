"""A net whose input is as large, and whose run takes as long, as a cell of the comparison says: multiplications,
nothing learnt."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from time import perf_counter

import numpy as np

from edge_runtime.bundles.bundle import Bundle
from edge_runtime.bundles.manifest import MANIFEST, File, Manifest, Variant, encode
from edge_runtime.engines import open_best
from edge_runtime.signature import Signature, TensorSpec

WIDTH = 384


def bundle(folder: Path, name: str, size: int, rounds: int) -> Bundle:
    """The bundle: `size` bytes of input, `rounds` multiplications. It is its own partner."""
    folder.mkdir(parents=True, exist_ok=True)
    data = _onnx(size // 4, rounds)
    (folder / "net.onnx").write_bytes(data)
    variant = Variant("fp32-onnx", "onnx", "fp32", (File("net.onnx", sha256(data).hexdigest(), len(data)),))
    manifest = Manifest(
        name=name, version="1.0", task="take time", variants=(variant,), partner=name,
        signature=Signature((TensorSpec("x", "float32", (1, size // 4)),), (TensorSpec("y", "float32", (1, WIDTH)),)),
    )  # fmt: skip
    (folder / MANIFEST).write_bytes(encode(manifest))
    return Bundle(manifest, folder)


def timed(folder: Path, name: str, size: int, seconds: float) -> Bundle:
    """One whose run takes about `seconds` here."""
    one = bundle(folder / "one", name, size, 20)
    session = open_best(one).session
    inputs = {"x": np.zeros((1, size // 4), np.float32)}
    took = []
    for _ in range(30):
        start = perf_counter()
        session.run(inputs)
        took.append(perf_counter() - start)
    session.close()
    return bundle(folder / "timed", name, size, max(1, round(20 * seconds / float(np.median(took)))))


def _onnx(count: int, rounds: int) -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(0)
    weights = numpy_helper.from_array((random.normal(size=(WIDTH, WIDTH)) / WIDTH**0.5).astype(np.float32), "w")
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["mean"], axes=[1], keepdims=1),
        helper.make_node("Add", ["w", "mean"], ["h0"]),
    ]
    for i in range(rounds):
        nodes += [
            helper.make_node("MatMul", [f"h{i}", "w"], [f"m{i}"]),
            helper.make_node("Tanh", [f"m{i}"], [f"h{i + 1}"]),
        ]
    nodes.append(helper.make_node("ReduceMean", [f"h{rounds}"], ["y"], axes=[0], keepdims=1))  # a small answer
    graph = helper.make_graph(
        nodes, "time",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, count])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, WIDTH])],
        [weights],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return bytes(model.SerializeToString())
