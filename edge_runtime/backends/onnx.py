"""ONNX Runtime: its CPU, and every GPU or NPU provider that is compiled in and really loads a model here."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from edge_runtime.backends import base
from edge_runtime.backends.onnx_state import ResidentStream
from edge_runtime.errors import ArtifactError, DeviceMissingError, EngineMissingError
from edge_runtime.host import read, saturates
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

OBEYED = {"threads": "CPU", "spinning": "CPU", "graph": "CPU", "parallel": "CPU", "resident": "CPU"}

KEPT = "model.onnx"
"""The engine's own form of an artifact, in the folder of its cache."""

NVIDIA = Path("/proc/driver/nvidia/version")


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
        if device.name != "CPU":
            return
        yield from map(Settings, base.thread_counts(cores))
        if cores > 1:
            yield Settings(threads=cores, spinning=True)
            yield Settings(threads=cores, parallel=True)
        yield from (Settings(threads=threads, graph="extended") for threads in base.few_or_all(cores))
        if signature.state:
            yield from (Settings(threads=threads, resident=True) for threads in base.few_or_all(cores))

    def shared(self, device: Device, cores: int, calls: int) -> Settings:
        # Each call runs on its caller's thread and as many more as are asked for.
        return Settings(threads=max(1, cores // calls)) if device.name == "CPU" else Settings()

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
            engine = _loaded(ort, artifact, provider, settings, cache)
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
        signature = base.reconcile(artifact, found, signature, names)
        base.refuse_stateless(signature, settings)
        return OnnxSession(engine, signature, names, _device(ort, landed), ort.OrtValue if settings.resident else None)


class OnnxSession:
    """A loaded ONNX model. The engine's own run is thread-safe, and its outputs are new arrays each time."""

    def __init__(
        self, engine: Any, signature: Signature, names: Mapping[str, str] | None, device: Device, value: Any = None
    ) -> None:
        self.signature = signature
        self.device = device
        self._engine: Any = engine
        self._names = names
        self._value = value  # the engine's own kind of tensor, where streams are to keep their state in it
        self._inputs = base.own_names(signature.inputs, names)
        self._outputs = [spec.name for spec in signature.outputs]
        self._fetch = [own for _, own in base.own_names(signature.outputs, names)]

    def run(self, inputs: Tensors) -> dict[str, Array]:
        engine = self._open()
        try:
            values = engine.run(self._fetch, {own: inputs[name] for name, own in self._inputs})
        except Exception as error:
            raise base.run_error(self.device, error) from error
        return dict(zip(self._outputs, values, strict=True))

    def _open(self) -> Any:
        engine = self._engine
        if engine is None:
            raise base.closed_error(self.device)
        return engine

    def stream(self) -> base.Stream:
        if self._value is None:
            return base.StateStream(self)
        return ResidentStream(self._value, self._open, self.signature, self._names, self.device)

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


def _loaded(ort: Any, artifact: Path, provider: str, settings: Settings, cache: Path | None) -> Any:
    """A session of the artifact: from the form that the engine optimised before, where the cache holds that. If it does
    not, that form is written, beside its place first, so that a half-written one is never found there."""
    if cache is None or provider != CPU or settings.graph not in (None, "all"):
        return _session(ort, str(artifact), provider, settings)
    kept = cache / KEPT
    try:
        return _session(ort, str(kept), provider, settings, level="none")
    except Exception:  # noqa: BLE001, S110  (not there yet, or damaged: then it is written again)
        pass
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".new-", dir=cache, ignore_cleanup_errors=True) as folder:
            engine = _session(ort, str(artifact), provider, settings, optimized=str(Path(folder, KEPT)))
            os.replace(Path(folder, KEPT), kept)
            return engine
    except Exception:  # noqa: BLE001  (a full or read-only disk, or an artifact that does not load: that is told below)
        return _session(ort, str(artifact), provider, settings)


def _session(
    ort: Any,
    model: str | bytes,
    provider: str,
    settings: Settings,
    *,
    level: str | None = None,
    optimized: str | None = None,
) -> Any:
    options = ort.SessionOptions()
    level = level or settings.graph or "all"
    # "none" is DISABLE_ALL to the engine, and all others ENABLE_...
    name = "ORT_DISABLE_ALL" if level == "none" else f"ORT_ENABLE_{level.upper()}"
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, name)
    order = ort.ExecutionMode.ORT_PARALLEL if settings.parallel else ort.ExecutionMode.ORT_SEQUENTIAL
    options.execution_mode = order
    # Whatever fails is raised; the log would only say it a second time, on the application's stderr.
    options.log_severity_level = 4
    if saturates():  # wider sums: slower, and right
        options.add_session_config_entry("session.x64quantprecision", "1")
    # A spinning pool burns a whole core between calls (measured at 100 calls a second) to save 0.1 ms in each.
    for pool in ("intra_op", "inter_op"):
        options.add_session_config_entry(f"session.{pool}.allow_spinning", "1" if settings.spinning else "0")
    if settings.threads is not None:
        options.intra_op_num_threads = settings.threads
        options.inter_op_num_threads = settings.threads
    if optimized:
        options.optimized_model_filepath = optimized
    if provider != CPU:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    return ort.InferenceSession(model, options, providers=[provider], enable_fallback=0)


@cache
def _loads(provider: str) -> bool:
    """Whether this provider loads a model here. Many are compiled in; few have the hardware and the libraries they need."""
    if provider in (CPU, ELSEWHERE):
        return provider == CPU
    try:
        return bool(_session(_engine(), PROBE, provider, Settings()).get_providers()[0] == provider)
    except Exception:  # noqa: BLE001  (each provider fails in its own way; any failure says no)
        return False


def _device(ort: Any, provider: str) -> Device:
    hardware = (found.device for found in ort.get_ep_devices() if found.ep_name == provider)
    description = next((unit.metadata.get("Description") or unit.vendor for unit in hardware), "")
    name, engine = provider.removesuffix(SUFFIX), f"onnxruntime {ort.__version__}"
    return Device(OnnxBackend.name, name, description, engine, driver(name))


def driver(device: str, version: Path = NVIDIA) -> str:
    """The driver below a device of Nvidia's, as the system tells it."""
    if not any(word in device.lower() for word in ("cuda", "tensorrt")):
        return ""
    found = re.search(r"\d+\.\d[\d.]*", (read(version) or "").partition("\n")[0])
    return f"nvidia {found[0]}" if found else ""


def _told(tensor: Any) -> tuple[str, str, list[int | str | None]]:
    return tensor.name, DTYPES.get(tensor.type, tensor.type), tensor.shape


BACKEND: base.Backend = OnnxBackend()
