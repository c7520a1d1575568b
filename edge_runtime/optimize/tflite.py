"""fp32 TFLite -> int8 TFLite: dynamic range, a scale for each output channel of the weights, activations fp32 in the file.

The engine quantizes an activation when it runs, by the range that it has then: there is nothing to calibrate, and inputs
and outputs stay fp32. With activations quantized in the file they would be int8, and recurrent and attention nets were
measured to be 9 to 66 % off, where this way it was 0.2 to 1.5 %.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import msgspec

from edge_runtime.errors import ArtifactError, EngineMissingError, InputError
from edge_runtime.optimize.quantization import Nodes, Progress, Quantization, choose, written
from edge_runtime.values import Tensors

OPERATORS = {
    "Conv": ("CONV_2D",),
    "ConvTranspose": ("CONV_2D_TRANSPOSE",),
    "Gemm": ("FULLY_CONNECTED",),
    "MatMul": ("FULLY_CONNECTED", "BATCH_MATMUL"),
}
"""ONNX operator -> what ai-edge-quantizer calls those that a converter makes of it. Depthwise convolutions are not among
them: LiteRT was measured to run those five times slower, where it runs other convolutions up to three times faster."""


class _Node(msgspec.Struct, frozen=True):
    name: str
    operator: str
    scope: str
    """What the quantizer matches its patterns with."""


def quantize(
    source: Path,
    target: Path,
    calibration: Sequence[Tensors],
    quantization: Quantization = Quantization(),
    progress: Progress = lambda done, total: None,
) -> Nodes:
    """Write the int8 form of a TFLite file; a `Quantizer`. A node is named by its first output tensor. `calibration` is of
    no use for this form, and may be empty."""
    quantizer, flatbuffer = _packages()
    if unknown := [operator for operator in quantization.operators if operator not in OPERATORS]:
        raise InputError(f"{', '.join(unknown)}: of these there is no int8 in TFLite, only of {', '.join(OPERATORS)}")
    wanted = {known for operator in quantization.operators for known in OPERATORS[operator]}
    progress(0, 2)
    with written(target) as fresh:
        nodes = _nodes(flatbuffer, source, wanted)
        chosen = choose([node.name for node in nodes], quantization)
        progress(1, 2)
        fresh.write_bytes(_converted(quantizer, source, [node for node in nodes if node.name in set(chosen.int8)]))
    progress(2, 2)
    return chosen


def _packages() -> tuple[Any, Any]:
    try:
        from ai_edge_quantizer import quantizer
        from ai_edge_quantizer.utils import tfl_flatbuffer_utils
    except ImportError as error:
        raise EngineMissingError(
            f"to quantize TFLite, ai-edge-quantizer is needed ({error}): pip install 'edge-runtime[zoo]'"
        ) from error
    return quantizer, tfl_flatbuffer_utils


def _nodes(flatbuffer: Any, source: Path, operators: set[str]) -> list[_Node]:
    try:
        return list(_weighted(flatbuffer, flatbuffer.read_model(source.read_bytes()), operators))
    except OSError:
        raise
    except Exception as error:
        raise ArtifactError(f"{source.name} cannot be read as TFLite: {error}") from error


def _weighted(flatbuffer: Any, model: Any, operators: set[str]) -> Iterator[_Node]:
    """The nodes of these operators whose second input is constant: of two activations multiplied, neither is quantized."""
    for graph in model.subgraphs:
        for node in graph.operators:
            operator = flatbuffer.TFL_OP_CODE_TO_NAME.get(model.operatorCodes[node.opcodeIndex].builtinCode)
            if operator in operators and model.buffers[graph.tensors[node.inputs[1]].buffer].data is not None:
                name = flatbuffer.get_tensor_name(graph.tensors[node.outputs[0]])
                yield _Node(name, str(operator.value), flatbuffer.get_op_scope(node, graph.tensors))


def _converted(quantizer: Any, source: Path, nodes: Sequence[_Node]) -> bytes:
    try:
        work = quantizer.Quantizer(str(source))
        for operator in sorted({node.operator for node in nodes}):
            scopes = "|".join(re.escape(node.scope) for node in nodes if node.operator == operator)
            work.add_dynamic_config(f"^(?:{scopes})$", operator, num_bits=8)
        with redirect_stderr(StringIO()):  # its second progress bar cannot be switched off
            done = work.quantize(enable_progress_bar=False, enable_progress_report=False)
        return bytes(done.quantized_model)
    except OSError:
        raise
    except Exception as error:
        raise ArtifactError(f"{source.name} cannot be quantized: {error}") from error
