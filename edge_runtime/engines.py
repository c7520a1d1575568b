"""From a bundle to a session that runs: which candidates this device has, and the best of them opened.

The device's Runtime and the cloud's endpoint both open their models here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from edge_runtime import backends
from edge_runtime.backends import integer
from edge_runtime.backends.base import Session
from edge_runtime.bundles.bundle import Bundle
from edge_runtime.bundles.manifest import Manifest, Variant
from edge_runtime.errors import ArtifactError, BackendError, DeviceMissingError, EngineMissingError
from edge_runtime.host import Host, host, usable_cores
from edge_runtime.profile import Candidate, Measurement, Profile, Tuned, key_of
from edge_runtime.values import Device, Settings

__all__ = [
    "Candidate",
    "Loaded",
    "candidates",
    "in_order",
    "open_best",
    "open_candidate",
    "open_variant",
    "retuned",
    "tunings",
]


class Loaded(msgspec.Struct, frozen=True):
    """A bundle's variant, running on a device, and why this one."""

    bundle: Bundle
    candidate: Candidate
    session: Session
    reason: str
    stale: tuple[str, ...] = ()
    """What has changed since the choice was measured, in words. () where it still holds, or nothing was measured."""
    meanwhile: str = ""
    """The candidate that is being compiled while this one serves; "" where this is the one to stay."""
    measured: Measurement | None = None
    """What was measured of this candidate on this device."""


class Turn(msgspec.Struct, frozen=True):
    """A candidate whose turn it is to be tried, and why."""

    candidate: Candidate
    reason: str
    stale: tuple[str, ...] = ()
    measured: Measurement | None = None


def candidates(manifest: Manifest, devices: Iterable[Device]) -> tuple[Candidate, ...]:
    """Every way to run this model on these devices with the backends' own settings, in the manifest's order of variants."""
    found = tuple(devices)
    return tuple(
        Candidate(variant, device)
        for variant in manifest.variants
        for device in found
        if variant.format in backends.backend(device.backend).formats
    )


def tunings(manifest: Manifest, devices: Iterable[Device], here: Host | None = None) -> tuple[Candidate, ...]:
    """`candidates`, each with every settings that its backend takes to be worth measuring here; those with its own settings
    come first."""
    plain, cores = candidates(manifest, devices), usable_cores(here or host())
    return tuple(dict.fromkeys((*plain, *(other for c in plain for other in retuned(manifest, c, cores)))))


def retuned(manifest: Manifest, candidate: Candidate, cores: int) -> tuple[Candidate, ...]:
    """The candidate's variant on its device, with every settings that its backend takes to be worth measuring for `cores`
    threads that can really run at once."""
    variant, device = candidate.variant, candidate.device
    settings = backends.backend(device.backend).tunings(device, cores, manifest.signature, manifest.sizes)
    return tuple(Candidate(variant, device, one) for one in settings)


def open_candidate(bundle: Bundle, candidate: Candidate, cache: Path | None = None) -> Session:
    """Load one candidate on its device, from what the engine has compiled before where `cache` holds that. Raises a
    BackendError."""
    device = candidate.device
    opened = candidate.variant, device.backend, device.name, candidate.settings
    if cache is not None:
        try:
            return open_variant(bundle, *opened, cache=cache)
        except ArtifactError:  # a compiled form that the engine refuses must not keep the artifact from being loaded
            pass
    return open_variant(bundle, *opened)


def open_variant(
    bundle: Bundle, variant: Variant, backend: str, device: str = "CPU", settings: Settings = Settings(), *,
    cache: Path | None = None,
) -> Session:  # fmt: skip
    """Load a variant on a backend's device. Tensors that the artifact holds as integers are converted, as the variant's
    `quantized` says: the session's signature is the manifest's. Raises a BackendError."""
    return integer.load(
        backends.backend(backend),
        bundle.artifact(variant),
        device=device,
        settings=settings,
        signature=bundle.manifest.signature,
        names=variant.names,
        quantized=variant.quantized,
        cache=cache,
    )


def open_best(
    bundle: Bundle, profile: Profile | None = None, *, device: str | None = None, caches: Path | None = None
) -> Loaded:
    """Open the candidate that the profile says is best here, or, unmeasured, the first that loads.

    `device` narrows the choice to one backend ("openvino") or one device of it ("openvino:GPU"). `caches` is the folder of
    compiled forms beside the profile. A candidate that does not load is passed over and named in the reason. Raises
    EngineMissingError or DeviceMissingError when there is no candidate, and the first candidate's own error when none of
    them loads.
    """
    failed: list[tuple[Candidate, BackendError]] = []
    for turn in in_order(bundle.manifest, profile or Profile(), device):
        try:
            session = open_candidate(bundle, turn.candidate, compiled(caches, turn.measured))
        except BackendError as error:
            failed.append((turn.candidate, error))
        else:
            passed_over = "".join(f"; {c} failed: {error}" for c, error in failed)
            return Loaded(bundle, turn.candidate, session, turn.reason + passed_over, turn.stale, measured=turn.measured)
    raise failed[0][1] if failed else no_candidate(bundle.manifest, device)


