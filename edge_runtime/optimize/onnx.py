"""fp32 ONNX -> int8 ONNX, with a scale for each output channel of the weights: static or dynamic; and pruned fp32.

Static has quantize-dequantize pairs, with ranges from the calibration; dynamic quantizes an activation when it runs, by the
range that it has then. The files run on ONNX Runtime and on OpenVINO alike. Activations are unsigned and weights signed:
with both signed, one of the engines was measured to compute something else.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np

from edge_runtime.backends import onnx as engine
from edge_runtime.errors import ArtifactError, EdgeError, EngineMissingError, InputError
from edge_runtime.optimize.quantization import Control, Nodes, Progress, Quantization, choose, written
from edge_runtime.values import Tensors

OPSET = 17
"""Models of an operator set below 13, which has no scales by channel, are brought to this one."""


def quantize(
    source: Path,
    target: Path,
    calibration: Sequence[Tensors],
    quantization: Quantization = Quantization(),
    progress: Progress = lambda done, total: None,
    control: Control | None = None,
) -> Nodes:
    """Write the static int8 form of an ONNX file; a `Quantizer`."""
    onnx, quant = _packages()
    if not calibration:
        raise InputError("no samples to calibrate with were given")
    steps = len(calibration) + 2
    progress(0, steps)
    with written(target) as fresh:
        plain = fresh.with_name(f"plain-{fresh.name}")
        _prepare(onnx, quant, source, plain)
        weighted = [node.name for node in onnx.load(str(plain)).graph.node if node.op_type in quantization.operators]
        nodes = choose(weighted, quantization)
        progress(1, steps)
        samples = _Samples(calibration, lambda count: progress(count + 2, steps))
        _convert(quant, plain, fresh, samples, nodes, quantization)
    progress(steps, steps)
    return nodes


def quantize_dynamic(
    source: Path,
    target: Path,
    calibration: Sequence[Tensors],
    quantization: Quantization = Quantization(),
    progress: Progress = lambda done, total: None,
    control: Control | None = None,
) -> Nodes:
    """Write the dynamic int8 form of an ONNX file; a `Quantizer`. `calibration` is of no use for it, and may be empty."""
    onnx, quant = _packages()
    progress(0, 2)
    with written(target) as fresh:
        plain = fresh.with_name(f"plain-{fresh.name}")
        _prepare(onnx, quant, source, plain)
        model = onnx.load(str(plain))
        # Shapes that an exporter wrote down contradict those that are inferred once weights are int8.
        del model.graph.value_info[:]
        nodes = choose([node.name for node in model.graph.node if node.op_type in quantization.operators], quantization)
        progress(1, 2)
        _convert_dynamic(quant, model, fresh, nodes, quantization)
    progress(2, 2)
    return nodes


def prune(
    source: Path,
    target: Path,
    calibration: Sequence[Tensors],
    quantization: Quantization = Quantization(),
    progress: Progress = lambda done, total: None,
    control: Control | None = None,
) -> Nodes:
    """Write an ONNX file again with `quantization.prune` of each node's weights, the smallest, set to zero; a `Quantizer`.
    It stays fp32. A weight that several nodes share is pruned once."""
    onnx, _ = _packages()
    progress(0, 1)
    with written(target) as fresh:
        model = _loaded(onnx, source)
        constants = {tensor.name: tensor for tensor in model.graph.initializer}
        weighted = {
            node.name or node.output[0]: name
            for node in model.graph.node
            if (name := _weight(node, constants, quantization))
        }
        nodes = choose(list(weighted), quantization)
        for name in sorted({weighted[node] for node in nodes.int8}):
            weights = onnx.numpy_helper.to_array(constants[name])
            small = np.argsort(np.abs(weights), axis=None, kind="stable")[: int(quantization.prune * weights.size)]
            kept = weights.copy()
            kept.reshape(-1)[small] = 0
            constants[name].CopyFrom(onnx.numpy_helper.from_array(kept, name))
        onnx.save(model, str(fresh))
    progress(1, 1)
    return nodes


def _weight(node: Any, constants: dict[str, Any], quantization: Quantization) -> str | None:
    """The float constant that is this node's weights, if it is one with weights."""
    if node.op_type not in quantization.operators or len(node.input) < 2:
        return None
    return next((name for name in node.input[:2] if name in constants and constants[name].data_type == 1), None)


