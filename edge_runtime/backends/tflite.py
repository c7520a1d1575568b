"""LiteRT, formerly TensorFlow Lite: .tflite files on the CPU, through XNNPACK.

Its accelerators sit behind another API (CompiledModel), which cannot say what is there: asked for a GPU on a machine
without one it fails in the engine's own way and writes to stderr. Until that can be asked safely, only the CPU is offered.
"""

from __future__ import annotations

from base64 import b85decode
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import Any, TypeAlias

import numpy as np

from edge_runtime.backends import base
from edge_runtime.errors import ArtifactError, DeviceMissingError, EngineMissingError
from edge_runtime.signature import Scale, Signature, TensorSpec
from edge_runtime.values import Array, Device, Settings, Tensors

PROBE = (
    b"7ytkOR7OlQ000gE6aWwa3;+lK000C44gdfE5C8xG8~^|Sga7~l0{{R30RR912mk;81ONm81ONa40RR915C8xG3;+}W5C9AS2mk~C3;+NC5C8xG5C8xG"
    b"6aWAK7ytkO000000RR91000000RR91000000RR915C8xG3;+xO2mk;8000C43;+NC2mk;83;+NC0RR91cmMzZ0RR910RR9100000"
)
"""A TFLite model in base 85: no operators, one float32 tensor of one element that is both input and output."""


Row: TypeAlias = tuple[str, int]
"""The signature's name of a tensor, and the engine's index."""


OBEYED = {"threads": "CPU", "xnnpack": "CPU"}


class TfliteBackend:
    """Runs TFLite files with ai-edge-litert, or with tflite-runtime where that is what is installed and works."""

    name = "tflite"
    formats = ("tflite",)

    def devices(self) -> Iterator[Device]:
        try:
            _, engine = _interpreter()
        except EngineMissingError:
            return
        yield Device(self.name, "CPU", "", engine)

    def tunings(self, device: Device, cores: int, signature: Signature, sizes: Mapping[str, int]) -> Iterator[Settings]:
        yield Settings()
        yield from map(Settings, base.thread_counts(cores))
        yield Settings(threads=1, xnnpack=False)

    def shared(self, device: Device, cores: int, calls: int) -> Settings:
        return Settings(threads=cores)  # a session runs one call after another

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
        _interpreter()
        base.check_settings(self.name, device, settings, OBEYED)
        if device != "CPU":
            raise DeviceMissingError(f"the tflite backend has no device {device!r}: it runs on the CPU only")
        if signature is not None and signature.hidden_state:

            def opened() -> TfliteSession:
                return self._load(artifact, settings, signature, names)

            return HiddenSession(signature, opened)
        return self._load(artifact, settings, signature, names)

    def _load(
        self, artifact: Path, settings: Settings, signature: Signature | None, names: Mapping[str, str] | None
    ) -> TfliteSession:
        make, engine = _interpreter()
        options: dict[str, Any] = {"num_threads": settings.threads}
        if settings.xnnpack is not None:
            options["experimental_op_resolver_type"] = _resolver(make, settings.xnnpack)
        try:
            interpreter = make(model_path=str(artifact), **options)
            interpreter.allocate_tensors()
            inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        except Exception as error:
            raise ArtifactError(f"{engine} does not load {artifact.name}: {base.one_line(error)}") from error
        found = base.told(artifact, map(_told, inputs), map(_told, outputs))
        signature = base.reconcile(artifact, found, signature, names)
        rows = _rows(signature.inputs, names, inputs), _rows(signature.outputs, names, outputs)
        session = TfliteSession(interpreter, signature, rows, Device(self.name, "CPU", "", engine))
        own = {detail["name"]: scale for detail in (*inputs, *outputs) if (scale := _scale(detail)) is not None}
        tensors = base.own_names(signature.inputs + signature.outputs, names)
        session.scales = {name: own[inside] for name, inside in tensors if inside in own}
        return session


class TfliteSession:
    """A loaded TFLite model.

    An interpreter runs one inference at a time, so runs from several threads wait for each other: a second interpreter
    would hold a second copy of the weights, repacked for this CPU. Who wants both loads the model twice.
    """

    def __init__(self, interpreter: Any, signature: Signature, rows: tuple[list[Row], list[Row]], device: Device) -> None:
        self.signature = signature
        self.device = device
        self.scales: dict[str, Scale] = {}
        self._lock = Lock()
        self._interpreter = interpreter
        self._inputs, self._outputs = rows
        # As the interpreter has allocated them: to do it again packs the weights a second time.
        shapes = {detail["index"]: tuple(detail["shape"].tolist()) for detail in interpreter.get_input_details()}
        self._shapes: list[tuple[int, ...]] | None = [shapes[index] for _, index in self._inputs]

    def run(self, inputs: Tensors) -> dict[str, Array]:
        with self._lock:
            interpreter = self._interpreter
            if interpreter is None:
                raise base.closed_error(self.device)
            try:
                shapes = [inputs[name].shape for name, _ in self._inputs]
                if shapes != self._shapes:
                    self._resize(shapes)
                for name, index in self._inputs:
                    interpreter.set_tensor(index, inputs[name])
                interpreter.invoke()
                return {name: interpreter.get_tensor(index) for name, index in self._outputs}
            except Exception as error:
                self._shapes = None  # whatever state it is in now, the next run allocates anew
                raise base.run_error(self.device, error) from error

    def _resize(self, shapes: list[tuple[int, ...]]) -> None:
        for (_, index), shape in zip(self._inputs, shapes, strict=True):
            self._interpreter.resize_tensor_input(index, shape, strict=True)
        self._interpreter.allocate_tensors()
        self._shapes = shapes

    def stream(self) -> base.StateStream:
        return base.StateStream(self)

    def close(self) -> None:
        with self._lock:
            self._interpreter = None


