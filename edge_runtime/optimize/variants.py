"""A bundle with int8 variants more, those that are right."""

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
from edge_runtime.bundles.manifest import MANIFEST, Accuracy, Manifest, Variant, check_version, encode
from edge_runtime.errors import ArtifactError, BundleError, EdgeError, InputError
from edge_runtime.optimize import onnx, tflite
from edge_runtime.optimize.gate import Gate, Trial, Verdict
from edge_runtime.optimize.quantization import Nodes, Progress, Quantization, Quantizer, check_exclusions
from edge_runtime.optimize.samples import check_samples
from edge_runtime.values import Tensors

QUANTIZERS: dict[str, Quantizer] = {"onnx": onnx.quantize, "tflite": tflite.quantize}
"""By the format that they read and write."""
INT8 = {form: f"int8-{form}" for form in QUANTIZERS}
"""By format, the name of the variant that is added."""


class Outcome(msgspec.Struct, frozen=True):
    """What came of all of them."""

    bundle: Bundle | None
    """The bundle with the variants that were admitted; None if none was, and then nothing was written."""
    trials: tuple[Trial, ...]

    @property
    def admitted(self) -> bool:
        """Whether at least one variant was."""
        return self.bundle is not None


class _Draft(msgspec.Struct, frozen=True):
    """A variant that is made, or the trouble with making it."""

    source: Variant
    variant: Variant | None
    nodes: Nodes = Nodes(())
    trouble: str = ""


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
    """Write to `out`, a folder that is not there yet, the bundle with those int8 variants that `gate` admits.

    One is made of the fp32 variant of each format, ONNX and TFLite, that has none yet, and admitted or refused by itself:
    it must pass on every engine installed here that runs the fp32 one. The reference is fp32 ONNX on ONNX Runtime, or fp32
    TFLite on LiteRT where the bundle has no ONNX; the accuracy in the manifest is the worst of the engines'. `calibration`
    holds inputs as the signature names them, none of which the gate judges by. `version` is the new bundle's; None keeps
    the old. Raises InputError, EngineMissingError, ArtifactError (of the reference), RunError, BundleError; whatever fails
    leaves nothing behind.
    """
    manifest, originals = bundle.manifest, _originals(bundle)
    sources = [source for source in originals if INT8[source.format] not in {known.name for known in manifest.variants}]
    if not sources:
        raise InputError(f"{manifest.name} {manifest.version} has its int8 variants already")
    version = manifest.version if version is None else check_version(version)
    check_samples(manifest.signature.inputs, calibration)
    parts = _parts(progress, 2 * len(sources))
    first = originals[0]  # a format's own engine is named like it
    with _staged(out) as folder, _session(first.format, bundle, bundle.artifact(first), first) as reference:
        making = zip(sources, parts[: len(sources)], strict=True)
        drafts = [_make(bundle, source, calibration, folder, quantization, part) for source, part in making]
        if all(draft.variant for draft in drafts):
            check_exclusions(quantization, [draft.nodes for draft in drafts])
        judging = zip(drafts, parts[len(drafts) :], strict=True)
        trials = tuple(_judge(bundle, draft, folder, reference, gate, part) for draft, part in judging)
        parts[-1](1, 1)
        admitted = [
            _told(draft.variant, trial)
            for draft, trial in zip(drafts, trials, strict=True)
            if draft.variant is not None and trial.admitted
        ]
        if not admitted:
            return Outcome(None, trials)
        new = msgspec.structs.replace(manifest, version=version, variants=(*manifest.variants, *admitted))
        _complete(bundle, new, folder)
        folder.rename(out)
    return Outcome(read_bundle(out), trials)


def _originals(bundle: Bundle) -> list[Variant]:
    """The fp32 variants to make others of: the first of each format, ONNX before TFLite."""
    fp32 = {variant.format: variant for variant in reversed(bundle.manifest.variants) if variant.precision == "fp32"}
    originals = [fp32[form] for form in QUANTIZERS if form in fp32]
    if not originals:
        raise InputError(
            f"{bundle.manifest.name} {bundle.manifest.version} has no fp32 ONNX or TFLite variant to make an int8 one of"
        )
    return originals


def _make(
    bundle: Bundle, source: Variant, calibration: Sequence[Tensors], folder: Path, quantization: Quantization,
    progress: Progress,
) -> _Draft:  # fmt: skip
    own = [{source.names.get(name, name): array for name, array in sample.items()} for sample in calibration]
    path = f"{bundle.manifest.name}.int8.{source.format}"
    try:
        nodes = QUANTIZERS[source.format](bundle.artifact(source), folder / path, own, quantization, progress)
    except (ArtifactError, InputError) as error:
        return _Draft(source, None, trouble=str(error))
    variant = Variant(INT8[source.format], source.format, "int8", (file_of(folder, path),), names=source.names)
    return _Draft(source, variant, nodes)


def _judge(bundle: Bundle, draft: _Draft, folder: Path, reference: Session, gate: Gate, progress: Progress) -> Trial:
    name = INT8[draft.source.format]
    if draft.variant is None:
        return Trial(name, trouble=draft.trouble)
    known = [engine for engine in backends.NAMES if draft.source.format in backends.backend(engine).formats]
    engines = [engine for engine in known if any(backends.backend(engine).devices())]
    verdicts = []
    for count, engine in enumerate(engines, 1):
        verdicts += _judge_on(engine, bundle, draft.source, draft.variant, folder, reference, gate)
        progress(count, len(engines))
    return Trial(name, tuple(verdicts), "" if verdicts else f"none of {', '.join(known)} runs {draft.source.name} here")


def _judge_on(
    engine: str, bundle: Bundle, source: Variant, variant: Variant, folder: Path, reference: Session, gate: Gate
) -> list[Verdict]:
    """The gate's verdict on one engine; none if that engine does not run the original either."""
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


def _told(variant: Variant, trial: Trial) -> Variant:
    """The variant as the manifest tells of it."""
    accuracy = min(trial.verdicts, key=lambda verdict: verdict.margin).accuracy
    # Four digits: the rest differs from one CPU to the next, and the digest with it.
    rounded = msgspec.structs.replace(accuracy, value=float(f"{accuracy.value:.4g}"))
    return msgspec.structs.replace(variant, accuracy=rounded)


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


def _complete(bundle: Bundle, new: Manifest, folder: Path) -> None:
    """Make the folder, in which new files lie, all that this manifest names, and no more."""
    named = {file.path for file in files_of(new)}
    for path in folder.iterdir():
        if path.name not in named:
            path.unlink()
    for file in files_of(bundle.manifest):
        (folder / file.path).parent.mkdir(parents=True, exist_ok=True)
        with (bundle.folder / file.path).open("rb") as source, (folder / file.path).open("xb") as sink:
            check(file, source, sink)
    (folder / MANIFEST).write_bytes(encode(new))


def _parts(progress: Progress, count: int) -> list[Progress]:
    """The progress of as many parts, each a hundred steps of the whole."""

    def part(number: int) -> Progress:
        return lambda done, of: progress(100 * number + 100 * done // of, 100 * count)

    return [part(number) for number in range(count)]
