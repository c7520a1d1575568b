"""A recipe: how a bundle is made from files that packages carry. `recipe.toml` in a model's folder."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.metadata import distributions
from pathlib import Path
from typing import Literal

import msgspec

from edge_runtime.bundles.manifest import Accuracy, File, Manifest, Scale, Source, Variant
from edge_runtime.errors import BundleError, DigestError
from edge_runtime.optimize import Quantization
from edge_runtime.processing.kinds import Raw
from edge_runtime.processing.process import tensors
from edge_runtime.processing.steps import Processing
from edge_runtime.signature import Signature
from edge_runtime.values import Tensors

HERE = Path(__file__).parent
REQUIREMENTS = "requirements/models.txt"


class Carried(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Files that a package carries."""

    package: str
    version: str
    files: dict[str, str]
    """Path in the packages' folder -> sha256."""


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A variant that is one of the package's files as it is, or is made of such files."""

    name: str
    format: str
    precision: str
    file: str = ""
    """The package's."""
    made: str = ""
    """The module beside the recipe that makes it instead: its `make(packages, target)` writes the artifact, the same bytes
    each time. Where it lacks a tool (EngineMissingError) the variant is left out, unless there is no other."""
    names: dict[str, str] = {}
    quantized: dict[str, Scale] = {}
    accuracy: Accuracy | None = None

    def __post_init__(self) -> None:
        if bool(self.file) == bool(self.made):
            raise ValueError(f"variant {self.name!r}: give the file that it is, or the module that makes it")


class Labels(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Labels that a package's file has."""

    key: str
    """Under which they are: in the metadata of the first variant's ONNX file, one a line, or in `file`, as a list."""
    file: str = ""
    """A JSON file of the package."""
    before: tuple[str, ...] = ()
    """Labels that come before those."""
    after: tuple[str, ...] = ()


class Int8(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Variants to make of the fp32 ones, by samples and a measure or a gate from the `calibration.py` beside the recipe."""

    tolerance: float
    """How much less accurate than fp32 one may be; how far from fp32's outputs, where there is no measure."""
    ways: tuple[str, ...] = ()
    """Those to try, by their variants' names; all where none is named. Some take minutes to say what `refused` tells."""
    source: Carried | None = None
    """What the samples are made of, where they are made of something."""
    quantization: Quantization = Quantization()


class Trained(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A net that is trained here, by the `net.py` and `train.py` beside the recipe."""

    exporter: Literal["torchscript", "dynamo"] = "torchscript"
    """torch's way to ONNX: torchscript keeps a recurrent layer as one operator."""


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How one version of one bundle is made. Whoever changes what comes out of it raises its version."""

    name: str
    version: str
    task: str
    licence: str
    source: Carried
    signature: Signature
    others: tuple[Carried, ...] = ()
    """More packages of which files are needed."""
    variants: tuple[Part, ...] = ()
    """Those that the package carries; none for a net that is trained here."""
    network: str = ""
    """Which kind, in a few words."""
    data: str = ""
    """What it was trained and judged with, and the data's licence."""
    sizes: dict[str, int] = {}
    partner: str | None = None
    partner_accuracy: Accuracy | msgspec.UnsetType = msgspec.UNSET
    """The partner's, in the measure and on the data of this model's own."""
    labels: Labels | None = None
    classes: tuple[str, ...] = ()
    """The labels, where they are few."""
    vocabulary: str = ""
    """A package's file of word pieces, for `processing`."""
    processing: Processing | None = None
    int8: Int8 | None = None
    trained: Trained | None = None
    refused: dict[str, str] = {}
    """Variants that cannot be made, and what the tools said when it was tried."""

    def __post_init__(self) -> None:
        if (self.trained is None) != bool(self.variants):
            raise ValueError("give the variants that the package carries, or say how it is trained")
        if self.labels is not None and self.classes:
            raise ValueError("give labels or classes, not both")
        if any("\n" in label for label in self.classes):
            raise ValueError("a class has a line end in its name")

    @property
    def carried(self) -> tuple[Carried, ...]:
        """All that must be there to make it."""
        needed = (self.source, *self.others, None if self.int8 is None else self.int8.source)
        return tuple(carried for carried in needed if carried is not None)

    def manifest(self, files: dict[str, File], labels: File | None, vocabulary: File | None) -> Manifest:
        """The manifest, before int8. `files`: of each variant that could be made, by its name."""
        parts = (part for part in self.variants if part.name in files)
        return self.described(
            tuple(
                Variant(
                    part.name, part.format, part.precision, (files[part.name],), part.accuracy, part.names, part.quantized
                )
                for part in parts
            ),
            labels, vocabulary,
        )  # fmt: skip

    def described(
        self, variants: tuple[Variant, ...], labels: File | None, vocabulary: File | None = None
    ) -> Manifest:  # fmt: skip
        """The manifest with these variants."""
        return Manifest(
            name=self.name,
            version=self.version,
            task=self.task,
            signature=self.signature,
            variants=variants,
            sizes=self.sizes,
            partner=self.partner,
            partner_accuracy=self.partner_accuracy,
            labels=labels,
            vocabulary=vocabulary,
            processing=self.processing,
            licence=self.licence,
            source=Source(
                self.source.package, self.source.version, tuple(self.source.files), tuple(self.source.files.values())
            ),
        )


def names() -> tuple[str, ...]:
    """The models that have a recipe, sorted."""
    return tuple(sorted(path.parent.name for path in HERE.glob("*/recipe.toml")))


def load(name: str) -> Recipe:
    """The recipe of this model. Raises BundleError."""
    path = HERE / name / "recipe.toml"
    if name not in names():
        raise BundleError(f"there is no recipe for {name!r}; there are {', '.join(names())}")
    try:
        recipe = msgspec.toml.decode(path.read_bytes(), type=Recipe)
    except (msgspec.MsgspecError, ValueError) as error:
        raise BundleError(f"{path}: {error}") from error
    if recipe.name != name:
        raise BundleError(f"{path} is a recipe for {recipe.name!r}")
    return recipe


def prepared(name: str, raw: Raw) -> Sequence[Tensors]:
    """What this model is given for a picture, a sound, ...: for calibration, before there is a bundle."""
    processing = load(name).processing
    if processing is None:
        raise BundleError(f"the recipe of {name} has no processing")
    return tensors(processing, raw)


def check(carried: Carried, packages: Path) -> None:
    """Raise BundleError unless this version of the package is there, DigestError unless its files are the known ones."""
    how = f"pip install --no-deps --require-hashes -r {REQUIREMENTS} --target {packages}"
    found = next((d.version for d in distributions(name=carried.package, path=[str(packages)])), None)
    if found != carried.version:
        instead = "which is not there" if found is None else f"where {found} is"
        raise BundleError(f"{carried.package} {carried.version} is needed in {packages}, {instead}: {how}")
    for path, sha256 in carried.files.items():
        try:
            with (packages / path).open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise BundleError(f"{packages / path} of {carried.package} cannot be read ({error.strerror}): {how}") from error
        if digest != sha256:
            raise DigestError(f"{packages / path} is not {carried.package} {carried.version}'s (sha256 {digest}): {how}")
