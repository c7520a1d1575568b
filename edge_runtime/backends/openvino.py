"""OpenVINO: Intel and Arm CPUs, Intel GPUs and NPUs. It runs ONNX files and its own IR (an .xml with a .bin beside it)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any, TypeAlias

import numpy as np

from edge_runtime.backends import base
from edge_runtime.errors import ArtifactError, DeviceMissingError, EngineMissingError, RunError
from edge_runtime.signature import Signature, TensorSpec
from edge_runtime.values import Array, Device, Settings, Tensors

READERS = {".onnx": "onnx", ".xml": "ir"}
"""The engine's reader for each kind of file. Left to itself it tries all it has on a file that is none of theirs."""

HINTS: dict[str, Any] = {
    "PERFORMANCE_HINT": "LATENCY",
    # A variant has the precision that it was measured with: otherwise fp32 becomes bf16 on a CPU that has it (4e-2 off on
    # basic-pitch, where fp32 is 1e-6 off), and fp16 on a GPU.
    "EXECUTION_MODE_HINT": "ACCURACY",
}
# Threads pinned to cores gain nothing on an idle machine and quadruple the 99th percentile on a busy one.
CPU_HINTS: dict[str, Any] = {"ENABLE_CPU_PINNING": False}

DTYPES = {
    "boolean": "bool", "f16": "float16", "f32": "float32", "f64": "float64", "i8": "int8", "i16": "int16",
    "i32": "int32", "i64": "int64", "u8": "uint8", "u16": "uint16", "u32": "uint32", "u64": "uint64",
}  # fmt: skip

Row: TypeAlias = tuple[str, int]
"""The signature's name of a tensor, and the engine's index."""


OBEYED = {"threads": "CPU"}


class OpenvinoBackend:
    """Runs ONNX and OpenVINO IR files with openvino."""

    name = "openvino"
    formats = ("onnx", "openvino")

    def devices(self) -> Iterator[Device]:
        try:
            core = _core()
        except EngineMissingError:
            return
        yield _device(core, "CPU")  # it is always there, and to ask for all loads the libraries of all
        yield from (_device(core, name) for name in core.available_devices if name != "CPU")

    def tunings(self, device: Device, cores: int, signature: Signature, sizes: Mapping[str, int]) -> Iterator[Settings]:
        yield Settings()

    def load(
        self,
        artifact: Path,
        *,
        device: str = "CPU",
        settings: Settings = Settings(),
        signature: Signature | None = None,
        names: Mapping[str, str] | None = None,
        cache: Path | None = None,
    ) -> base.Session:
        core = _core()
        base.check_settings(self.name, device, settings, OBEYED)
        base.refuse_hidden(artifact, signature, "openvino")
        # The CPU is always there, and listing devices loads the libraries of all.
        if device != "CPU" and device not in core.available_devices:
            raise DeviceMissingError(f"openvino has no device {device!r} here; it has {', '.join(core.available_devices)}")
        model = _read(core, artifact)
        if model.get_variables():
            raise ArtifactError(f"{artifact.name} hides its state inside; export it with the state as inputs and outputs")
        inputs, outputs = _ports(model, signature, names)
        found = base.reconcile(artifact, base.told(artifact, inputs, outputs), signature, names)
        rows = _rows(found.inputs, names, inputs), _rows(found.outputs, names, outputs)

        def program(model: Any) -> _Program:
            return _Program(_compile(core, model, artifact, device, settings), *rows)

        first = program(model)
        return OpenvinoSession(found, _device(core, first.device), first, lambda: program(_read(core, artifact)))


def read(artifact: Path) -> Any:
    """The engine's own form of an ONNX or IR file, for its tools. Raises EngineMissingError, ArtifactError."""
    return _read(_core(), artifact)


def session_of(compiled: Any, signature: Signature, names: Mapping[str, str]) -> OpenvinoSession:
    """A session of a model that one of the engine's tools has compiled, for the CPU."""
    inputs, outputs = _ports(compiled, signature, names)

    def program() -> _Program:
        return _Program(compiled, _rows(signature.inputs, names, inputs), _rows(signature.outputs, names, outputs))

    return OpenvinoSession(signature, _device(_core(), "CPU"), program(), program)


class OpenvinoSession:
    """A loaded model. Runs from several threads wait for each other, as they would inside the engine: asked for low latency
    it runs one at a time.

    A program with dynamic shapes that has failed is thrown away and compiled again: the engine (2026.4) keeps shapes of the
    failed run inside, and then fails the next run too, or gives it the failed run's batch size.
    """

    def __init__(self, signature: Signature, device: Device, program: _Program, compile: Callable[[], _Program]) -> None:
        self.signature = signature
        self.device = device
        self._lock = Lock()
        self._program: _Program | None = program
        self._compile = compile
        self._closed = False

    def run(self, inputs: Tensors) -> dict[str, Array]:
        with self._lock:
            program = self._program or self._compiled()
            try:
                return program.run(inputs)
            except Exception as error:
                if program.dynamic:
                    self._program = None
                    with suppress(RunError):  # if it cannot be compiled now, the next run tries again and tells
                        self._compiled()
                raise base.run_error(self.device, error) from error

    def _compiled(self) -> _Program:
        if self._closed:
            raise base.closed_error(self.device)
        try:
            self._program = self._compile()
        except Exception as error:
            raise base.run_error(self.device, error) from error
        return self._program

    def stream(self) -> base.StateStream:
        return base.StateStream(self)

    def close(self) -> None:
        with self._lock:
            self._program = None
            self._closed = True


