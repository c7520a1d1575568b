"""fp32 ONNX -> int8 ONNX: static, quantize-dequantize pairs, a scale for each output channel of the weights.

The file that comes out runs on ONNX Runtime and on OpenVINO alike. Activations are unsigned and weights signed: with both
signed, one of the engines was measured to compute something else.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from edge_runtime.errors import ArtifactError, EdgeError, EngineMissingError, InputError
from edge_runtime.optimize.quantization import Nodes, Progress, Quantization, choose, written
from edge_runtime.values import Tensors

OPSET = 17
"""Models of an operator set below 13, which has no scales by channel, are brought to this one."""


def quantize(
    source: Path,
    target: Path,
    calibration: Sequence[Tensors],
    quantization: Quantization = Quantization(),
    progress: Progress = lambda done, total: None,
) -> Nodes:
    """Write the int8 form of an ONNX file; a `Quantizer`."""
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
    try:
        import onnx
        import onnx.version_converter
        from onnxruntime import quantization
        from onnxruntime.quantization import shape_inference  # noqa: F401  (a submodule that is not there by itself)
    except ImportError as error:
        raise EngineMissingError(
            f"to quantize ONNX, onnx and onnxruntime are needed ({error}): pip install 'edge-runtime[zoo]'"
        ) from error
    return onnx, quantization


def _prepare(onnx: Any, quant: Any, source: Path, plain: Path) -> None:
    """Bring a model to an operator set that can say int8 by channel, with its shapes inferred and its constants folded."""
    try:
        model = onnx.load(str(source))
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


def _convert(quant: Any, plain: Path, done: Path, samples: _Samples, nodes: Nodes, quantization: Quantization) -> None:
    try:
        with redirect_stdout(StringIO()):  # some of its steps are told with print()
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
