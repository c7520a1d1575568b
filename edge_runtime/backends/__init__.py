"""The engines: one file of this folder each, imported when it is asked for."""

from __future__ import annotations

from importlib import import_module

from edge_runtime.backends.base import Backend
from edge_runtime.errors import BackendError
from edge_runtime.values import Device

__all__ = ["NAMES", "Backend", "backend", "devices"]

NAMES: tuple[str, ...] = ("onnx", "openvino", "tflite")


def backend(name: str) -> Backend:
    """The backend of this name, whether its engine is installed or not. Raises BackendError for a name that is none."""
    if name not in NAMES:
        raise BackendError(f"there is no backend {name!r}; there are {', '.join(NAMES)}")
    found: Backend = import_module(f"{__name__}.{name}").BACKEND
    return found


def devices() -> tuple[Device, ...]:
    """Every device of every engine that is installed here. This imports those engines."""
    return tuple(device for name in NAMES for device in backend(name).devices())