class _Samples:
    """The calibration data as onnxruntime asks for it."""

    def __init__(self, samples: Sequence[Tensors], seen: Callable[[int], None]) -> None:
        self._samples = iter(enumerate(samples))
        self._seen = seen
        self._stdout = sys.stdout

    def get_next(self) -> dict[str, Any] | None:
        for count, sample in self._samples:
            with redirect_stdout(self._stdout):
                self._seen(count)
            return dict(sample)
        return None


def _packages() -> tuple[Any, Any]:
    next(engine.BACKEND.devices(), None)  # imports the engine, with its telemetry off
    try:
        import onnx
        import onnx.numpy_helper
        import onnx.version_converter
        from onnxruntime import quantization
        from onnxruntime.quantization import shape_inference  # noqa: F401  (a submodule that is not there by itself)
    except ImportError as error:
        raise EngineMissingError(
            f"to quantize ONNX, onnx and onnxruntime are needed ({error}): pip install 'edge-runtime[optimize]'"
        ) from error
    return onnx, quantization


def _prepare(onnx: Any, quant: Any, source: Path, plain: Path) -> None:
    """Bring a model to an operator set that can say int8 by channel, with its shapes inferred and its constants folded."""
    model = _loaded(onnx, source)
    try:
        opset = max((known.version for known in model.opset_import if known.domain in ("", "ai.onnx")), default=0)
        if opset < 13:
            model = onnx.version_converter.convert_version(model, OPSET)
        newer = plain.with_name("newer.onnx")
        onnx.save(model, str(newer))
        # Symbolic inference adds nothing that these operators need, and fails on models that the plain one takes.
        quant.shape_inference.quant_pre_process(str(newer), str(plain), skip_symbolic_shape=True)
    except OSError:
        raise
    except Exception as error:
        raise ArtifactError(f"{source.name} cannot be prepared for int8: {error}") from error


def _loaded(onnx: Any, source: Path) -> Any:
    try:
        return onnx.load(str(source))
    except OSError:
        raise
    except Exception as error:
        raise ArtifactError(f"{source.name} cannot be read as ONNX: {error}") from error


def _convert_dynamic(quant: Any, model: Any, done: Path, nodes: Nodes, quantization: Quantization) -> None:
    try:
        with redirect_stdout(StringIO()), _quiet():
            quant.quantize_dynamic(
                model,
                str(done),
                op_types_to_quantize=list(quantization.operators),
                per_channel=True,
                weight_type=quant.QuantType.QInt8,
                nodes_to_exclude=list(nodes.fp32),
                extra_options={"MatMulConstBOnly": True},
            )
    except (OSError, EdgeError):
        raise
    except Exception as error:
        raise ArtifactError(f"the model cannot be quantized: {error}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the log of a tool that advises, on the root logger, what was done here already."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _convert(quant: Any, plain: Path, done: Path, samples: _Samples, nodes: Nodes, quantization: Quantization) -> None:
    try:
        with redirect_stdout(StringIO()), _quiet():  # some of its steps are told with print()
            quant.quantize_static(
                str(plain),
                str(done),
                samples,
                quant_format=quant.QuantFormat.QDQ,
                per_channel=True,
                activation_type=quant.QuantType.QUInt8,
                weight_type=quant.QuantType.QInt8,
                op_types_to_quantize=list(quantization.operators),
                nodes_to_exclude=list(nodes.fp32),
                calibrate_method=quant.CalibrationMethod.MinMax,
                # MinMax covers all that was seen: clipping was measured to help one model a little and ruin another.
                # Of two activations multiplied, as in attention, neither is quantized.
                extra_options={"MatMulConstBOnly": True},
            )
    except (OSError, EdgeError):
        raise
    except Exception as error:
        raise ArtifactError(f"the model cannot be quantized: {error}") from error
