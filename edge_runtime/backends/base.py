"""The engine port: what every backend offers, and the parts that are the same for all of them.

A backend is the file of its name, with parts beside it that begin with that name. It imports its vendor's package when a
device is listed or a model is loaded, never when it is itself imported, and lets none of the vendor's errors out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Protocol, TypeAlias, runtime_checkable

from edge_runtime.errors import ArtifactError, BackendError, InputError, ManifestError, RunError
from edge_runtime.signature import Scale, Signature, TensorSpec, input_check, sizes_of
from edge_runtime.values import Array, Device, Settings, Tensors


class Stream(Protocol):
    """A session with its recurrent state carried from run to run. One stream is used by one thread at a time."""

    def run(self, inputs: Tensors) -> dict[str, Array]:
        """Inputs without the state in, outputs without the state out."""
        ...

    @property
    def state(self) -> dict[str, Array]:
        """The state now, by input name: a copy that can be kept, or given to another stream."""
        ...

    @state.setter
    def state(self, state: Tensors) -> None: ...

    def reset(self) -> None:
        """Back to the state that a new stream starts with."""
        ...


class Session(Protocol):
    """A loaded variant on one device. `run` may be called from several threads."""

    @property
    def signature(self) -> Signature: ...

    @property
    def device(self) -> Device:
        """Where the model really runs, read back from the engine after it was loaded."""
        ...

    def run(self, inputs: Tensors) -> dict[str, Array]:
        """Run once. Inputs are as the signature says (the caller checked them); the outputs are the caller's to keep:
        no later run writes into them. Raises RunError."""
        ...

    def stream(self) -> Stream: ...

    def close(self) -> None: ...


@runtime_checkable
class Scaled(Protocol):
    """A session whose artifact says by itself what its integers stand for."""

    @property
    def scales(self) -> Mapping[str, Scale]:
        """By the signature's name of a tensor, what the artifact says of it."""
        ...


class Backend(Protocol):
    """One engine."""

    @property
    def name(self) -> str: ...

    @property
    def formats(self) -> tuple[str, ...]:
        """The artifact formats it loads: "onnx", "tflite", "openvino"."""
        ...

    def devices(self) -> Iterator[Device]:
        """What it finds here, the CPU first; nothing when the engine is not installed.

        One is looked for when it is asked for: an engine may load large libraries to look past the CPU.
        """
        ...

    def load(
        self,
        artifact: Path,
        *,
        device: str = "CPU",
        settings: Settings = Settings(),
        signature: Signature | None = None,
        names: Mapping[str, str] | None = None,
        cache: Path | None = None,
    ) -> Session:
        """Load an artifact on exactly this device, or raise a BackendError.

        `signature` is the manifest's: the artifact is held against it. Without one, the session's signature is the
        artifact's own, without state. `names` maps names of the signature to the artifact's own where they differ.
        `cache` is a folder of this very artifact, device, engine and settings: what the engine compiled before is taken
        from it, and what it compiles now is left there. An engine that keeps nothing leaves it alone.
        """
        ...

    def tunings(self, device: Device, cores: int, signature: Signature, sizes: Mapping[str, int]) -> Iterator[Settings]:
        """The settings worth measuring on this device for a model of this signature, whose named dimensions typically have
        these `sizes`. `Settings()` comes first. `cores` is how many threads can really run at once."""
        ...

    def shared(self, device: Device, cores: int, calls: int) -> Settings:
        """The settings for so many calls at once on one session, which have this device to themselves."""
        ...


Told: TypeAlias = tuple[str, str, Sequence[int | str | None]]
"""What an engine tells of a tensor: its name, its dtype by numpy's name, and each dimension's size, symbol, or None."""


def told(artifact: Path, inputs: Iterable[Told], outputs: Iterable[Told]) -> Signature:
    """The artifact's own signature, as its engine tells it. A dimension without a symbol gets a name that no other has:
    "N0", "N1"."""
    inputs, outputs = list(inputs), list(outputs)
    taken = {size for _, _, shape in inputs + outputs for size in shape}
    free = (name for name in map("N{}".format, count()) if name not in taken)

    def spec(name: str, dtype: str, shape: Sequence[int | str | None]) -> TensorSpec:
        # Exporters write "?" for unknown: two of them in a shape do not mean that the sizes are equal.
        return TensorSpec(name, dtype, tuple(next(free) if size in (None, "", "?") else size for size in shape))

    try:
        return Signature(tuple(spec(*row) for row in inputs), tuple(spec(*row) for row in outputs))
    except ManifestError as error:
        raise ArtifactError(f"{artifact.name} cannot be used: {error}") from error


def own_names(specs: Iterable[TensorSpec], names: Mapping[str, str] | None) -> list[tuple[str, str]]:
    """The signature's name of each tensor, beside the artifact's own."""
    return [(spec.name, (names or {}).get(spec.name, spec.name)) for spec in specs]


def one_line(error: BaseException) -> str:
    """An engine's message without its line breaks."""
    return " ".join(str(error).split()) or type(error).__name__


def run_error(device: Device, error: Exception) -> RunError:
    """The error of a run that failed, in the engine's own words."""
    return RunError(f"{device} failed: {one_line(error)}")


def closed_error(device: Device) -> RunError:
    """The error of a run on a session that was closed."""
    return RunError(f"this session on {device} is closed; load the model again")


