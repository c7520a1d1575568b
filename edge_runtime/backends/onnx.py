"""ONNX Runtime: its CPU, and every GPU or NPU provider that is compiled in and really loads a model here."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from edge_runtime.backends import base
from edge_runtime.errors import ArtifactError, DeviceMissingError, EngineMissingError
from edge_runtime.signature import Signature
from edge_runtime.values import Array, Device, Settings, Tensors

SUFFIX = "ExecutionProvider"
CPU = "CPU" + SUFFIX
ELSEWHERE = "Azure" + SUFFIX
"""It sends the inputs to a server: no device of this machine."""

PROBE = (
    b'\x08\x07\x12\x00:=\n\x0e\n\x01x\n\x01x\x12\x01y"\x03Add\x12\x01gZ\x13\n\x01x\x12\x0e\n\x0c\x08\x01\x12\x08\n\x02\x08'
    b"\x01\n\x02\x08\x04b\x13\n\x01y\x12\x0e\n\x0c\x08\x01\x12\x08\n\x02\x08\x01\n\x02\x08\x04B\x04\n\x00\x10\r"
)
"""An ONNX model, y = x + x on float32 [1, 4], operator set 13."""

DTYPES = {
    "tensor(bool)": "bool", "tensor(float16)": "float16", "tensor(float)": "float32", "tensor(double)": "float64",
    "tensor(int8)": "int8", "tensor(int16)": "int16", "tensor(int32)": "int32", "tensor(int64)": "int64",
    "tensor(uint8)": "uint8", "tensor(uint16)": "uint16", "tensor(uint32)": "uint32", "tensor(uint64)": "uint64",
}  # fmt: skip


OBEYED = {"threads": "CPU"}


class OnnxBackend:
    """Runs ONNX files with onnxruntime, or with a build of it for other hardware such as onnxruntime-gpu."""

    name = "onnx"
    formats = ("onnx",)

    def devices(self) -> Iterator[Device]:
        try:
            ort = _engine()
        except EngineMissingError:
            return
        others = (provider for provider in ort.get_available_providers() if provider != CPU)
        yield from (_device(ort, provider) for provider in (CPU, *others) if _loads(provider))

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
        ort = _engine()
        base.check_settings(self.name, device, settings, OBEYED)
        base.refuse_hidden(artifact, signature, "onnxruntime")
        provider = device + SUFFIX
        if provider not in ort.get_available_providers() or not _loads(provider):
            here = ", ".join(found.name for found in self.devices())
            raise DeviceMissingError(f"onnxruntime cannot use {device!r} here; it can use {here}")
        try:
            engine = _session(ort, str(artifact), provider, settings.threads)
        except Exception as error:
            if provider != CPU and "assigned to the default CPU EP" in str(error):
                raise DeviceMissingError(
                    f"{device} does not take all of {artifact.name}: {base.one_line(error)}"
                ) from error
            raise ArtifactError(f"onnxruntime does not load {artifact.name}: {base.one_line(error)}") from error
        landed = engine.get_providers()[0]
        if landed != provider:
            raise DeviceMissingError(f"{artifact.name} was to run on {device}, but landed on {landed.removesuffix(SUFFIX)}")
        found = base.told(artifact, map(_told, engine.get_inputs()), map(_told, engine.get_outputs()))
        return OnnxSession(engine, base.reconcile(artifact, found, signature, names), names, _device(ort, landed))


class OnnxSession:
    """A loaded ONNX model. The engine's own run is thread-safe, and its outputs are new arrays each time."""

    def __init__(self, engine: Any, signature: Signature, names: Mapping[str, str] | None, device: Device) -> None:
        self.signature = signature
        self.device = device
        self._engine: Any = engine
        self._inputs = base.own_names(signature.inputs, names)
        self._outputs = [spec.name for spec in signature.outputs]
        self._fetch = [own for _, own in base.own_names(signature.outputs, names)]

    def run(self, inputs: Tensors) -> dict[str, Array]:
        engine = self._engine
        if engine is None:
            raise base.closed_error(self.device)
        try:
            values = engine.run(self._fetch, {own: inputs[name] for name, own in self._inputs})
        except Exception as error:
            raise base.run_error(self.device, error) from error
        return dict(zip(self._outputs, values, strict=True))

    def stream(self) -> base.StateStream:
        return base.StateStream(self)

    def close(self) -> None:
        self._engine = None


def _engine() -> Any:
    # Importing it opens a channel to its maker, and leaves a device's id in the home folder, unless this is set by then.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime
    except ImportError as error:
        raise EngineMissingError(f"onnxruntime is not installed ({error}): pip install 'edge-runtime[onnx]'") from error
    return onnxruntime


def _session(ort: Any, model: str | bytes, provider: str, threads: int | None) -> Any:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    # Whatever fails is raised; the log would only say it a second time, on the application's stderr.
    options.log_severity_level = 4
    # A spinning pool burns a whole core between calls (measured at 100 calls a second) to save 0.1 ms in each.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if threads is not None:
        options.intra_op_num_threads = threads
    if provider != CPU:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    return ort.InferenceSession(model, options, providers=[provider], enable_fallback=0)


@cache
def _loads(provider: str) -> bool:
    """Whether this provider loads a model here. Many are compiled in; few have the hardware and the libraries they need."""
    if provider in (CPU, ELSEWHERE):
        return provider == CPU
    try:
        return bool(_session(_engine(), PROBE, provider, None).get_providers()[0] == provider)
    except Exception:  # noqa: BLE001  (each provider fails in its own way; any failure says no)
        return False


def _device(ort: Any, provider: str) -> Device:
    hardware = (found.device for found in ort.get_ep_devices() if found.ep_name == provider)
    description = next((unit.metadata.get("Description") or unit.vendor for unit in hardware), "")
    return Device(OnnxBackend.name, provider.removesuffix(SUFFIX), description, f"onnxruntime {ort.__version__}")


def _told(tensor: Any) -> tuple[str, str, list[int | str | None]]:
    return tensor.name, DTYPES.get(tensor.type, tensor.type), tensor.shape


BACKEND: base.Backend = OnnxBackend()
