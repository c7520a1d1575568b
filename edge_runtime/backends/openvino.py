"""OpenVINO: Intel and Arm CPUs, Intel GPUs and NPUs. It runs ONNX files and its own IR (an .xml with a .bin beside it)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from edge_runtime.backends import base
from edge_runtime.backends import openvino_engine as engine
from edge_runtime.backends.openvino_engine import read, without_telemetry
from edge_runtime.backends.openvino_session import OpenvinoSession, Program, Row, Rows
from edge_runtime.backends.openvino_state import ResidentStream, check_stream, make_stateful
from edge_runtime.errors import ArtifactError, BackendError, DeviceMissingError, EngineMissingError
from edge_runtime.signature import Signature, TensorSpec
from edge_runtime.values import Device, Settings

__all__ = ["BACKEND", "OpenvinoBackend", "read", "session_of", "without_telemetry"]

DTYPES = {
    "boolean": "bool", "f16": "float16", "f32": "float32", "f64": "float64", "i8": "int8", "i16": "int16",
    "i32": "int32", "i64": "int64", "u8": "uint8", "u16": "uint16", "u32": "uint32", "u64": "uint64",
}  # fmt: skip

OBEYED = {"threads": "CPU", "pinning": "CPU", "streams": "CPU", "hint": "", "fixed": "", "resident": ""}


class OpenvinoBackend:
    """Runs ONNX and OpenVINO IR files with openvino."""

    name = "openvino"
    formats = ("onnx", "openvino")

    def devices(self) -> Iterator[Device]:
        try:
            core = engine.core()
        except EngineMissingError:
            return
        yield engine.device_of("CPU")  # it is always there, and to ask for all loads the libraries of all
        yield from (engine.device_of(name) for name in core.available_devices if name != "CPU")

    def tunings(self, device: Device, cores: int, signature: Signature, sizes: Mapping[str, int]) -> Iterator[Settings]:
        yield Settings()
        names = dict.fromkeys(size for spec in signature.inputs for size in spec.shape if isinstance(size, str))
        fixed = tuple((name, sizes[name]) for name in names) if names.keys() <= sizes.keys() else ()
        if device.name != "CPU":
            if fixed:
                yield Settings(fixed=fixed)
            return
        yield from map(Settings, base.thread_counts(cores))
        if cores > 1:
            yield Settings(threads=cores, streams=2)
        yield from (Settings(hint=hint) for hint in engine.hints("CPU") if hint != "f32")
        for threads in base.few_or_all(cores):
            if fixed:
                yield Settings(threads=threads, fixed=fixed)
            if signature.state and not names:
                yield Settings(threads=threads, resident=True)

    def shared(self, device: Device, cores: int, calls: int) -> Settings:
        if device.name != "CPU":
            return Settings() if calls == 1 else Settings(streams=calls)
        return Settings(threads=cores) if calls == 1 else Settings(threads=cores, streams=calls)

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
        core = engine.core()
        base.check_settings(self.name, device, settings, OBEYED)
        base.refuse_hidden(artifact, signature, "openvino")
        # The CPU is always there, and listing devices loads the libraries of all.
        if device != "CPU" and device not in core.available_devices:
            raise DeviceMissingError(f"openvino has no device {device!r} here; it has {', '.join(core.available_devices)}")
        engine.check_hint(device, settings)
        making = Making(artifact, device, settings, cache)
        # What was compiled before is taken without a look at the artifact, which takes nearly as long again.
        first, model = (making.compiled(), None) if making.kept else (None, making.read())
        inputs, outputs = _ports(model if first is None else first, signature, names)
        found = base.reconcile(artifact, base.told(artifact, inputs, outputs), signature, names)
        base.refuse_stateless(found, settings)
        rows = _rows(found.inputs, names, inputs), _rows(found.outputs, names, outputs)
        if settings.resident:
            return making.resident(found, rows, model)
        if settings.fixed:
            return making.fixed(found, rows, model)
        return making.plain(found, rows, making.compiled(model) if first is None else first)


class Making(msgspec.Struct, frozen=True):
    """How an artifact becomes a session."""

    artifact: Path
    device: str
    settings: Settings
    cache: Path | None

    @property
    def kept(self) -> bool:
        """Whether the cache can hold what is asked for, compiled from the artifact as it is."""
        as_it_is = not self.settings.fixed and not self.settings.resident
        return as_it_is and self.cache is not None and any(self.cache.glob("*.blob"))

    def read(self) -> Any:
        """The engine's form of the artifact, not compiled."""
        model = read(self.artifact)
        if model.get_variables():
            raise ArtifactError(
                f"{self.artifact.name} hides its state inside; export it with the state as inputs and outputs"
            )
        return model

    def compiled(self, model: Any = None) -> Any:
        """The artifact as it is, compiled. With a cache it is the file that is compiled: what is kept is found by its path
        faster than by what was read of it."""
        source = str(self.artifact) if self.cache is not None else self.read() if model is None else model
        return self._compile(source)

    def _compile(self, model: Any) -> Any:
        return engine.compile(model, self.artifact, self.device, self.settings, self.cache)

    def plain(self, signature: Signature, rows: Rows, compiled: Any, **more: Any) -> OpenvinoSession:
        """A session of the artifact as it is."""
        program = Program(self.compiled, rows, first=compiled, streams=self.settings.streams or 1)
        return OpenvinoSession(signature, engine.device_of(self.device), program, **more)

    def fixed(self, signature: Signature, rows: Rows, model: Any) -> OpenvinoSession:
        """A session of the artifact compiled for some sizes, which compiles it for others when those are asked for."""
        sizes = _sizes(signature, self.settings)

        def compiled(model: Any = None) -> Any:
            model = self.read() if model is None else model
            try:
                model.reshape(
                    {
                        index: [sizes.get(size, -1) if isinstance(size, str) else size for size in spec.shape]
                        for spec, (_, index) in zip(signature.inputs, rows[0], strict=True)
                    }
                )
            except Exception as error:
                raise ArtifactError(
                    f"openvino cannot fix {sizes} in {self.artifact.name}: {base.one_line(error)}"
                ) from error
            return self._compile(model)

        streams = self.settings.streams or 1
        program = Program(compiled, rows, first=compiled(model), streams=streams)
        other = Program(self.compiled, rows, streams=streams)
        return OpenvinoSession(signature, engine.device_of(self.device), program, other=other, fixed=sizes)

    def resident(self, signature: Signature, rows: Rows, model: Any) -> OpenvinoSession:
        """A session whose streams keep their state inside, beside a program with the state handed over."""
        explicit = self.compiled(model)
        kept = make_stateful(model, signature, rows)
        compiled = self._compile(model)
        session = self.plain(signature, rows, explicit, resident=lambda session: ResidentStream(session, compiled, kept))
        check_stream(session)
        return session


def session_of(compiled: Any, signature: Signature, names: Mapping[str, str]) -> OpenvinoSession:
    """A session of a model that one of the engine's tools has compiled, for the CPU."""
    inputs, outputs = _ports(compiled, signature, names)
    rows = _rows(signature.inputs, names, inputs), _rows(signature.outputs, names, outputs)
    return OpenvinoSession(signature, engine.device_of("CPU"), Program(lambda: compiled, rows, first=compiled))


def _sizes(signature: Signature, settings: Settings) -> dict[str, int]:
    """The sizes to be fixed, all of them dimensions of the inputs."""
    there = dict.fromkeys(size for spec in signature.inputs for size in spec.shape if isinstance(size, str))
    for name, size in settings.fixed:
        if name not in there:
            raise BackendError(f"fixed={name}: no input has such a dimension; named are {', '.join(there) or 'none'}")
        if size < 1:
            raise BackendError(f"fixed={name}={size}: give 1 or more")
    return dict(settings.fixed)


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
