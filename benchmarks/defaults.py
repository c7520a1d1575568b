"""Each engine left alone: its own public API as its user would write it, nothing set.

`python -m benchmarks.defaults` is a candidate's process like `edge_runtime.bench.worker`, for `bench.process.Worker`: what
the runtime chooses is held against it, in turns, from process to process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from edge_runtime.bench.worker import Request, main
from edge_runtime.errors import RunError
from edge_runtime.signature import Signature
from edge_runtime.values import Array, Device, Settings, Tensors

Call: TypeAlias = Callable[[Tensors], dict[str, Array]]
"""An engine's own call: inputs and outputs by the artifact's names."""


class Plain:
    """A model behind an engine's own call, its tensors by the artifact's names."""

    def __init__(
        self, signature: Signature, names: Mapping[str, str], call: Callable[[Tensors], Mapping[str, Array]]
    ) -> None:
        self.device = Device("", "CPU")
        self._call = call
        self._inputs = [(spec.name, names.get(spec.name, spec.name)) for spec in signature.inputs]
        self._outputs = [(spec.name, names.get(spec.name, spec.name)) for spec in signature.outputs]
        self._signature = signature

    def run(self, inputs: Tensors) -> dict[str, Array]:
        found = self._call({own: inputs[name] for name, own in self._inputs})
        return {name: found[own] for name, own in self._outputs}

    def stream(self) -> Carried:
        return Carried(self, self._signature)


class Carried:
    """Its state carried by hand: each output of it is the input of the next call."""

    def __init__(self, plain: Plain, signature: Signature) -> None:
        self._plain = plain
        self._pairs = [(pair.input, pair.output) for pair in signature.state]
        self._state: Tensors = signature.zeros({})

    def run(self, inputs: Tensors) -> dict[str, Array]:
        outputs = self._plain.run({**inputs, **self._state})
        self._state = {source: outputs[sink] for source, sink in self._pairs}
        return outputs


class Defaults:
    """The three engines."""

    def prepare(self, request: Request) -> None:
        if request.settings != Settings() or request.quantized:
            raise RunError("an engine left alone has no settings, and takes its tensors as they are")
        _IMPORTS[request.backend]()

    def load(self, request: Request) -> Plain:
        return Plain(request.signature, request.names, _LOADERS[request.backend](request.artifact))


def _onnx(artifact: str) -> Call:
    import onnxruntime

    session = onnxruntime.InferenceSession(artifact, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda inputs: dict(zip(names, session.run(None, dict(inputs)), strict=True))


def _openvino(artifact: str) -> Call:
    import openvino

    compiled = openvino.Core().compile_model(artifact, "CPU")
    ports = [(name, port) for port in compiled.outputs for name in port.get_names()]

    def call(inputs: Tensors) -> dict[str, Array]:
        found = compiled(dict(inputs))
        return {name: found[port] for name, port in ports}

    return call


def _tflite(artifact: str) -> Call:
    from ai_edge_litert.interpreter import Interpreter

    interpreter: Any = Interpreter(artifact)
    interpreter.allocate_tensors()
    inputs_ = {detail["name"]: detail for detail in interpreter.get_input_details()}
    outputs_ = [(detail["name"], detail["index"]) for detail in interpreter.get_output_details()]
    shapes = {name: tuple(detail["shape"]) for name, detail in inputs_.items()}

    def call(inputs: Tensors) -> dict[str, Array]:
        if any(shapes[name] != array.shape for name, array in inputs.items()):
            for name, array in inputs.items():
                interpreter.resize_tensor_input(inputs_[name]["index"], array.shape)
                shapes[name] = array.shape
            interpreter.allocate_tensors()
        for name, array in inputs.items():
            interpreter.set_tensor(inputs_[name]["index"], array)
        interpreter.invoke()
        return {name: interpreter.get_tensor(index) for name, index in outputs_}

    return call


def _import_onnx() -> None:
    import onnxruntime  # noqa: F401  (its import is what is timed)


def _import_openvino() -> None:
    import openvino  # noqa: F401


def _import_tflite() -> None:
    from ai_edge_litert.interpreter import Interpreter  # noqa: F401


_IMPORTS: dict[str, Callable[[], None]] = {"onnx": _import_onnx, "openvino": _import_openvino, "tflite": _import_tflite}
_LOADERS: dict[str, Callable[[str], Call]] = {
    "onnx": _onnx, "openvino": _openvino, "tflite": _tflite
}  # fmt: skip

if __name__ == "__main__":
    main(Defaults())
