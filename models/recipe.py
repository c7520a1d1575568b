"""A recipe: how a bundle is made from files that a package carries. `recipe.toml` in a model's folder."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.metadata import distributions
from pathlib import Path

import msgspec

from edge_runtime.bundles.manifest import Accuracy, File, Manifest, Source, Variant
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
    """A variant that is one of the package's files as it is."""

    name: str
    format: str
    precision: str
    file: str
    names: dict[str, str] = {}
    accuracy: Accuracy | None = None


class Labels(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Labels that the first variant's ONNX file has in its metadata, one a line."""

    metadata: str
    """The key."""
    before: tuple[str, ...] = ()
    """Labels that come before those."""
    after: tuple[str, ...] = ()


class Int8(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """int8 variants to make, one in each fp32 format, by samples and a gate from the `calibration.py` beside the recipe."""

    tolerance: float
    source: Carried | None = None
    """What the samples are made of, where they are made of something."""
    quantization: Quantization = Quantization()


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How one version of one bundle is made. Whoever changes what comes out of it raises its version."""

    name: str
    version: str
    task: str
    licence: str
    source: Carried
    signature: Signature
    variants: tuple[Part, ...]
    sizes: dict[str, int] = {}
    partner: str | None = None
    labels: Labels | None = None
    classes: tuple[str, ...] = ()
    """Labels, written here where no file of the package has them."""
    processing: Processing | None = None
    int8: Int8 | None = None

    def __post_init__(self) -> None:
        if self.labels is not None and self.classes:
            raise BundleError(f"{self.name}: labels are taken from the metadata, or written as classes, not both")
        if any("\n" in label for label in self.classes):
            raise BundleError(f"{self.name}: a class has a line end in its name")

    @property
    def carried(self) -> tuple[Carried, ...]:
        """All that must be there to make it."""
        needed = (self.source, None if self.int8 is None else self.int8.source)
        return tuple(carried for carried in needed if carried is not None)

    def manifest(self, files: dict[str, File], labels: File | None) -> Manifest:
        """The manifest, before int8. `files` maps the package's paths to the bundle's files."""
        return Manifest(
            name=self.name,
            version=self.version,
            task=self.task,
            signature=self.signature,
            variants=tuple(
                Variant(part.name, part.format, part.precision, (files[part.file],), part.accuracy, part.names)
                for part in self.variants
            ),
            sizes=self.sizes,
            partner=self.partner,
            labels=labels,
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
