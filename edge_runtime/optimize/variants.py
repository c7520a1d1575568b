"""A bundle with more variants, those that are right."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from edge_runtime.backends.base import Session
from edge_runtime.bundles.archive import check, files_of
from edge_runtime.bundles.bundle import Bundle, read_bundle
from edge_runtime.bundles.manifest import MANIFEST, Manifest, Variant, check_version, encode
from edge_runtime.errors import BundleError, EdgeError, InputError
from edge_runtime.optimize import drafts
from edge_runtime.optimize.drafts import Draft, Source
from edge_runtime.optimize.gate import Gate, Retention, Trial
from edge_runtime.optimize.quantization import Control, Progress, Quantization, check_exclusions
from edge_runtime.optimize.samples import check_samples
from edge_runtime.optimize.ways import PRUNED, Way, chosen
from edge_runtime.values import Tensors

ORIGINALS = ("onnx", "tflite", "openvino")
"""The formats that a bundle has to begin with. The first that it has is the reference, on its own engine."""


class Outcome(msgspec.Struct, frozen=True):
    """What came of all of them."""

    bundle: Bundle | None
    """The bundle with the variants that were admitted; None if none was, and then nothing was written."""
    trials: tuple[Trial, ...]
    originals: tuple[Trial, ...] = ()
    """The figures of the fp32 variants that were there before, where the gate is a `Retention`. Their margins are those to
    the reference; whatever they are, the variants stay."""

    @property
    def admitted(self) -> bool:
        """Whether at least one variant was."""
        return self.bundle is not None


def optimize(
    bundle: Bundle,
    calibration: Sequence[Tensors],
    gate: Gate,
    *,
    out: Path,
    version: str | None = None,
    only: Sequence[str] = (),
    quantization: Quantization = Quantization(),
    progress: Progress = lambda done, total: None,
) -> Outcome:
    """Write to `out`, a folder that is not there yet, the bundle with those new variants that `gate` admits.

    Each way of `ways.WAYS` is tried, or those of `only`, where the bundle has fp32 in a format that it reads and does not
    have its variant yet. Each variant is admitted or refused by itself: it must pass on every engine installed here that
    runs its format. The reference is fp32 ONNX on ONNX Runtime; without ONNX, TFLite on LiteRT or IR on OpenVINO.
    The accuracy in the manifest is the worst of the engines'. With a `retention` gate the fp32 variants that were there get
    theirs as well. With `quantization.prune` a pruned ONNX variant is made first, and if it is admitted int8 is made of it
    where it would be of ONNX.

    `calibration` holds inputs as the signature names them, none of which the gate judges by. `version` is the new bundle's;
    None keeps the old. Raises InputError, EngineMissingError (no tool is here), ArtifactError (of the reference), RunError,
    BundleError; whatever fails leaves nothing behind.
    """
    manifest = bundle.manifest
    fp32 = _fp32(manifest)
    ways = _to_make(manifest, fp32, chosen(only, quantization), bool(only))
    version = manifest.version if version is None else check_version(version)
    check_samples(manifest.signature.inputs, calibration)
    first = next(fp32[form] for form in ORIGINALS if form in fp32)  # a format's own engine is named like it
    there = [variant for variant in manifest.variants if variant.precision == "fp32"] if isinstance(gate, Retention) else []
    parts = _parts(progress, len(there) + 2 * len(ways))
    left = iter(parts)

    with _staged(out) as folder, drafts.opened(first.format, bundle, first) as reference:

        def make(way: Way, sources: dict[str, Source]) -> Draft:
            source = next((sources[form] for form in way.reads if form in sources), None)
            part = next(left)
            if source is None:
                wanted = " or ".join(way.reads)
                return Draft(way, trouble=f"{manifest.name} has no fp32 variant in {wanted} to make it of")
            return drafts.make(way, source, folder, calibration, quantization, control, part)

        def judge(draft: Draft) -> Trial:
            return drafts.judge(draft, folder, reference, gate, next(left))

        originals = tuple(drafts.measured(bundle, variant, (first, reference), gate, next(left)) for variant in there)
        control = _control(manifest, gate, reference)
        sources = {form: Source(bundle, variant) for form, variant in fp32.items()}
        made = [make(way, sources) for way in ways if way == PRUNED]
        trials = [judge(draft) for draft in made]
        lean = dict(sources)
        lean.update((variant.format, Source(Bundle(manifest, folder), variant)) for _, variant in _admitted(made, trials))
        rest = [make(way, lean if way.precision == "int8" else sources) for way in ways if way != PRUNED]
        _check(rest, quantization)
        made, trials = [*made, *rest], [*trials, *map(judge, rest)]
        parts[-1](1, 1)
        admitted = [_told(variant, trial) for trial, variant in _admitted(made, trials)]
        if not admitted:
            return Outcome(None, tuple(trials), originals)
        known = {trial.variant: trial for trial in originals}
        old = (_told(variant, known[variant.name]) if variant.name in known else variant for variant in manifest.variants)
        new = msgspec.structs.replace(manifest, version=version, variants=(*old, *admitted))
        _complete(bundle, new, folder)
        folder.rename(out)
    return Outcome(read_bundle(out), tuple(trials), originals)


def _control(manifest: Manifest, gate: Gate, reference: Session) -> Control | None:
    """What a tool that looks at the accuracy itself is told, where the gate goes by one."""
    if not isinstance(gate, Retention):
        return None
    return Control(gate.measure, gate.before(reference) - gate.max_drop, gate.max_drop, manifest.signature, {})


def _fp32(manifest: Manifest) -> dict[str, Variant]:
    """The fp32 variants to make others of, by format: the first of each."""
    fp32 = {variant.format: variant for variant in reversed(manifest.variants) if variant.precision == "fp32"}
    if not any(form in fp32 for form in ORIGINALS):
        raise InputError(
            f"{manifest.name} {manifest.version} has no fp32 ONNX or TFLite variant, nor an IR, to make others of"
        )
    return fp32


def _to_make(manifest: Manifest, fp32: dict[str, Variant], ways: Sequence[Way], named: bool) -> list[Way]:
    """Those of these ways whose variant is not there yet; and, unless they were named, that have what they read."""
    there = {variant.name for variant in manifest.variants}
    # An IR that came with the bundle, under whatever name, is not made a second time.
    there |= {"fp32-openvino"} if "openvino" in fp32 else set()
    possible = [way for way in ways if named or any(form in fp32 for form in way.reads)]
    missing = [way for way in possible if way.variant not in there]
    if not missing:
        raise InputError(f"{manifest.name} {manifest.version} has its int8 variants already")
    return missing


def _check(made: Sequence[Draft], quantization: Quantization) -> None:
    """Raise the error of tools that are all missing, or of an exclusion that excludes nothing."""
    absent = [draft.missing for draft in made if draft.missing is not None]
    if made and len(absent) == len(made):
        raise absent[0]
    done = {draft.way.writes for draft in made if draft.nodes.int8}
    if done >= {draft.way.writes for draft in made if draft.way.precision == "int8"}:
        check_exclusions(quantization, [draft.nodes for draft in made])


def _admitted(made: Sequence[Draft], trials: Sequence[Trial]) -> list[tuple[Trial, Variant]]:
    pairs = zip(made, trials, strict=True)
    return [(trial, draft.variant) for draft, trial in pairs if draft.variant is not None and trial.admitted]


def _told(variant: Variant, trial: Trial) -> Variant:
    """The variant as the manifest tells of it: with the worst of its figures, if there is one."""
    verdicts = [verdict for verdict in trial.verdicts if not verdict.trouble]
    if not verdicts:
        return variant
    accuracy = min(verdicts, key=lambda verdict: verdict.margin).accuracy
    # Four digits: the rest differs from one CPU to the next, and the digest with it.
    rounded = msgspec.structs.replace(accuracy, value=float(f"{accuracy.value:.4g}"))
    return msgspec.structs.replace(variant, accuracy=rounded)


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
