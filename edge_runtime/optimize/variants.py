"""A bundle with an int8 variant more, if that variant is right."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from edge_runtime import backends
from edge_runtime.backends.base import Session
from edge_runtime.bundles.archive import check, file_of, files_of
from edge_runtime.bundles.bundle import Bundle, read_bundle
from edge_runtime.bundles.manifest import MANIFEST, Accuracy, Variant, check_version, encode
from edge_runtime.errors import ArtifactError, BundleError, EdgeError, InputError
from edge_runtime.optimize.gate import Gate, Verdict
from edge_runtime.optimize.quantize import Progress, Quantization, quantize
from edge_runtime.optimize.samples import check_samples
from edge_runtime.values import Tensors

INT8 = "int8-onnx"
"""The name of the variant that is added."""


class Outcome(msgspec.Struct, frozen=True):
    """What came of it."""

    bundle: Bundle | None
    """The bundle with the variant; None if the variant was refused, and then nothing was written."""
    verdicts: tuple[Verdict, ...]
    """One for each engine here that runs it."""

    @property
    def admitted(self) -> bool:
        return self.bundle is not None


def optimize(
    bundle: Bundle,
    calibration: Sequence[Tensors],
    gate: Gate,
    *,
    out: Path,
    version: str | None = None,
    quantization: Quantization = Quantization(),
    progress: Progress = lambda done, total: None,
) -> Outcome:
    """Write to `out`, a folder that is not there yet, the bundle with an int8 variant, if `gate` admits that variant.

    The variant is made of the bundle's fp32 ONNX variant. It must pass on every engine installed here that runs that one,
    against the original on ONNX Runtime, and its accuracy in the manifest is the worst of them. `calibration` holds inputs
    as the signature names them, none of which the gate judges by. `version` is the new bundle's; None keeps the old.
    Raises InputError, EngineMissingError, ArtifactError, RunError, BundleError; whatever fails leaves nothing behind.
    """
    manifest, source = bundle.manifest, _source(bundle)
    version = manifest.version if version is None else check_version(version)
    check_samples(manifest.signature.inputs, calibration)
    own = [{source.names.get(name, name): array for name, array in sample.items()} for sample in calibration]
    engines = [
        name
        for name in backends.NAMES
        if "onnx" in backends.backend(name).formats and any(backends.backend(name).devices())
    ]
    steps = len(own) + 2 + len(engines)
    with _staged(out) as folder:
        path = f"{manifest.name}.int8.onnx"
        quantize(bundle.artifact(source), folder / path, own, quantization, lambda done, _: progress(done, steps))
        variant = Variant(INT8, "onnx", "int8", (file_of(folder, path),), names=source.names)
        verdicts = []
        for count, engine in enumerate(engines, 1):
            verdicts += _judge(bundle, source, variant, folder, engine, gate)
            progress(steps - len(engines) + count, steps)
        worst = min(verdicts, key=lambda verdict: verdict.margin)
        if not all(verdict.admitted for verdict in verdicts):
            return Outcome(None, tuple(verdicts))
        # Four digits: the rest differs from one CPU to the next, and the digest with it.
        rounded = msgspec.structs.replace(worst.accuracy, value=float(f"{worst.accuracy.value:.4g}"))
        variant = msgspec.structs.replace(variant, accuracy=rounded)
        _copy_files(bundle, folder)
        new = msgspec.structs.replace(manifest, version=version, variants=(*manifest.variants, variant))
        files_of(new)
        (folder / MANIFEST).write_bytes(encode(new))
        folder.rename(out)
    return Outcome(read_bundle(out), tuple(verdicts))


def _source(bundle: Bundle) -> Variant:
    variants = bundle.manifest.variants
    if any(variant.name == INT8 for variant in variants):
        raise InputError(f"{bundle.manifest.name} {bundle.manifest.version} has a variant {INT8} already")
    for variant in variants:
        if (variant.format, variant.precision) == ("onnx", "fp32"):
            return variant
    raise InputError(f"{bundle.manifest.name} {bundle.manifest.version} has no fp32 ONNX variant to make an int8 one of")


def _judge(bundle: Bundle, source: Variant, variant: Variant, folder: Path, engine: str, gate: Gate) -> list[Verdict]:
    """The gate's verdict on one engine; none if that engine does not run the original either."""
    with _session("onnx", bundle, bundle.artifact(source), source) as reference:
        try:
            with _session(engine, bundle, folder / variant.files[0].path, variant) as candidate:
                return [gate(reference, candidate)]
        except ArtifactError as error:
            try:
                with _session(engine, bundle, bundle.artifact(source), source):
                    trouble = str(error)
            except ArtifactError:
                return []
    return [Verdict(engine, Accuracy("", float("nan"), ""), float("-inf"), trouble)]


@contextmanager
def _session(engine: str, bundle: Bundle, artifact: Path, variant: Variant) -> Iterator[Session]:
    session = backends.backend(engine).load(artifact, signature=bundle.manifest.signature, names=variant.names)
    try:
        yield session
    finally:
        session.close()


@contextmanager
def _staged(out: Path) -> Iterator[Path]:
    """A folder beside `out` to gather the new bundle in, gone in the end unless it was renamed to `out`."""
    if out.exists():
        raise BundleError(f"{out} is there already: give a folder that is not")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".optimize-", dir=out.parent) as room:
            folder = Path(room, "bundle")
            folder.mkdir()
            yield folder
    except OSError as error:
        if isinstance(error, EdgeError):  # BudgetError and LateError are OSErrors too
            raise
        raise BundleError(f"cannot write the bundle to {out}: {error}") from error


def _copy_files(bundle: Bundle, folder: Path) -> None:
    for file in files_of(bundle.manifest):
        (folder / file.path).parent.mkdir(parents=True, exist_ok=True)
        with (bundle.folder / file.path).open("rb") as source, (folder / file.path).open("xb") as sink:
            check(file, source, sink)
