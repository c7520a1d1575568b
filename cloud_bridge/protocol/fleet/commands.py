"""What a device can be ordered to do: the document of a job, which is what its signature covers. Pure.

An order that is not understood in full is refused: a device that passed over a limit it does not know would act without it.
So these alone of the fleet's messages forbid what they do not know. A job is its id and the digest of its document.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from cloud_bridge.protocol.fleet.names import Digest, Group, JobId, Model, Seconds, Thing, Version, whole
from cloud_bridge.protocol.fleet.wire import decode, sorted_json
from edge_runtime.errors import InputError, ProtocolError
from edge_runtime.objective import Objective

LIFETIME = 90 * 86_400.0
"""Seconds that a job may live: for so long a device remembers what it has done."""

LARGEST = 64 * 1024
"""Bytes of a document, at most: an envelope of it fits into a message. AWS IoT Jobs takes an envelope of 32 kB."""

LARGEST_RESULT = 8 << 20
"""Bytes of a file that a job sends back, at most."""

_SEGMENT = "[A-Za-z0-9_][A-Za-z0-9._+-]{0,127}"
Target = Annotated[
    str,
    Meta(pattern=whole(f"{_SEGMENT}(?:/{_SEGMENT}){{0,7}}"), max_length=256, description="A path of the TUF repository."),
]
Duration = Annotated[float, Meta(ge=0.0, le=604_800.0)]
Share = Annotated[float, Meta(ge=0.0, le=1.0)]
DeviceFilter = Annotated[str, Meta(pattern=whole("[A-Za-z0-9_.:-]{0,64}"))]


class Health(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a version is held to before it is activated and while it soaks, beside its golden outputs."""

    p99: Annotated[float, Meta(gt=0.0, le=3600.0)] | None = None
    """Seconds within which 99 of 100 runs are done; None: the model's budget on this device, where there is one."""
    failures: Share = 0.0
    """Of the calls while it soaks, the share that may fail."""


class _Command(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
    rename="camel",
    tag_field="operation",
):
    """What all orders have in common."""


class Deploy(_Command, frozen=True, kw_only=True, tag="deploy"):
    """Fetch a bundle, prove it, activate it, and go back if it does not hold."""

    model: Model
    version: Version
    digest: Digest
    """Of the bundle's manifest: what runs in the end."""
    target: Target
    health: Health = Health()
    soak: Duration = 0.0
    """Seconds under live calls before the version is committed."""
    tune: bool = False
    """Hold a tournament for it first; otherwise it runs as the version before was found to run best."""


class Activate(_Command, frozen=True, kw_only=True, tag="activate"):
    """Let an installed version answer, held to the same as a new one."""

    model: Model
    version: Version
    health: Health = Health()
    soak: Duration = 0.0


class Rollback(_Command, frozen=True, kw_only=True, tag="rollback"):
    """Let the version answer that did before."""

    model: Model


class Benchmark(_Command, frozen=True, kw_only=True, tag="benchmark"):
    """Measure the active versions of models; the result is a report."""

    models: Annotated[tuple[Model, ...], Meta(min_length=1, max_length=32)]
    runs: Annotated[int, Meta(ge=1, le=1_000_000)] = 400
    """Of each candidate, unless its time is up."""
    seconds: Annotated[float, Meta(gt=0.0, le=3600.0)] = 2.0
    """The time of each candidate."""
    device: DeviceFilter = ""
    """Only this engine, or engine and device: "openvino", "onnx:CPU"; empty: all."""


class Tune(_Command, frozen=True, kw_only=True, tag="tune"):
    """Find anew how models run best, by a tournament."""

    models: Annotated[tuple[Model, ...], Meta(min_length=1, max_length=32)]
    objective: Objective = Objective()
    device: DeviceFilter = ""
    timeout: Annotated[float, Meta(gt=0.0, le=3600.0)] = 120.0
    """Seconds to load a candidate and run it."""


class CollectLog(_Command, frozen=True, kw_only=True, tag="collect-log"):
    """Send the latest part of the decision log; the result is JSON lines."""

    most: Annotated[int, Meta(ge=1, le=LARGEST_RESULT)] = 1 << 20
    """Bytes, at most."""


Command: TypeAlias = Deploy | Activate | Rollback | Benchmark | Tune | CollectLog


class Document(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, rename="camel"):
    """An order, to whom it is given, and from when until when it holds. Nobody is meant who is not named."""

    job_id: JobId
    issued_at: Seconds
    expires_at: Seconds
    command: Command
    things: tuple[Thing, ...] = ()
    groups: tuple[Group, ...] = ()

    def __post_init__(self) -> None:
        if not 0.0 < self.expires_at - self.issued_at <= LIFETIME:
            raise InputError(
                f"job {self.job_id!r}: it is to expire after it was issued, within {LIFETIME / 86_400:.0f} days"
            )
        if not self.things and not self.groups:
            raise InputError(f"job {self.job_id!r} is meant for nobody: name things or groups")

    def is_for(self, thing: str, groups: tuple[str, ...]) -> bool:
        """Whether a device of these groups is meant."""
        return thing in self.things or not set(groups).isdisjoint(self.groups)


def encode_document(document: Document) -> bytes:
    """The one way to write a document. Raises InputError for one that no device would read."""
    data = sorted_json(document)
    try:
        decode_document(data)
    except ProtocolError as error:
        raise InputError(f"this cannot be a job: {error}") from error
    return data


def decode_document(data: bytes) -> Document:
    """The document in these bytes. Raises ProtocolError."""
    return decode(data, Document, LARGEST)


def digest(data: bytes) -> str:
    """Of a document, as it was signed: with the id, what makes a job the same job."""
    return hashlib.sha256(data).hexdigest()