def check_settings(backend: str, device: str, settings: Settings, obeyed: Mapping[str, str]) -> None:
    """Raise BackendError for a setting that would not be obeyed.

    `obeyed` names the settings that this backend has, each with the device that has it, or "" for all devices.
    """
    for name in settings.__struct_fields__:
        value = getattr(settings, name)
        if value == _UNSET[name]:
            continue
        if name not in obeyed:
            raise BackendError(f"{name}={value} is no setting of {backend}; it has {', '.join(obeyed)}")
        if obeyed[name] not in ("", device):
            raise BackendError(f"{name}={value} is a setting of {backend}'s {obeyed[name]}; {device} has no such setting")
    for name in ("threads", "streams"):
        value = getattr(settings, name)
        if value is not None and value < 1:
            raise BackendError(f"{name}={value}: give 1 or more, or None to leave it to the engine")


_UNSET = {name: getattr(Settings(), name) for name in Settings.__struct_fields__}


def refuse_stateless(signature: Signature, settings: Settings) -> None:
    """Raise BackendError for a state that is to be kept in the engine's memory where there is none to keep."""
    if settings.resident and not signature.state:
        raise BackendError("resident=True: this model has no recurrent state that the engine could keep")


def thread_counts(cores: int) -> tuple[int, ...]:
    """The numbers of threads worth measuring: 1, 2, 4, ... and as many as there are cores."""
    return (*(1 << power for power in range((cores - 1).bit_length())), cores)


def few_or_all(cores: int) -> tuple[int, ...]:
    """The least and the most threads: for a setting that is not worth measuring at each number of them."""
    return (1,) if cores == 1 else (1, cores)


def reconcile(artifact: Path, found: Signature, wanted: Signature | None, names: Mapping[str, str] | None) -> Signature:
    """The session's signature: the manifest's, once the artifact was seen to offer it (under its own names)."""
    if wanted is None:
        return found
    names = names or {}
    for role, specs, there in (("input", wanted.inputs, found.inputs), ("output", wanted.outputs, found.outputs)):
        offered = {spec.name: spec for spec in there}
        for spec in specs:
            own = names.get(spec.name, spec.name)
            if own not in offered:
                raise ArtifactError(f"{artifact.name} has no {role} {own!r}; it has {', '.join(sorted(offered))}")
            _compare(artifact, role, spec, offered[own])
        if role == "input" and len(specs) != len(offered):
            extra = set(offered) - {names.get(spec.name, spec.name) for spec in specs}
            raise ArtifactError(f"{artifact.name} has inputs that the manifest does not name: {', '.join(sorted(extra))}")
    return wanted


def _compare(artifact: Path, role: str, wanted: TensorSpec, found: TensorSpec) -> None:
    # Engines tell an output whose rank they do not know as a scalar.
    same_rank = len(wanted.shape) == len(found.shape) or (role == "output" and not found.shape)
    if wanted.dtype != found.dtype or not same_rank:
        unscaled = wanted.dtype == "float32" and found.dtype in ("int8", "uint8")
        advice = f": give its scale and zero point as `quantized.{wanted.name}` of the variant" if unscaled else ""
        raise ArtifactError(
            f"{artifact.name}: {role} {wanted.name!r} is {found.dtype} {list(found.shape)}; "
            f"the manifest says {wanted.dtype} {list(wanted.shape)}{advice}"
        )
    for size, there in zip(wanted.shape, found.shape, strict=False):
        if isinstance(size, int) and isinstance(there, int) and size != there:
            raise ArtifactError(
                f"{artifact.name}: {role} {wanted.name!r} has a dimension {there}; the manifest says {size}"
            )
        if role == "input" and isinstance(size, str) and isinstance(there, int):
            raise ArtifactError(
                f"{artifact.name}: {role} {wanted.name!r} has a fixed dimension {there}; the manifest lets it vary ({size})"
            )


def refuse_hidden(artifact: Path, signature: Signature | None, engine: str) -> None:
    """Raise ArtifactError for a model whose state only another engine can keep."""
    if signature is not None and signature.hidden_state:
        raise ArtifactError(
            f"{artifact.name} keeps its state inside, which {engine} cannot begin anew: load it with tflite"
        )


def outside_stream(device: Device) -> InputError:
    """The error of a run, outside a stream, of a model that keeps its state inside."""
    return InputError(f"this model keeps its state inside, on {device}: call stream(), and run that")


def unreadable_state() -> InputError:
    """The error of who would read or set such a state."""
    return InputError("this model keeps its state inside, where it cannot be read or set; reset() begins anew")


class StateStream:
    """A stream over any session with explicit state tensors: what comes out is fed back in at the next run."""

    def __init__(self, session: Session) -> None:
        signature = session.signature
        if not signature.state:
            raise InputError("this model has no recurrent state: call infer() instead of stream()")
        self._session = session
        self._pairs = [(pair.input, pair.output) for pair in signature.state]
        self._carried = {output for _, output in self._pairs}
        self._check = input_check(spec for spec in signature.inputs if spec not in signature.stateless_inputs)
        self._state: dict[str, Array] | None = None

    def run(self, inputs: Tensors) -> dict[str, Array]:
        state = self._state
        if state is None:
            signature = self._session.signature
            state = signature.zeros(sizes_of(signature.stateless_inputs, inputs))
        outputs = self._session.run({**inputs, **state})
        self._state = {source: outputs[sink] for source, sink in self._pairs}
        return {name: array for name, array in outputs.items() if name not in self._carried}

    @property
    def state(self) -> dict[str, Array]:
        state = self._session.signature.zeros({}) if self._state is None else self._state
        return {name: array.copy() for name, array in state.items()}

    @state.setter
    def state(self, state: Tensors) -> None:
        self._check(state)
        self._state = {name: array.copy() for name, array in state.items()}

    def reset(self) -> None:
        self._state = None
