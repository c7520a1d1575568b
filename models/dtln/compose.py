"""DTLN's two nets as one streaming ONNX model: the transform, the overlap and the recurrent state are inside.

A call shifts 128 new samples into a window of 512, takes its spectrum, lets the first net mask that, goes back to samples,
lets the second net clean those, and adds the window onto what is left of those before it. The transforms are products with
constant matrices, which every engine takes; the phase is kept by masking the real and the imaginary part alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, pi, sin
from pathlib import Path
from typing import Any

import numpy as np

from edge_runtime.errors import EngineMissingError
from edge_runtime.values import Array

WINDOW, SHIFT = 512, 128
BINS = WINDOW // 2 + 1
FOLDER = "livekit/plugins/dtln/models"
MASK, CLEAN = f"{FOLDER}/model_1.onnx", f"{FOLDER}/model_2.onnx"
LSTM = (1, 2, 128, 2)
"""The state of either net: two layers of 128, hidden and cell."""

STATE = (
    ("window", (1, WINDOW)), ("overlap", (1, WINDOW)), ("mask_state", LSTM), ("clean_state", LSTM),
)  # fmt: skip
INNER = {
    "m_input_2": "magnitude", "m_input_3": "mask_state",
    "m_activation_2": "mask", "m_tf_op_layer_stack_2": "mask_state_out",
    "c_input_4": "masked", "c_input_5": "clean_state",
    "c_conv1d_3": "cleaned", "c_tf_op_layer_stack_5": "clean_state_out",
}  # fmt: skip
"""What the nets' own tensors are called in the whole."""


def make(packages: Path, target: Path) -> None:
    """Write the model. The same two files give the same bytes."""
    try:
        import onnx
        from onnx import compose, helper, numpy_helper
    except ImportError as error:
        raise EngineMissingError(
            f"onnx is needed to compose models ({error}): pip install 'edge-runtime[optimize]'"
        ) from error

    nets = [
        compose.add_prefix(onnx.load(str(packages / path)), prefix).graph for path, prefix in ((MASK, "m_"), (CLEAN, "c_"))
    ]
    for net in nets:
        _rename(net.node)
    tensors = [numpy_helper.from_array(array, name) for name, array in constants().items()]
    graph = helper.make_graph(
        [*_before(helper), *nets[0].node, *_between(helper), *nets[1].node, *_after(helper)],
        "dtln",
        [_value(helper, "audio", (1, SHIFT)), *(_value(helper, name, shape) for name, shape in STATE)],
        [_value(helper, "clean", (1, SHIFT)), *(_value(helper, f"{name}_out", shape) for name, shape in STATE)],
        [*tensors, *nets[0].initializer, *nets[1].initializer],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6, producer_name="edge-runtime"
    )
    onnx.checker.check_model(model)
    target.write_bytes(model.SerializeToString(deterministic=True))


def constants() -> dict[str, Array]:
    """The matrices of the transform of a real window to its spectrum and back, and the bounds of the slices.

    Rounded far below what float32 holds, so that no library's last digit is in the file's bytes.
    """
    turns = [2 * pi * step / WINDOW for step in range(WINDOW)]
    steps = np.outer(np.arange(WINDOW), np.arange(BINS)) % WINDOW
    real = np.array([round(cos(turn), 10) for turn in turns])[steps]
    imaginary = np.array([round(-sin(turn), 10) for turn in turns])[steps]
    weight = np.full((BINS, 1), 2.0)
    weight[[0, -1]] = 1.0  # the others stand for their mirror image too
    matrices = {
        "to_real": real, "to_imaginary": imaginary,
        "from_real": weight * real.T / WINDOW, "from_imaginary": weight * imaginary.T / WINDOW,
        "silence": np.zeros((1, SHIFT)),
    }  # fmt: skip
    bounds = {"zero": 0, "shift": SHIFT, "window_end": WINDOW, "samples": 1}
    return {name: matrix.astype(np.float32) for name, matrix in matrices.items()} | {
        name: np.array([bound], np.int64) for name, bound in bounds.items()
    }


def _before(helper: Any) -> list[Any]:
    node = helper.make_node
    return [
        node("Slice", ["window", "shift", "window_end", "samples"], ["kept"]),
        node("Concat", ["kept", "audio"], ["window_out"], axis=1),
        node("MatMul", ["window_out", "to_real"], ["real"]),
        node("MatMul", ["window_out", "to_imaginary"], ["imaginary"]),
        node("Mul", ["real", "real"], ["real_squared"]),
        node("Mul", ["imaginary", "imaginary"], ["imaginary_squared"]),
        node("Add", ["real_squared", "imaginary_squared"], ["power"]),
        node("Sqrt", ["power"], ["flat_magnitude"]),
        node("Unsqueeze", ["flat_magnitude"], ["magnitude"], axes=[1]),
    ]


def _between(helper: Any) -> list[Any]:
    node = helper.make_node
    return [
        node("Mul", ["real", "mask"], ["masked_real"]),
        node("Mul", ["imaginary", "mask"], ["masked_imaginary"]),
        node("MatMul", ["masked_real", "from_real"], ["samples_of_real"]),
        node("MatMul", ["masked_imaginary", "from_imaginary"], ["samples_of_imaginary"]),
        node("Add", ["samples_of_real", "samples_of_imaginary"], ["masked"]),
    ]


def _after(helper: Any) -> list[Any]:
    node = helper.make_node
    return [
        node("Squeeze", ["cleaned"], ["flat_cleaned"], axes=[1]),
        node("Slice", ["overlap", "shift", "window_end", "samples"], ["left_over"]),
        node("Concat", ["left_over", "silence"], ["shifted"], axis=1),
        node("Add", ["shifted", "flat_cleaned"], ["overlap_out"]),
        node("Slice", ["overlap_out", "zero", "shift", "samples"], ["clean"]),
    ]


def _rename(nodes: Sequence[Any]) -> None:
    for node in nodes:
        for names in (node.input, node.output):
            names[:] = [INNER.get(name, name) for name in names]


def _value(helper: Any, name: str, shape: Sequence[int]) -> Any:
    return helper.make_tensor_value_info(name, 1, shape)