class _Program:
    """A compiled model with its infer request, and views of the tensors that the request owns.

    Copying into and out of those views takes half the time of the engine's other ways for small tensors, and about 1 % of
    a run for large ones. It takes any strides, and the engine never holds the caller's memory.
    """

    def __init__(self, compiled: Any, inputs: list[Row], outputs: list[Row]) -> None:
        request = compiled.create_infer_request()
        self.device: str = compiled.get_property("EXECUTION_DEVICES")[0]
        self.dynamic = not all(port.partial_shape.is_static for port in compiled.inputs)
        self._request = request
        self._inputs = inputs
        self._views = [request.get_input_tensor(index).data for _, index in inputs]
        self._wide = [row[0] for row, view in zip(inputs, self._views, strict=True) if view.dtype in (np.int64, np.uint64)]
        self._outputs: list[tuple[str, Array | None, int]] = [
            (
                name,
                request.get_output_tensor(index).data if compiled.outputs[index].partial_shape.is_static else None,
                index,
            )
            for name, index in outputs
        ]

    def run(self, inputs: Tensors) -> dict[str, Array]:
        request, views = self._request, self._views
        for name in self._wide:
            _check_narrow(name, inputs[name])
        for i, (name, index) in enumerate(self._inputs):
            array = inputs[name]
            if views[i].shape != array.shape:
                tensor = request.get_input_tensor(index)
                tensor.shape = array.shape
                views[i] = tensor.data
            np.copyto(views[i], array, casting="no")
        request.infer(share_outputs=True)
        return {
            name: (request.get_output_tensor(index).data if view is None else view).copy()
            for name, view, index in self._outputs
        }


_INT32 = np.iinfo(np.int32)


def _check_narrow(name: str, array: Array) -> None:
    """The engine computes 64-bit integers in 32 bits, and would cut larger values off without a word."""
    if array.size and (array.max() > _INT32.max or array.min() < _INT32.min):
        raise OverflowError(f"input {name!r} has values past 32 bits, and openvino computes integers in 32 bits")


@contextmanager
def without_telemetry() -> Iterator[None]:
    """What is imported in here does not find the vendor's telemetry package. Left alone, importing the engine is enough to
    send an event over the network and to leave a client's id in the home folder; its only switch is a file there."""
    package = "openvino_telemetry"
    hide = package not in sys.modules
    if hide:
        sys.modules[package] = None  # type: ignore[assignment]  # to the import system, a package that is not installed
    try:
        yield
    finally:
        if hide:
            del sys.modules[package]


@cache
def _core() -> Any:
    try:
        with without_telemetry():
            import openvino
    except ImportError as error:
        raise EngineMissingError(f"openvino is not installed ({error}): pip install 'edge-runtime[openvino]'") from error
    return openvino.Core()


def _read(core: Any, artifact: Path) -> Any:
    from openvino.frontend import FrontEndManager

    reader = READERS.get(artifact.suffix)
    if reader is None:
        raise ArtifactError(f"openvino does not know what {artifact.name} is; it reads {', '.join(READERS)} files")
    try:
        if FrontEndManager().load_by_framework(reader).supported(str(artifact)):
            return core.read_model(str(artifact))
    except Exception as error:
        raise ArtifactError(f"openvino does not load {artifact.name}: {base.one_line(error)}") from error
    raise ArtifactError(f"{artifact.name} is not what its suffix says: openvino's {reader!r} reader refuses it")


def _compile(core: Any, model: Any, artifact: Path, device: str, settings: Settings) -> Any:
    hints = HINTS | (CPU_HINTS if device == "CPU" else {})
    if settings.threads is not None:
        hints["INFERENCE_NUM_THREADS"] = settings.threads
    try:
        compiled = core.compile_model(model, device, hints)
    except Exception as error:
        kind = ArtifactError if device == "CPU" else DeviceMissingError
        raise kind(f"openvino does not compile {artifact.name} for {device}: {base.one_line(error)}") from error
    landed = list(compiled.get_property("EXECUTION_DEVICES"))
    if landed not in ([device], [f"{device}.0"]):
        raise DeviceMissingError(f"{artifact.name} was to run on {device}, but landed on {', '.join(landed)}")
    return compiled


def _device(core: Any, name: str) -> Device:
    import openvino

    description = str(core.get_property(name, "FULL_DEVICE_NAME"))
    return Device(OpenvinoBackend.name, name, description, f"openvino {openvino.__version__.split('-')[0]}")


def _ports(
    model: Any, signature: Signature | None, names: Mapping[str, str] | None
) -> tuple[list[base.Told], list[base.Told]]:
    """What the engine tells of a model's inputs and outputs, by the names that are asked for."""
    specs = () if signature is None else signature.inputs + signature.outputs
    wanted = {own for _, own in base.own_names(specs, names)}
    return [_told(port, wanted) for port in model.inputs], [_told(port, wanted) for port in model.outputs]


def _told(port: Any, wanted: set[str]) -> base.Told:
    """A port as the signature has it. It may have several names, or none."""
    known = port.get_names()
    name = min(known & wanted or known or {port.get_node().get_friendly_name()})
    shape = port.partial_shape
    sizes = () if shape.rank.is_dynamic else tuple(None if size.is_dynamic else size.get_length() for size in shape)
    kind = port.get_element_type().get_type_name()
    return name, DTYPES.get(kind, kind), sizes


def _rows(specs: Iterable[TensorSpec], names: Mapping[str, str] | None, ports: list[base.Told]) -> list[Row]:
    index = {name: i for i, (name, _, _) in enumerate(ports)}
    return [(name, index[own]) for name, own in base.own_names(specs, names)]


BACKEND: base.Backend = OpenvinoBackend()
