"""torch -> ONNX and TFLite. The one place that knows torch's exporters; it runs in the zoo's own environment (`make zoo`).

Shapes are fixed, and a batch is one: what recurrent nets unroll by, and what every converter takes.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

from edge_runtime.backends.base import one_line
from edge_runtime.errors import ArtifactError, EngineMissingError
from edge_runtime.signature import Signature, TensorSpec

Exporter: TypeAlias = Literal["torchscript", "dynamo"]
"""torchscript keeps a recurrent layer as one operator; dynamo is torch's newer way, and unrolls a simple RNN."""

OPSET = {"torchscript": 17, "dynamo": 20}


def to_onnx(
    net: Any, signature: Signature, target: Path, exporter: Exporter, sizes: Mapping[str, int] | None = None
) -> None:
    """Write a torch module as ONNX, its tensors named as the signature's. Named dimensions stay open with the torchscript
    exporter, which traces at these sizes. Raises ArtifactError in torch's words."""
    torch = engine()
    sizes = sizes or {}
    options: dict[str, Any] = {"dynamo": False, "dynamic_axes": _open(signature)}
    if exporter == "dynamo":
        options = {"dynamo": True, "external_data": False, "verbose": False}
    try:
        with _quiet():
            torch.onnx.export(
                net, _examples(torch, signature.inputs, sizes), str(target), opset_version=OPSET[exporter],
                input_names=[spec.name for spec in signature.inputs],
                output_names=[spec.name for spec in signature.outputs], **options,
            )  # fmt: skip
    except Exception as error:
        raise ArtifactError(f"torch does not export the net as ONNX: {one_line(error)}") from error


def to_tflite(net: Any, signature: Signature, target: Path) -> dict[str, str]:
    """Write a torch module as TFLite; the signature's name of each tensor -> the file's own. Raises ArtifactError in the
    converter's words."""
    torch = engine()
    try:
        with _quiet():
            import litert_torch

            converted = litert_torch.convert(net, _examples(torch, signature.inputs, {}))
            converted.export(str(target))
    except ImportError as error:
        raise EngineMissingError(f"litert-torch is not installed ({error}): pip install 'edge-runtime[zoo]'") from error
    except Exception as error:
        raise ArtifactError(f"litert-torch does not convert the net: {one_line(error)}") from error
    return _names(target, signature)


def parameters(net: Any) -> int:
    """How many numbers were trained."""
    return sum(parameter.numel() for parameter in net.parameters())


def _names(artifact: Path, signature: Signature) -> dict[str, str]:
    """The converter numbers a net's inputs and outputs in their order, and names the tensors as it likes."""
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(str(artifact)).get_signature_runner()
    inputs, outputs = runner.get_input_details(), runner.get_output_details()
    own = {spec.name: inputs[f"args_{i}"]["name"] for i, spec in enumerate(signature.inputs)}
    return own | {spec.name: outputs[f"output_{i}"]["name"] for i, spec in enumerate(signature.outputs)}


def _examples(torch: Any, specs: Sequence[TensorSpec], sizes: Mapping[str, int]) -> tuple[Any, ...]:
    return tuple(torch.zeros(spec.sized(sizes), dtype=getattr(torch, spec.dtype)) for spec in specs)


def _open(signature: Signature) -> dict[str, dict[int, str]]:
    """The named dimensions of each tensor that has some."""
    named = {
        spec.name: {axis: size for axis, size in enumerate(spec.shape) if isinstance(size, str)}
        for spec in (*signature.inputs, *signature.outputs)
    }
    return {name: axes for name, axes in named.items() if axes}


def engine() -> Any:
    """torch. Raises EngineMissingError where it is not installed."""
    try:
        import torch
    except ImportError as error:
        raise EngineMissingError(
            f"torch is not installed ({error}): run make zoo, or pip install 'edge-runtime[zoo]'"
        ) from error
    return torch


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Both tell much of what they do, and warn of what is meant."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
