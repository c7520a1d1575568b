"""The package openvino itself: found without its telemetry, asked for devices, made to read files and to compile them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeAlias

from edge_runtime.backends import base
from edge_runtime.errors import ArtifactError, BackendError, DeviceMissingError, EngineMissingError
from edge_runtime.host import saturates
from edge_runtime.values import Device, Settings

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
# What is left of int8 are its weights: the engine has no int8 kernels that sum wider.
EXACT: dict[str, Any] = {"LP_TRANSFORMS_MODE": "NO"}

PROPERTIES = {
    "threads": "INFERENCE_NUM_THREADS", "pinning": "ENABLE_CPU_PINNING", "streams": "NUM_STREAMS",
    "hint": "INFERENCE_PRECISION_HINT",
}  # fmt: skip
"""The engine's property for each setting that is one."""

Hint: TypeAlias = Literal["f32", "f16", "bf16"]

CAPABILITIES: dict[Hint, str] = {"f32": "FP32", "f16": "FP16", "bf16": "BF16"}
"""What a device that computes in the type of a `hint` says of itself. Others obey too, but were up to 28 times slower."""


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
def core() -> Any:
    try:
        with without_telemetry():
            import openvino
    except ImportError as error:
        raise EngineMissingError(f"openvino is not installed ({error}): pip install 'edge-runtime[openvino]'") from error
    return openvino.Core()


def read(artifact: Path) -> Any:
    """The engine's own form of an ONNX or IR file. Raises EngineMissingError, ArtifactError."""
    engine = core()
    from openvino.frontend import FrontEndManager

    reader = READERS.get(artifact.suffix)
    if reader is None:
        raise ArtifactError(f"openvino does not know what {artifact.name} is; it reads {', '.join(READERS)} files")
    try:
        if FrontEndManager().load_by_framework(reader).supported(str(artifact)):
            return engine.read_model(str(artifact))
    except Exception as error:
        raise ArtifactError(f"openvino does not load {artifact.name}: {base.one_line(error)}") from error
    raise ArtifactError(f"{artifact.name} is not what its suffix says: openvino's {reader!r} reader refuses it")


def compile(model: Any, artifact: Path, device: str, settings: Settings, cache: Path | None = None) -> Any:
    """What the engine makes of a model (or of the file itself) for a device: taken from the cache where that holds it, else
    left there. A cache that cannot be used costs time and nothing else."""
    config = HINTS | _asked(settings)
    if device == "CPU":
        config = CPU_HINTS | (EXACT if saturates() else {}) | config
    compiled = None
    if cache is not None:
        with suppress(Exception):
            compiled = core().compile_model(model, device, config | {"CACHE_DIR": str(cache)})
    try:
        compiled = core().compile_model(model, device, config) if compiled is None else compiled
    except Exception as error:
        kind = ArtifactError if device == "CPU" else DeviceMissingError
        raise kind(f"openvino does not compile {artifact.name} for {device}: {base.one_line(error)}") from error
    landed = list(compiled.get_property("EXECUTION_DEVICES"))
    if landed not in ([device], [f"{device}.0"]):
        raise DeviceMissingError(f"{artifact.name} was to run on {device}, but landed on {', '.join(landed)}")
    for name, wanted in _asked(settings).items():
        found = compiled.get_property(name)
        found = found.get_type_name() if hasattr(found, "get_type_name") else found
        if found != wanted:
            raise BackendError(f"openvino's {device} was asked for {name}={wanted}, and took {found}: give what it has")
    return compiled


def _asked(settings: Settings) -> dict[str, Any]:
    values = ((own, getattr(settings, name)) for name, own in PROPERTIES.items())
    return {own: value for own, value in values if value is not None}


def check_hint(device: str, settings: Settings) -> None:
    """Raise BackendError for a type of numbers that this device does not compute in."""
    if settings.hint is not None and settings.hint not in hints(device):
        raise BackendError(
            f"hint={settings.hint}: openvino's {device} does not compute in it; it has {', '.join(hints(device))}"
        )


def hints(device: str) -> tuple[Hint, ...]:
    """The types that a device computes in."""
    able = core().get_property(device, "OPTIMIZATION_CAPABILITIES")
    return tuple(hint for hint, capability in CAPABILITIES.items() if capability in able)


def device_of(name: str) -> Device:
    """One of the engine's devices, as it tells of it."""
    import openvino

    engine = core()
    description = str(engine.get_property(name, "FULL_DEVICE_NAME"))
    version = openvino.__version__.split("-")[0]
    return Device("openvino", name, description, f"openvino {version}", driver(engine, name))


def driver(engine: Any, name: str) -> str:
    """The driver below a GPU or NPU, where the engine tells its version."""
    with suppress(Exception):
        for own in engine.get_property(name, "SUPPORTED_PROPERTIES"):
            if own.endswith("DRIVER_VERSION"):
                return f"{name.partition('.')[0].lower()} {engine.get_property(name, own)}"
    return ""