def compiled(caches: Path | None, measured: Measurement | None) -> Path | None:
    """Where the compiled form of a measured candidate is kept, if one is there."""
    folder = None if caches is None or measured is None else caches / measured.key.digest
    return folder if folder is not None and folder.is_dir() else None


def in_order(manifest: Manifest, profile: Profile, device: str | None = None) -> Iterator[Turn]:
    """The candidates in the order to try them, each with the reason in words.

    Measured ones come first: the tournament's winner, whatever has changed since, for it was good; then, as the profile
    ranks them, those whose key still holds, and those measured before something changed. Then come those that were never
    measured here, in the manifest's order. An engine is looked at only when its turn comes: importing one takes longer than
    many models take to load.
    """
    tried: set[Candidate] = set()
    for turn in _known(manifest, profile, device):
        if turn.candidate not in tried:
            tried.add(turn.candidate)
            yield turn
    for variant in manifest.variants:
        for name in backends.NAMES:
            if variant.format in backends.backend(name).formats:
                for found in _devices(name, device):
                    if (candidate := Candidate(variant, found)) not in tried:
                        yield Turn(candidate, "the first that loads: nothing was measured here (edge-runtime tune)")


def _known(manifest: Manifest, profile: Profile, device: str | None) -> Iterator[Turn]:
    """What was measured, as the profile ranks it; what is stale comes last, unless it won."""
    ranked, choice = profile.ranked(manifest), profile.choice(manifest.name, manifest.version)
    if not ranked:
        return
    here, later = host(), list[Turn]()
    for measured in ranked:
        for turn in _measured(manifest, choice, measured, here, device):
            if turn.stale and not _won(choice, measured):
                later.append(turn)
            else:
                yield turn
    yield from later


def _measured(
    manifest: Manifest, choice: Tuned | None, measured: Measurement, here: Host, device: str | None
) -> Iterator[Turn]:
    """The candidate that was measured, where this device still has it."""
    variant = next((v for v in manifest.variants if v.name == measured.variant), None)
    if variant is None or variant.format not in backends.backend(measured.key.backend).formats:
        return
    for found in _devices(measured.key.backend, device):
        if found.name == measured.key.device:
            candidate = Candidate(variant, found, measured.key.settings)
            stale = measured.key.changes(key_of(candidate, here))
            yield Turn(candidate, _reason(choice, measured, stale), stale, measured)


def _won(choice: Tuned | None, measured: Measurement) -> bool:
    return choice is not None and choice.winner == measured


def _reason(choice: Tuned | None, measured: Measurement, stale: tuple[str, ...]) -> str:
    if choice is not None and _won(choice, measured):
        figure = f"p95 {measured.at(0.95) * 1e3:.2f} ms"
        reason = f"tuned for {choice.objective}: the best of {1 + len(choice.runners_up) + len(choice.lost)} here, {figure}"
    elif choice is not None:
        reason = f"not the tournament's winner: p95 {measured.at(0.95) * 1e3:.2f} ms"
    else:
        reason = f"measured here: p50 {measured.at(0.5) * 1e3:.2f} ms"
    return reason + (f"; measured before something changed ({'; '.join(stale)}): tune again" if stale else "")


def _devices(backend: str, device: str | None) -> Iterator[Device]:
    if device is None or device.partition(":")[0] == backend:
        yield from (found for found in backends.backend(backend).devices() if found.fits(device))


def no_candidate(manifest: Manifest, device: str | None) -> BackendError:
    """The error of a device that has nothing to run this model on: it names what to install."""
    formats = sorted({variant.format for variant in manifest.variants})
    extras = [name for name in backends.NAMES if set(backends.backend(name).formats) & set(formats)]
    if device is not None:
        here = ", ".join(str(d) for d in backends.devices()) or "none"
        return DeviceMissingError(f"{manifest.name} cannot run on {device!r} here; devices found: {here}")
    if not formats:
        return EngineMissingError(f"{manifest.name} has no variant for this device; it can only be asked of a cloud")
    wanted = " or ".join(f"pip install 'edge-runtime[{name}]'" for name in extras)
    return EngineMissingError(f"no engine for {manifest.name} ({', '.join(formats)}) is installed here: {wanted}")
