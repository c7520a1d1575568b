"""fp32 ONNX -> fp32 OpenVINO IR; fp32 IR or ONNX -> int8 IR by NNCF, which can keep an eye on the accuracy itself.

An IR is an `.xml` file with the weights in a `.bin` file beside it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from edge_runtime.backends import openvino as engine
from edge_runtime.backends import openvino_engine
from edge_runtime.backends.base import Session
from edge_runtime.errors import ArtifactError, EdgeError, EngineMissingError, InputError
from edge_runtime.optimize.quantization import Control, Counted, Nodes, Progress, Quantization, choose, written
from edge_runtime.values import Settings, Tensors

OPERATORS = {
    "Convolution": "Conv",
    "GroupConvolution": "Conv",
    "ConvolutionBackpropData": "ConvTranspose",
    "GroupConvolutionBackpropData": "ConvTranspose",
    "MatMul": "MatMul",
    "LSTMSequence": "LSTM",
    "GRUSequence": "GRU",
    "RNNSequence": "RNN",
}
"""OpenVINO's operator -> the ONNX operator that it is made of (a MatMul, of a Gemm as well)."""
ROUNDS = 20
"""Nodes that NNCF may take back to fp32 for the accuracy's sake, at most: each costs one run over all that judges."""

_NUMBERED = re.compile(r"(\w+?)_\d+")
_PART = "/WithoutBiases"
"""What the engine adds to a node's name where it makes two of one with a bias."""


def convert(
    source: Path,
    target: Path,
    calibration: Sequence[Tensors],
    quantization: Quantization = Quantization(),
    progress: Progress = lambda done, total: None,
    control: Control | None = None,
) -> Nodes:
    """Write an ONNX file as fp32 IR; a `Quantizer` that quantizes nothing."""
    progress(0, 1)
    with written(target) as fresh:
        _save(engine.read(source), fresh)
    progress(1, 1)
    return Nodes(())


def quantize(
    source: Path,
    target: Path,
    calibration: Sequence[Tensors],
    quantization: Quantization = Quantization(),
    progress: Progress = lambda done, total: None,
    control: Control | None = None,
) -> Nodes:
    """Write the int8 IR of an ONNX file or an fp32 IR; a `Quantizer`. With `control`, and where plain int8 is not
    right enough, nodes that cost too much accuracy stay fp32. A net with attention is quantized in NNCF's way for
    transformers."""
    nncf = _package()
    if not calibration:
        raise InputError("no samples to calibrate with were given")
    steps = len(calibration) + 2
    progress(0, steps)
    with written(target) as fresh:
        model = engine.read(source)
        weighted = {node.get_friendly_name(): OPERATORS.get(node.get_type_name()) for node in model.get_ordered_ops()}
        wanted = set(quantization.operators) | ({"MatMul"} if "Gemm" in quantization.operators else set())
        known = {name.removesuffix(_PART): name for name, operator in weighted.items() if operator in wanted}
        nodes = choose(list(known), quantization)
        progress(1, steps)
        seen = Counted(calibration, lambda count: progress(1 + count, steps))
        _save(_quantized(nncf, model, source, seen, [known[name] for name in nodes.fp32], control), fresh)
    progress(steps, steps)
    return nodes


def _package() -> Any:
    try:
        with engine.without_telemetry():
            import nncf
    except ImportError as error:
        raise EngineMissingError(
            f"to quantize for OpenVINO, nncf is needed ({error}): pip install 'edge-runtime[optimize]'"
        ) from error
    logging.getLogger("nncf").setLevel(logging.CRITICAL)  # its own set_log_level changes everybody's handlers on the way
    return nncf


def _quantized(
    nncf: Any, model: Any, source: Path, seen: Counted, left: Sequence[str], control: Control | None
) -> Any:  # fmt: skip
    options = {
        "subset_size": len(seen),
        "model_type": nncf.ModelType.TRANSFORMER if _has_attention(model) else None,
        "ignored_scope": nncf.IgnoredScope(names=list(left)) if left else None,
    }
    # All that was seen, as for ONNX: the tool's own mean of the samples' ranges cuts off the ends of nearly all.
    ranges = nncf.AdvancedQuantizationParameters(
        activations_range_estimator_params=nncf.quantization.range_estimator.RangeEstimatorParametersSet.MINMAX
    )
    data, output = nncf.Dataset(seen), StringIO()
    try:
        with redirect_stdout(output):  # its progress bars cannot be switched off
            plain = nncf.quantize(model, data, advanced_parameters=ranges, **options)
            # Its control takes the accuracy four times before it begins: most often plain int8 is right enough.
            if control is None or control.score(_session(plain, source, control)) >= control.least:
                return plain
            return nncf.quantize_with_accuracy_control(
                engine.read(source),
                data,
                nncf.Dataset(seen),
                _validation(control),
                max_drop=control.max_drop,
                drop_type=nncf.DropType.ABSOLUTE,
                advanced_quantization_parameters=ranges,
                advanced_accuracy_restorer_parameters=nncf.AdvancedAccuracyRestorerParameters(max_num_iterations=ROUNDS),
                **options,
            )
    except (OSError, EdgeError):
        raise
    except Exception as error:
        raise ArtifactError(f"{source.name} cannot be quantized: {error}") from error


def _validation(control: Control) -> Callable[[Any, Iterable[Tensors]], tuple[float, list[list[Any]]]]:
    """The accuracy of a compiled model; and its outputs for these samples, by which NNCF ranks the nodes. Without them it
    would take the accuracy once for each of the samples instead."""

    def validate(compiled: Any, samples: Iterable[Tensors]) -> tuple[float, list[list[Any]]]:
        session = engine.session_of(compiled, control.signature, control.names)
        outputs = [list(compiled(dict(sample)).to_dict().values()) for sample in samples]
        return control.score(session), outputs

    return validate


def _session(model: Any, source: Path, control: Control) -> Session:
    """As the runtime will run it: also where int8 kernels would saturate."""
    compiled = openvino_engine.compile(model, source, "CPU", Settings(hint="f32"))
    return engine.session_of(compiled, control.signature, control.names)


def _has_attention(model: Any) -> bool:
    """Whether it has a softmax, and a product of two activations."""
    nodes = model.get_ordered_ops()
    products = (node for node in nodes if node.get_type_name() == "MatMul")
    softmax = any(node.get_type_name() in ("Softmax", "LogSoftmax") for node in nodes)
    attention = any(node.get_type_name() == "ScaledDotProductAttention" for node in nodes)
    return attention or (softmax and any(not _constant(value) for node in products for value in node.inputs()[1:]))


def _constant(value: Any) -> bool:
    """Whether this input of a node is made of constants alone."""
    node = value.get_source_output().get_node()
    if node.get_type_name() == "Constant":
        return True
    return bool(node.inputs()) and all(_constant(inside) for inside in node.inputs())


def _save(model: Any, fresh: Path) -> None:
    import openvino

    # Names that the engine made up count from where this process has come: without this no two files are the same.
    for number, node in enumerate(model.get_ordered_ops()):
        made_up = _NUMBERED.fullmatch(node.get_friendly_name())
        if made_up and made_up[1] == node.get_type_name():
            node.set_friendly_name(f"{made_up[1]}_{number}")
    try:
        openvino.save_model(model, str(fresh), compress_to_fp16=False)
    except OSError:
        raise
    except Exception as error:
        raise ArtifactError(f"the model cannot be saved as OpenVINO IR: {error}") from error
