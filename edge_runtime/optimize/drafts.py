"""One new variant: made of another, and judged on every engine here that runs it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from edge_runtime import backends
from edge_runtime.backends.base import Session
from edge_runtime.bundles.archive import file_of
from edge_runtime.bundles.bundle import Bundle
from edge_runtime.bundles.manifest import Variant
from edge_runtime.engines import open_variant
from edge_runtime.errors import ArtifactError, EngineMissingError, InputError
from edge_runtime.optimize import tflite
from edge_runtime.optimize.gate import Gate, Trial, Verdict, refusal
from edge_runtime.optimize.quantization import Control, Nodes, Progress, Quantization
from edge_runtime.optimize.ways import Way
from edge_runtime.values import Tensors


class Source(msgspec.Struct, frozen=True):
    """An fp32 variant to make others of: of the bundle, or made just now."""

    bundle: Bundle
    variant: Variant


class Draft(msgspec.Struct, frozen=True):
    """A variant that is made, or the trouble with making it."""

    way: Way
    source: Source | None = None
    variant: Variant | None = None
    nodes: Nodes = Nodes(())
    trouble: str = ""
    missing: EngineMissingError | None = None
    """The trouble, where it is that a tool is not installed."""


def make(
    way: Way, source: Source, folder: Path, calibration: Sequence[Tensors], quantization: Quantization,
    control: Control | None, progress: Progress,
) -> Draft:  # fmt: skip
    """Make a variant in this folder. `control` is by the signature's own names."""
    manifest, origin = source.bundle.manifest, source.variant
    own = [{origin.names.get(name, name): array for name, array in sample.items()} for sample in calibration]
    control = None if control is None else msgspec.structs.replace(control, names=origin.names)
    path = f"{manifest.name}.{way.stem}.{way.suffix}"
    try:
        nodes = way.make(source.bundle.artifact(origin), folder / path, own, quantization, progress, control)
        return Draft(way, source, _described(way, source, folder, path), nodes)
    except (ArtifactError, InputError) as error:
        return Draft(way, source, trouble=str(error))
    except EngineMissingError as error:
        return Draft(way, source, trouble=str(error), missing=error)


def _described(way: Way, source: Source, folder: Path, path: str) -> Variant:
    """The new variant as a manifest has it."""
    origin, signature = source.variant, source.bundle.manifest.signature
    paths = (path, str(Path(path).with_suffix(".bin"))) if way.writes == "openvino" else (path,)
    renamed, scales = tflite.stored(source.bundle.artifact(origin), folder / path) if way.writes == "tflite" else ({}, {})
    names, quantized = dict(origin.names), {}
    for spec in signature.inputs + signature.outputs:
        own = origin.names.get(spec.name, spec.name)
        if own in renamed:
            names[spec.name] = renamed[own]
        if own in scales:
            quantized[spec.name] = scales[own]
    files = tuple(file_of(folder, each) for each in paths)
    return Variant(way.variant, way.writes, way.precision, files, names=names, quantized=quantized)


def judge(draft: Draft, folder: Path, reference: Session, gate: Gate, progress: Progress) -> Trial:
    """The gate's verdicts on a draft, one for each engine that runs its format here."""
    name = draft.way.variant
    if draft.variant is None or draft.source is None:
        return Trial(name, trouble=draft.trouble)
    made = Source(Bundle(draft.source.bundle.manifest, folder), draft.variant)
    engines = _engines(draft.variant)
    verdicts = []
    for count, engine in enumerate(engines, 1):
        verdicts += _judge_on(engine, draft.source, made, reference, gate)
        progress(count, len(engines))
    known = ", ".join(_takers(draft.variant))
    return Trial(name, tuple(verdicts), "" if verdicts else f"none of {known} runs {draft.source.variant.name} here")


def measured(
    bundle: Bundle, variant: Variant, reference: tuple[Variant, Session], gate: Gate, progress: Progress
) -> Trial:  # fmt: skip
    """The figures of a variant that the bundle has already, one for each engine here that loads it."""
    verdicts = []
    for engine in _engines(variant):
        if (variant, engine) == (reference[0], reference[1].device.backend):
            verdicts.append(gate(reference[1], reference[1]))
            continue
        try:
            with opened(engine, bundle, variant) as session:
                verdicts.append(gate(reference[1], session))
        except ArtifactError:
            continue
    progress(1, 1)
    return Trial(variant.name, tuple(verdicts), "" if verdicts else "no engine here loads it")


@contextmanager
def opened(engine: str, bundle: Bundle, variant: Variant) -> Iterator[Session]:
    """A session of this variant on an engine's CPU, closed in the end."""
    session = open_variant(bundle, variant, engine)
    try:
        yield session
    finally:
        session.close()


def _judge_on(engine: str, source: Source, made: Source, reference: Session, gate: Gate) -> list[Verdict]:
    """The gate's verdict on one engine; none if that engine does not run the original either."""
    try:
        with opened(engine, made.bundle, made.variant) as candidate:
            return [gate(reference, candidate)]
    except ArtifactError as error:
        if source.variant.format in backends.backend(engine).formats:
            try:
                with opened(engine, source.bundle, source.variant):
                    pass
            except ArtifactError:
                return []
        return [refusal(engine, str(error))]


def _takers(variant: Variant) -> list[str]:
    return [engine for engine in backends.NAMES if variant.format in backends.backend(engine).formats]


def _engines(variant: Variant) -> list[str]:
    """The engines that take this variant's format, and are installed."""
    return [engine for engine in _takers(variant) if any(backends.backend(engine).devices())]
