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
    driver: str = ""
    """The driver below the engine and its version, where there is one: "nvidia 550.54"."""

    def __str__(self) -> str:
        return f"{self.backend}:{self.name}"

    def fits(self, asked: str | None) -> bool:
        """Whether it is what was asked for: a backend ("openvino"), one device of it ("openvino:GPU"), or None for any."""
        return asked in (None, self.backend, str(self))


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How an engine is to run a model. None leaves a setting as this project's backend has it. Every backend obeys each
    field or raises BackendError; none is ignored."""

    threads: int | None = None
    """Threads of one inference on a CPU."""
    spinning: bool | None = None
    """onnx: threads that wait for work burn their core, to begin sooner. Off unless asked for."""
    graph: Literal["all", "extended", "basic", "none"] | None = None
    """onnx: how far the graph is optimised when it is loaded. All of it unless asked otherwise."""
    parallel: bool | None = None
    """onnx: independent parts of the graph run at the same time."""
    pinning: bool | None = None
    """openvino, CPU: threads are tied to cores. Off unless asked for."""
    streams: int | None = None
    """openvino: inferences that may run at the same time, each on its share of the threads."""
    hint: Literal["f32", "f16", "bf16"] | None = None
    """openvino: the type that floating-point parts are computed in. As the artifact has it unless asked otherwise."""
    xnnpack: bool | None = None
    """tflite: whether XNNPACK takes the graph. It does unless asked otherwise."""
    fixed: tuple[tuple[str, int], ...] = ()
    """openvino: named dimensions of the signature that the model is compiled for, with their sizes. Calls with other sizes
    are answered too, by a second program with dynamic shapes that the first such call compiles."""
    resident: bool = False
    """onnx, openvino: a stream keeps its recurrent state in the engine's own memory from step to step."""

    def __str__(self) -> str:
        words = [] if self.threads is None else [f"{self.threads}T"]
        for word in ("spinning", "parallel", "pinning", "xnnpack"):
            if (value := getattr(self, word)) is not None:
                words.append(word if value else f"no {word}")
        words += [] if self.graph is None else [f"graph {self.graph}"]
        words += [] if self.hint is None else [self.hint]
        words += [] if self.streams is None else [f"{self.streams} streams"]
        words += ["fixed " + ",".join(f"{name}={size}" for name, size in self.fixed)] if self.fixed else []
        words += ["resident"] if self.resident else []
        return " ".join(words)


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
