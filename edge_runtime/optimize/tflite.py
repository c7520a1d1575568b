"""fp32 TFLite -> int8 TFLite, with a scale for each output channel of the weights: dynamic range, or static.

Dynamic range keeps activations fp32 in the file: the engine quantizes one when it runs, by the range that it has then.
There is nothing to calibrate, and inputs and outputs stay fp32. Static has activations in int8 by the ranges of the
calibration, and the inputs and outputs with them: recurrent and attention nets were measured to be 9 to 66 % off, where
dynamic range was 0.2 to 1.5 % off.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import msgspec

from edge_runtime.errors import ArtifactError, EngineMissingError, InputError
from edge_runtime.optimize.quantization import Control, Counted, Nodes, Progress, Quantization, choose, written
from edge_runtime.signature import Scale
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
    control: Control | None = None,
) -> Nodes:
    """Write the dynamic-range int8 form of a TFLite file; a `Quantizer`. A node is named by its first output
    tensor. `calibration` is of no use for this form, and may be empty."""
    quantizer, flatbuffer = _packages()
    wanted = _operators(quantization)
    progress(0, 2)
    with written(target) as fresh:
        nodes = _nodes(flatbuffer, source, wanted)
        chosen = choose([node.name for node in nodes], quantization)
        progress(1, 2)
        fresh.write_bytes(_converted(quantizer, source, [node for node in nodes if node.name in set(chosen.int8)]))
    progress(2, 2)
    return chosen


def quantize_static(
    source: Path,
    target: Path,
    calibration: Sequence[Tensors],
    quantization: Quantization = Quantization(),
    progress: Progress = lambda done, total: None,
    control: Control | None = None,
) -> Nodes:
    """Write the static int8 form of a TFLite file; a `Quantizer`. All that the tool knows becomes int8 but the excluded
    nodes, whatever operators are asked for: between int8 and fp32 each activation would be converted. Inputs and outputs
    become int8 where a node next to them does: see `stored`."""
    quantizer, flatbuffer = _packages()
    wanted = _operators(quantization)
    if not calibration:
        raise InputError("no samples to calibrate with were given")
    steps = len(calibration) + 2
    progress(0, steps)
    with written(target) as fresh:
        nodes = _nodes(flatbuffer, source, wanted)
        chosen = choose([node.name for node in nodes], quantization)
        key, arguments = _entry(flatbuffer, source)
        named = [{arguments[own]: array for own, array in sample.items()} for sample in calibration]
        left = [node for node in nodes if node.name in set(chosen.fp32)]
        # It counts the samples first.
        data = {key: Counted(named, lambda done: progress(1 + done, steps), silent=1)}
        progress(1, steps)
        fresh.write_bytes(_static(quantizer, source, data, left))
    progress(steps, steps)
    return chosen


def stored(source: Path, target: Path) -> tuple[dict[str, str], dict[str, Scale]]:
    """How the inputs and outputs of a quantized file differ from those of the file that it was made of. By the name there:
    the names here of those whose name changed, and the scales of those that are int8 here."""
    _, flatbuffer = _packages()
    renamed: dict[str, str] = {}
    scales: dict[str, Scale] = {}
    for before, after in zip(_ends(flatbuffer, source), _ends(flatbuffer, target), strict=True):
        old, new = flatbuffer.get_tensor_name(before), flatbuffer.get_tensor_name(after)
        if old != new:
            renamed[old] = new
        if after.type != before.type:
            scale, zero_point = after.quantization.scale, after.quantization.zeroPoint
            scales[old] = Scale("int8", float(scale[0]), int(zero_point[0]))
    return renamed, scales


def _ends(flatbuffer: Any, path: Path) -> list[Any]:
    graph = _read(flatbuffer, path).subgraphs[0]
    return [graph.tensors[index] for index in (*graph.inputs, *graph.outputs)]


def _entry(flatbuffer: Any, source: Path) -> tuple[str, dict[str, str]]:
    """The key of a file's signature, and by a tensor's name the argument that it is there."""
    model = _read(flatbuffer, source)
    if not model.signatureDefs:
        raise ArtifactError(f"{source.name} has no signature to calibrate it by: convert the model again, with one")
    entry, tensors = model.signatureDefs[0], model.subgraphs[0].tensors
    arguments = {flatbuffer.get_tensor_name(tensors[row.tensorIndex]): row.name.decode() for row in entry.inputs}
    return entry.signatureKey.decode(), arguments


def _static(quantizer: Any, source: Path, data: dict[str, Counted], left: Sequence[_Node]) -> bytes:
    from ai_edge_quantizer import algorithm_manager, calibrator, recipe, recipe_manager
    from ai_edge_quantizer.utils import qsv_utils

    try:
        work = quantizer.Quantizer(str(source), recipe.static_wi8_ai8())
        for node in left:
            work.update_quantization_recipe(
                f"^{re.escape(node.scope)}$", node.operator, algorithm_key=algorithm_manager.AlgorithmName.NO_QUANTIZE
            )
        # Its progress bars cannot be switched off, and it warns of the memory that its own way to calibrate takes.
        with redirect_stderr(StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            rules = recipe_manager.RecipeManager()
            rules.load_quantization_recipe(work.get_quantization_recipe())
            # All that was seen, as for ONNX: the tool's own moving average forgets most of the samples.
            seen = calibrator.Calibrator(str(source), num_threads=1, qsv_update_func=qsv_utils.min_max_update)
            seen.calibrate(data, rules)
            ranges = seen.get_model_qsvs()
            done = work.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
        return bytes(done.quantized_model)
    except OSError:
        raise
    except Exception as error:
        raise ArtifactError(f"{source.name} cannot be quantized: {error}") from error


def _operators(quantization: Quantization) -> set[str]:
    if unknown := [operator for operator in quantization.operators if operator not in OPERATORS]:
        raise InputError(f"{', '.join(unknown)}: of these there is no int8 in TFLite, only of {', '.join(OPERATORS)}")
    return {known for operator in quantization.operators for known in OPERATORS[operator]}


def _packages() -> tuple[Any, Any]:
    try:
        from ai_edge_quantizer import quantizer
        from ai_edge_quantizer.utils import tfl_flatbuffer_utils
    except ImportError as error:
        raise EngineMissingError(
            f"to quantize TFLite, ai-edge-quantizer is needed ({error}): pip install 'edge-runtime[optimize]'"
        ) from error
    return quantizer, tfl_flatbuffer_utils


def _nodes(flatbuffer: Any, source: Path, operators: set[str]) -> list[_Node]:
    try:
        return list(_weighted(flatbuffer, _read(flatbuffer, source), operators))
    except (OSError, ArtifactError):
        raise
    except Exception as error:
        raise ArtifactError(f"{source.name} cannot be read as TFLite: {error}") from error


def _read(flatbuffer: Any, source: Path) -> Any:
    try:
        return flatbuffer.read_model(source.read_bytes())
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
