"""What a bundle says of itself: `manifest.json`. Pure: bytes in, a checked value out, and back."""

from __future__ import annotations

import re
from math import prod
from pathlib import PurePosixPath

import msgspec

from edge_runtime.errors import ManifestError
from edge_runtime.processing.steps import Processing
from edge_runtime.signature import MAX_ELEMENTS, Signature
from edge_runtime.signature import Scale as Scale

SCHEMA = 1
MANIFEST = "manifest.json"
MAX_MANIFEST = 1 << 20
"""Bytes of a manifest, at most."""

FORMATS = ("onnx", "tflite", "openvino")
PRECISIONS = ("fp32", "fp16", "int8")

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
VERSION = re.compile(r"[0-9]{1,18}(\.[0-9]{1,18}){0,3}([-+][A-Za-z0-9.-]{1,32})?")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Accuracy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How right a variant was measured to be."""

    metric: str
    """What was measured: "F1", "character error rate", "max abs difference from fp32"."""
    value: float
    data: str
    """On what it was measured."""
    digest: str = ""
    """The sha256 of that data, where it was taken."""


def less_is_better(metric: str) -> bool:
    """Whether a metric counts what is wrong, by its name: "max abs difference", but "1 - character error rate"."""
    counts = any(word in metric for word in ("difference", "error", "distance", "loss"))
    return counts and not metric.startswith("1 - ")


class File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file of a bundle, by a path relative to its folder."""

    path: str
    sha256: str
    size: int

    def __post_init__(self) -> None:
        path = PurePosixPath(self.path)
        odd = not self.path or "\\" in self.path or "\0" in self.path or ":" in self.path or self.path == MANIFEST
        if odd or path.is_absolute() or ".." in path.parts or str(path) != self.path:
            raise ManifestError(f"file path {self.path!r} is not a plain relative path inside the bundle")
        if not _SHA256.fullmatch(self.sha256):
            raise ManifestError(f"file {self.path!r}: sha256 is not 64 lower-case hex digits")
        if self.size < 0:
            raise ManifestError(f"file {self.path!r}: its size is negative")


