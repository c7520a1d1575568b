"""The engine port: what every backend offers, and the parts that are the same for all of them.

A backend is one file of this folder. It imports its vendor's package when a device is listed or a model is loaded, never
when it is itself imported, and lets none of the vendor's errors out.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from edge_runtime.errors import ArtifactError, InputError
from edge_runtime.signature import Signature, TensorSpec, sizes_of
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


class Backend(Protocol):
    """One engine."""

    @property
    def name(self) -> str: ...

    @property
    def formats(self) -> tuple[str, ...]:
        """The artifact formats it loads: "onnx", "tflite", "openvino"."""
        ...

    def devices(self) -> tuple[Device, ...]:
        """What it finds here; empty when the engine is not installed."""
        ...

    def load(
        self,
        artifact: Path,
        *,
        device: str = "CPU",
        settings: Settings = Settings(),
        signature: Signature | None = None,
        names: Mapping[str, str] | None = None,
    ) -> Session:
        """Load an artifact on exactly this device, or raise a BackendError.

        `signature` is the manifest's: the artifact is held against it. Without one, the session's signature is the
        artifact's own, without state. `names` maps names of the signature to the artifact's own where they differ.
        """
        ...


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
    same_rank = len(wanted.shape) == len(found.shape)
    if wanted.dtype != found.dtype or not same_rank:
        raise ArtifactError(
            f"{artifact.name}: {role} {wanted.name!r} is {found.dtype} {list(found.shape)}; "
            f"the manifest says {wanted.dtype} {list(wanted.shape)}"
        )
    for size, there in zip(wanted.shape, found.shape, strict=True):
        if isinstance(size, int) and isinstance(there, int) and size != there:
            raise ArtifactError(
                f"{artifact.name}: {role} {wanted.name!r} has a dimension {there}; the manifest says {size}"
            )


class StateStream:
    """A stream over any session with explicit state tensors: what comes out is fed back in at the next run."""

    def __init__(self, session: Session) -> None:
        if not session.signature.state:
            raise InputError("this model has no recurrent state: call infer() instead of stream()")
        self._session = session
        self._pairs = [(pair.input, pair.output) for pair in session.signature.state]
        self._state: dict[str, Array] | None = None

    def run(self, inputs: Tensors) -> dict[str, Array]:
        state = self._state
        if state is None:
            signature = self._session.signature
            state = signature.zeros(sizes_of(signature.stateless_inputs, inputs))
        outputs = self._session.run({**inputs, **state})
        self._state = {source: outputs.pop(sink) for source, sink in self._pairs}
        return outputs

    @property
    def state(self) -> dict[str, Array]:
        state = self._session.signature.zeros({}) if self._state is None else self._state
        return {name: array.copy() for name, array in state.items()}

    @state.setter
    def state(self, state: Tensors) -> None:
        expected = {pair.input: spec for pair in self._session.signature.state
                    for spec in self._session.signature.inputs if spec.name == pair.input}  # fmt: skip
        if set(state) != set(expected):
            raise InputError(f"the state has tensors {sorted(state)}; this model's are {sorted(expected)}")
        for name, spec in expected.items():
            if state[name].dtype != spec.dtype or (spec.fixed is not None and state[name].shape != spec.fixed):
                raise InputError(f"state {name!r} is not {spec.dtype} {list(spec.shape)}")
        self._state = {name: array.copy() for name, array in state.items()}

    def reset(self) -> None:
        self._state = None