class HiddenSession:
    """A model with variables inside. Only a new interpreter begins with the fresh ones (neither to reset all variables nor
    to allocate anew brings them back), so each stream has an interpreter of its own."""

    def __init__(self, signature: Signature, opened: Callable[[], TfliteSession]) -> None:
        first = opened()
        self.signature = signature
        self.device = first.device
        self.scales = first.scales
        self._lock = Lock()
        self._opened = opened
        self._unused: TfliteSession | None = first
        self._closed = False

    def run(self, inputs: Tensors) -> dict[str, Array]:
        raise base.closed_error(self.device) if self._closed else base.outside_stream(self.device)

    def stream(self) -> HiddenStream:
        return HiddenStream(self)

    def fresh(self) -> TfliteSession:
        """An interpreter that has not run yet."""
        with self._lock:
            if self._closed:
                raise base.closed_error(self.device)
            unused, self._unused = self._unused, None
        return unused or self._opened()

    def close(self) -> None:
        with self._lock:
            self._closed, self._unused = True, None

    @property
    def closed(self) -> bool:
        return self._closed


class HiddenStream:
    """A stream whose state is in its own interpreter."""

    def __init__(self, session: HiddenSession) -> None:
        self._session = session
        self._own = session.fresh()

    def run(self, inputs: Tensors) -> dict[str, Array]:
        if self._session.closed:
            raise base.closed_error(self._session.device)
        return self._own.run(inputs)

    @property
    def state(self) -> dict[str, Array]:
        raise base.unreadable_state()

    @state.setter
    def state(self, state: Tensors) -> None:
        raise base.unreadable_state()

    def reset(self) -> None:
        self._own = self._session.fresh()


@cache
def _interpreter() -> tuple[Any, str]:
    """The class that runs a model, and the package that brings it."""
    try:
        import ai_edge_litert
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as missing:
        return _older_interpreter(missing)
    return Interpreter, f"ai-edge-litert {ai_edge_litert.__version__}"


def _older_interpreter(missing: ImportError) -> tuple[Any, str]:
    install = "pip install 'edge-runtime[tflite]'"
    try:
        import tflite_runtime
        from tflite_runtime.interpreter import Interpreter
    except ImportError:
        raise EngineMissingError(f"ai-edge-litert is not installed ({missing}): {install}") from missing
    try:
        Interpreter(model_content=b85decode(PROBE))
    except Exception as error:
        # Its wheels were built for numpy 1, their metadata does not say so, and they fail when the first model is loaded.
        fails = f"tflite-runtime is installed but fails with numpy {np.__version__}"
        raise EngineMissingError(f"{fails}: {install}, or pip install 'numpy<2'") from error
    return Interpreter, f"tflite-runtime {tflite_runtime.__version__}"


def _resolver(make: Any, xnnpack: bool) -> Any:
    """The engine's operators, with XNNPACK in the place of those that it has or without it."""
    kinds = import_module(make.__module__).OpResolverType
    return kinds.BUILTIN if xnnpack else kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES


def _rows(specs: Iterable[TensorSpec], names: Mapping[str, str] | None, details: list[dict[str, Any]]) -> list[Row]:
    index = {detail["name"]: detail["index"] for detail in details}
    return [(name, index[own]) for name, own in base.own_names(specs, names)]


def _scale(detail: Mapping[str, Any]) -> Scale | None:
    """What the file says of an integer tensor; None of others, and where it says nothing."""
    dtype, found = np.dtype(detail["dtype"]).name, detail["quantization_parameters"]
    if dtype not in ("int8", "uint8") or len(found["scales"]) != 1 or not found["scales"][0] > 0:
        return None
    return Scale(dtype, float(found["scales"][0]), int(found["zero_points"][0]))


def _told(detail: Mapping[str, Any]) -> base.Told:
    sizes = detail["shape_signature"] if len(detail["shape_signature"]) else detail["shape"]
    dtype = np.dtype(detail["dtype"]).name
    return detail["name"], dtype, tuple(None if size == -1 else int(size) for size in sizes)


BACKEND: base.Backend = TfliteBackend()
