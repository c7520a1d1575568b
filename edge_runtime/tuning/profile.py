"""What was measured on this device, kept in one file. Pure, but for `load` and `save`."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

from edge_runtime.bundles.manifest import Manifest, Variant
from edge_runtime.errors import InputError
from edge_runtime.values import Device, Settings

SCHEMA = 1
PROFILE = "profile.json"


class Candidate(msgspec.Struct, frozen=True):
    """One way to run a model here: a variant, on a device, with settings."""

    variant: Variant
    device: Device
    settings: Settings = Settings()

    def __str__(self) -> str:
        return f"{self.variant.name} on {self.device}"


class Measurement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The latency of one candidate, in seconds, and what it depends on: when one of these changes, it no longer holds."""

    model: str
    variant: str
    sha256: str
    """Of the artifact."""
    backend: str
    device: str
    engine: str
    settings: Settings
    p50: float
    p90: float
    p95: float
    p99: float
    runs: int

    def describes(self, manifest: Manifest, candidate: Candidate) -> bool:
        """Whether this was measured of just this candidate, on the engine that is installed now."""
        device, variant = candidate.device, candidate.variant
        return (self.model, self.variant, self.sha256) == (manifest.name, variant.name, variant.files[0].sha256) and (
            (self.backend, self.device, self.engine) == (device.backend, device.name, device.engine)
            and self.settings == candidate.settings
        )


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything measured on this device."""

    schema: int = SCHEMA
    measurements: tuple[Measurement, ...] = ()

    def fastest(self, model: str) -> list[Measurement]:
        """What was measured of a model, the lowest median first."""
        return sorted((m for m in self.measurements if m.model == model), key=lambda m: m.p50)

    def updated(self, fresh: Iterable[Measurement]) -> Profile:
        """With new measurements in the place of older ones of the same model and variant on the same device."""
        rows = {(m.model, m.variant, m.backend, m.device, m.settings): m for m in (*self.measurements, *fresh)}
        return Profile(measurements=tuple(rows.values()))


def load(path: Path) -> Profile:
    """Read a profile; a file that is not there is an empty one. Raises InputError when it cannot be read as one."""
    try:
        profile = msgspec.json.decode(path.read_bytes(), type=Profile)
    except FileNotFoundError:
        return Profile()
    except (msgspec.DecodeError, UnicodeDecodeError, OSError) as error:
        raise InputError(f"{path} is not a profile of this version ({error}); remove it and measure again") from error
    if profile.schema != SCHEMA:
        raise InputError(
            f"{path} has profile schema {profile.schema}; this version reads {SCHEMA}: remove it and measure again"
        )
    return profile


def save(profile: Profile, path: Path) -> None:
    """Write a profile in one atomic step: after a crash or on a full disk the old one is still whole."""
    data = msgspec.json.format(msgspec.json.encode(profile), indent=2)
    temporary = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise InputError(f"the profile could not be written to {path}: {error}; the old one is untouched") from error
