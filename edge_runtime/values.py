"""The vocabulary: frozen values that every layer shares. Nothing here does I/O or knows an engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec
import numpy as np

if TYPE_CHECKING:
    from edge_runtime.processing.answers import Answer

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
Tensors: TypeAlias = Mapping[str, Array]
"""Tensor name -> array. Shapes and dtypes are those of the model's `Signature`."""

Target: TypeAlias = Literal["local", "cloud"]


class Device(msgspec.Struct, frozen=True):
    """Something that an engine can run a model on, as that engine names it."""

    backend: str
    """The backend that offers it: "onnx", "openvino", "tflite"."""
    name: str
    """The engine's own name: "CPU", "CUDA", "GPU.0", "NPU"."""
    description: str = ""
    """The hardware, where the engine tells: "Intel(R) Xeon(R) Platinum 8259CL"."""
    engine: str = ""
    """The engine and its version: "onnxruntime 1.31.1"."""

    def __str__(self) -> str:
        return f"{self.backend}:{self.name}"


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How an engine is to run a model. Every backend obeys each field or raises; none is ignored."""

    threads: int | None = None
    """Threads of one inference; None leaves it to the engine."""


class Attempt(msgspec.Struct, frozen=True):
    """One try at an answer: where, when it began and how long it took (seconds from the call's start), and how it ended."""

    target: Target
    started: float
    seconds: float
    outcome: str
    """ "answered", or the error's name and message."""


class Result(msgspec.Struct, frozen=True, eq=False):
    """The answer to one call, and how it came about."""

    outputs: Tensors
    target: Target
    engine: str
    """The engine that ran the model: "onnxruntime 1.31.1", wherever it ran."""
    device: str
    """The device that ran it, read back from the engine: "CPU"."""
    variant: str
    """The variant that ran: "int8-onnx"."""
    elapsed: float
    """Seconds from the call to the answer."""
    budget: float | None
    """Seconds that the caller allowed; None when there was no limit."""
    attempts: tuple[Attempt, ...]
    reason: str
    """Why it ran there, in one line."""
    answer: Answer | None = None
    """The answer in a user's terms (`processing.answers`), where a picture, a sound, a text, ... was handed over; None
    where tensors were."""

    @property
    def met(self) -> bool:
        """Whether the answer came inside the budget."""
        return self.budget is None or self.elapsed <= self.budget
