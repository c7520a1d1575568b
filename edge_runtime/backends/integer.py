"""Artifacts that take or give int8 where the signature has float32: one session for all engines, which converts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isclose
from pathlib import Path

import msgspec
import numpy as np

from edge_runtime.backends.base import Backend, Scaled, Session, StateStream, Stream
from edge_runtime.errors import ArtifactError, RunError
from edge_runtime.signature import Scale, Signature, TensorSpec
from edge_runtime.values import Array, Settings, Tensors


def quantize(array: Array, scale: Scale) -> Array:
    """The stored integers nearest to these numbers; half to even, and at the ends of the range whatever lies past them.

    Raises ValueError for NaN, for which no integer stands.
    """
    if np.isnan(array).any():
        raise ValueError("NaN cannot be stored as an integer")
    limits = np.iinfo(scale.dtype)
    with np.errstate(over="ignore"):  # infinity is past the range like any number
        stored = np.rint(array / np.float32(scale.scale)) + np.float32(scale.zero_point)
    return np.clip(stored, limits.min, limits.max).astype(scale.dtype)


def dequantize(array: Array, scale: Scale) -> Array:
    """The float32 numbers that these stored integers stand for."""
    return (array.astype(np.float32) - np.float32(scale.zero_point)) * np.float32(scale.scale)


def load(
    backend: Backend,
    artifact: Path,
    *,
    device: str = "CPU",
    settings: Settings = Settings(),
    signature: Signature,
    names: Mapping[str, str],
    quantized: Mapping[str, Scale],
    cache: Path | None = None,
) -> Session:
    """Load an artifact that holds these tensors of the signature as integers. The session takes and gives float32.

    Raises a BackendError: ArtifactError too when the artifact itself says other scales.
    """
    if not quantized:
        return backend.load(artifact, device=device, settings=settings, signature=signature, names=names, cache=cache)
    stored = msgspec.structs.replace(
        signature, inputs=_stored(signature.inputs, quantized), outputs=_stored(signature.outputs, quantized), state=()
    )
    session = backend.load(artifact, device=device, settings=settings, signature=stored, names=names, cache=cache)
    try:
        _check(artifact, session, quantized)
    except ArtifactError:
        session.close()
        raise
    return IntegerSession(session, signature, quantized)


class IntegerSession:
    """A session whose artifact holds some tensors as integers, seen from outside in float32. Its streams carry a state in
    float32 too: what an integer stands for, which it becomes again."""

    def __init__(self, session: Session, signature: Signature, quantized: Mapping[str, Scale]) -> None:
        self.signature = signature
        self.device = session.device
        self._session = session
        self._inputs = [(spec.name, quantized[spec.name]) for spec in signature.inputs if spec.name in quantized]
        self._outputs = [(spec.name, quantized[spec.name]) for spec in signature.outputs if spec.name in quantized]

    def run(self, inputs: Tensors) -> dict[str, Array]:
        return self.through(self._session.run, inputs)

    def through(self, run: Callable[[Tensors], dict[str, Array]], inputs: Tensors) -> dict[str, Array]:
        """What a run on integers gives, in float32 on both sides."""
        stored = dict(inputs)
        for name, scale in self._inputs:
            try:
                stored[name] = quantize(inputs[name], scale)
            except ValueError as error:
                raise RunError(f"input {name!r} of {self.device}: {error}") from error
        outputs = run(stored)
        for name, scale in self._outputs:
            outputs[name] = dequantize(outputs[name], scale)
        return outputs

    def stream(self) -> Stream:
        return IntegerStream(self, self._session.stream()) if self.signature.hidden_state else StateStream(self)

    def close(self) -> None:
        self._session.close()


class IntegerStream:
    """A stream whose state is inside the artifact, seen from outside in float32."""

    def __init__(self, session: IntegerSession, stream: Stream) -> None:
        self._session = session
        self._stream = stream

    def run(self, inputs: Tensors) -> dict[str, Array]:
        return self._session.through(self._stream.run, inputs)

    @property
    def state(self) -> dict[str, Array]:
        return self._stream.state

    @state.setter
    def state(self, state: Tensors) -> None:
        self._stream.state = state

    def reset(self) -> None:
        self._stream.reset()


def _stored(specs: tuple[TensorSpec, ...], quantized: Mapping[str, Scale]) -> tuple[TensorSpec, ...]:
    return tuple(
        msgspec.structs.replace(spec, dtype=quantized[spec.name].dtype) if spec.name in quantized else spec
        for spec in specs
    )


def _check(artifact: Path, session: Session, quantized: Mapping[str, Scale]) -> None:
    told = session.scales if isinstance(session, Scaled) else {}
    for name, scale in quantized.items():
        own = told.get(name, scale)
        if not isclose(own.scale, scale.scale, rel_tol=1e-5) or own.zero_point != scale.zero_point:
            raise ArtifactError(
                f"{artifact.name} holds {name!r} with scale {own.scale:.8g} and zero point {own.zero_point}; the "
                f"manifest's `quantized` says {scale.scale:.8g} and {scale.zero_point}"
            )