class Variant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One artifact: a format and a precision."""

    name: str
    """Unique in its bundle: "fp32-onnx"."""
    format: str
    precision: str
    files: tuple[File, ...]
    """The first is the one that an engine is told to load; the others lie beside it (OpenVINO's .bin)."""
    accuracy: Accuracy | None = None
    names: dict[str, str] = {}
    """The signature's tensor name -> the artifact's own, where they differ."""
    quantized: dict[str, Scale] = {}
    """The signature's float32 tensors that the artifact takes or gives as integers. The session converts."""
    tolerance: float | None = None
    """How far the outputs may be from the golden ones: see `golden.distance`."""

    @property
    def digest(self) -> str:
        """One sha256 for all its files: what a measurement or a compiled form of it belongs to."""
        if len(self.files) == 1:
            return self.files[0].sha256
        import hashlib  # here: a large import, for those who measure or look measurements up

        return hashlib.sha256("".join(file.sha256 for file in self.files).encode()).hexdigest()

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ManifestError(f"variant name {self.name!r}: use a-z, 0-9, _ and -, at most 64")
        if self.format not in FORMATS:
            raise ManifestError(f"variant {self.name!r}: format {self.format!r} is none of {', '.join(FORMATS)}")
        if self.precision not in PRECISIONS:
            raise ManifestError(f"variant {self.name!r}: precision {self.precision!r} is none of {', '.join(PRECISIONS)}")
        if not self.files:
            raise ManifestError(f"variant {self.name!r} has no files")


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a model comes from."""

    package: str
    version: str
    files: tuple[str, ...] = ()
    sha256: tuple[str, ...] = ()


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One version of one model."""

    schema: int = SCHEMA
    name: str
    version: str
    task: str
    """What it does, in a few words: "find lines of text"."""
    signature: Signature
    variants: tuple[Variant, ...]
    """May be empty on a device that only asks a cloud for this model."""
    sizes: dict[str, int] = {}
    """A typical size for each named dimension: what `bench` and warm-up run with."""
    partner: str | None = None
    """The model at the cloud endpoint that answers the same question at least as well; None keeps it on the device."""
    partner_accuracy: Accuracy | msgspec.UnsetType = msgspec.UNSET  # left out of the file, as in older ones
    """How right the partner was measured to be; worth most where the variants' accuracy is in the same measure, on the same
    data."""
    labels: File | None = None
    """A UTF-8 text file, one label a line, in the order of the output's classes."""
    vocabulary: File | None = None
    """A UTF-8 text file, one word piece a line, where `processing` takes texts apart by one."""
    golden: File | None = None
    """An .npz file of inputs and the outputs that are right for them (those of fp32), each under the tensor's name, samples
    stacked along a new first axis. What every variant is held against, by its tolerance."""
    processing: Processing | None = None
    """From what a user has to the inputs, and from the outputs to an answer."""
    licence: str = ""
    """An SPDX expression."""
    source: Source | None = None

    def __post_init__(self) -> None:
        if self.schema != SCHEMA:
            raise ManifestError(f"manifest schema {self.schema} is not supported; this version reads schema {SCHEMA}")
        check_name(self.name)
        check_version(self.version)
        if self.partner is not None:
            check_name(self.partner)
            if self.signature.hidden_state:
                raise ManifestError(
                    "a model with hidden state has no partner: it runs in streams, which stay on the device"
                )
        if len({variant.name for variant in self.variants}) < len(self.variants):
            raise ManifestError("two variants have the same name")
        paths: dict[str, File] = {}
        for file in self.files:
            if paths.setdefault(file.path, file) != file:
                raise ManifestError(f"file {file.path!r} is named twice, with different digests")
        unsized = {size for spec in self.signature.inputs for size in spec.shape if isinstance(size, str)} - set(self.sizes)
        if unsized:
            raise ManifestError(f"no typical size is given for dimension {', '.join(sorted(unsized))}: add it to `sizes`")
        if self.processing is not None:
            self.processing.check(self.signature)
        if any(size < 1 for size in self.sizes.values()):
            raise ManifestError("a typical size is smaller than 1")
        floats = {spec.name for spec in self.signature.inputs + self.signature.outputs if spec.dtype == "float32"}
        for variant in self.variants:
            if wrong := sorted(set(variant.quantized) - floats):
                raise ManifestError(
                    f"variant {variant.name!r} has a scale for {wrong[0]!r}, which is no float32 tensor of the signature; "
                    f"those are {', '.join(sorted(floats)) or 'none'}"
                )
        for spec in self.signature.inputs:
            if prod(spec.sized(self.sizes)) > MAX_ELEMENTS:
                raise ManifestError(f"at its typical sizes tensor {spec.name!r} has over {MAX_ELEMENTS} elements")

    @property
    def files(self) -> tuple[File, ...]:
        """Every file of the bundle but the manifest itself."""
        own = (file for file in (self.labels, self.vocabulary, self.golden) if file is not None)
        return (*(file for variant in self.variants for file in variant.files), *own)

    def variant(self, name: str) -> Variant:
        """The variant of this name."""
        for variant in self.variants:
            if variant.name == name:
                return variant
        known = ", ".join(variant.name for variant in self.variants) or "none"
        raise ManifestError(f"{self.name} {self.version} has no variant {name!r}; it has {known}")


_decoder = msgspec.json.Decoder(Manifest)
"""Made here, once: msgspec (0.22) crashes where two threads are the first to read a type, at the same moment."""


def decode(data: bytes) -> Manifest:
    """Read a manifest. Anything but a well-formed one, unknown fields included, raises ManifestError."""
    if len(data) > MAX_MANIFEST:
        raise ManifestError(f"a manifest of {len(data)} bytes; at most {MAX_MANIFEST} are read")
    try:
        return _decoder.decode(data)
    except msgspec.ValidationError as error:
        raise ManifestError(f"{MANIFEST}: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ManifestError(f"{MANIFEST} is not JSON: {error}") from error


def encode(manifest: Manifest) -> bytes:
    """The manifest as indented JSON; the same value gives the same bytes."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def check_name(name: str) -> str:
    """The name, if it can be a model's (and a folder's, and a topic's)."""
    if not NAME.fullmatch(name):
        raise ManifestError(f"model name {name[:80]!r}: use a-z, 0-9, _ and -, starting with a letter or digit, at most 64")
    return name


def check_version(version: str) -> str:
    """The version, if it can be one: "1", "1.2.0", "2.1-rc1"."""
    if not VERSION.fullmatch(version):
        raise ManifestError(f"version {version[:80]!r}: use numbers with dots, like 1.2.0, with an optional -tag")
    return version
