"""Every error that leaves this package, in one tree sorted by who has to act.

EdgeError
├── InputError             the caller: these inputs, or this budget, cannot be used
├── BudgetError            the caller: no target could answer inside the budget
├── BundleError            who made or deployed the bundle
│   ├── ManifestError          it is not a manifest that this version reads
│   ├── DigestError            bytes are not those that the manifest names
│   ├── UntrustedError         what a server gave is not what the operator signed
│   ├── NotInstalledError      the store holds no such model, or no such version
│   └── DiskFullError          there is no room for it
├── BackendError           who set up the device
│   ├── EngineMissingError     the engine, or a package that processing needs, is not installed
│   ├── DeviceMissingError     the engine is here, the device that was asked for is not
│   ├── ArtifactError          the engine does not load this artifact
│   └── RunError               the engine failed while it ran
└── RemoteError            who runs the cloud, or the link to it
    ├── UnreachableError       nobody answers: no link, no broker, no worker
    ├── RefusedError           it answered, and the answer was no
    ├── LateError              the deadline passed before an answer came
    ├── CancelledError         the call was given up on this side
    └── ProtocolError          bytes that are not the protocol's

A message says what was wrong and what to do about it. Errors of an engine, an HTTP library or an MQTT library never get
past the adapter that met them: they arrive as one of these, with the original as `__cause__`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge_runtime.values import Attempt


class EdgeError(Exception):
    """The root: catch it to catch everything that this package raises on purpose."""


class InputError(EdgeError, ValueError):
    """The inputs or the budget of a call do not fit what the model's signature asks for."""


class BudgetError(EdgeError, TimeoutError):
    """No target could answer inside the budget. `attempts` tells what was tried and how each ended."""

    def __init__(self, message: str, attempts: tuple[Attempt, ...] = ()) -> None:
        super().__init__(message)
        self.attempts = attempts


class BundleError(EdgeError):
    """A bundle or a store cannot be used as it is."""


class ManifestError(BundleError):
    """A manifest is malformed, has unknown fields, or contradicts itself."""


class DigestError(BundleError):
    """Bytes on disk or in an archive are not the bytes whose digest the manifest gives."""


class UntrustedError(BundleError):
    """What a server gave is not what the repository's operator signed, or not the newest of it.

    `trouble` says which: "expired" (a freeze, or nobody published), "rollback", "mixed" (parts of different times),
    "signature" (wrong, too few, or of a key that does not count), "hash", "length", "malformed".
    """

    def __init__(self, message: str, *, trouble: str) -> None:
        super().__init__(message)
        self.trouble = trouble

    def __reduce__(self) -> tuple[object, ...]:
        return partial(type(self), trouble=self.trouble), self.args, self.__dict__


class NotInstalledError(BundleError):
    """The store holds no such model or no such version of it."""


class DiskFullError(BundleError):
    """A disk has no room for a bundle."""


class BackendError(EdgeError):
    """An engine cannot do what was asked of it on this device."""


class EngineMissingError(BackendError):
    """The engine (or a package that a step of processing needs) is not installed here; the message names the extra that
    brings it."""


class DeviceMissingError(BackendError):
    """The engine is installed, but the device that was asked for is not there or does not take the model."""


class ArtifactError(BackendError):
    """The engine refuses the artifact, or the artifact is not what its manifest says."""


class RunError(BackendError):
    """The engine raised while it ran a loaded model."""


class RemoteError(EdgeError):
    """The cloud gave no usable answer."""


class UnreachableError(RemoteError):
    """Nobody answers at the other end: connection refused or lost, no broker, no worker."""


class RefusedError(RemoteError):
    """The other end answered with an error.

    `status` is the HTTP status (over MQTT the same number travels as a user property); `retry_after` is in seconds, or
    None when the server gave none.
    """

    def __init__(self, message: str, *, status: int, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after

    def __reduce__(self) -> tuple[object, ...]:  # errors cross processes, and an exception's own knows no keywords
        return partial(type(self), status=self.status, retry_after=self.retry_after), self.args, self.__dict__


class LateError(RemoteError, TimeoutError):
    """The deadline passed before the answer was there."""


class CancelledError(RemoteError):
    """The call was cancelled on this side before an answer came."""


class ProtocolError(RemoteError):
    """Bytes that are not a well-formed message of the protocol, or that break one of its limits."""
