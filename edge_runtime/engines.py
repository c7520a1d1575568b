"""From a bundle to a session that runs: which candidates this device has, and the best of them opened.

The device's Runtime and the cloud's endpoint both open their models here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from edge_runtime import backends
from edge_runtime.backends import integer
from edge_runtime.backends.base import Session
from edge_runtime.bundles.bundle import Bundle
from edge_runtime.bundles.manifest import Manifest, Variant
from edge_runtime.errors import BackendError, DeviceMissingError, EngineMissingError
from edge_runtime.tuning.profile import Candidate, Profile
from edge_runtime.values import Device, Settings

__all__ = ["Candidate", "Loaded", "candidates", "open_best", "open_candidate", "open_variant"]


class Loaded(msgspec.Struct, frozen=True):
    """A bundle's variant, running on a device, and why this one."""

    bundle: Bundle
    candidate: Candidate
    session: Session
    reason: str


def candidates(
    manifest: Manifest, devices: Iterable[Device], settings: Sequence[Settings] = (Settings(),)
) -> tuple[Candidate, ...]:
    """Every way to run this model on these devices, in the manifest's order of variants."""
    found = tuple(devices)
    return tuple(
        Candidate(variant, device, setting)
        for variant in manifest.variants
        for device in found
        for setting in settings
        if variant.format in backends.backend(device.backend).formats
    )


def open_candidate(bundle: Bundle, candidate: Candidate) -> Session:
    """Load one candidate on its device. Raises a BackendError."""
    device = candidate.device
    return open_variant(bundle, candidate.variant, device.backend, device.name, candidate.settings)


def open_variant(
    bundle: Bundle, variant: Variant, backend: str, device: str = "CPU", settings: Settings = Settings()
) -> Session:
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
    )


def open_best(bundle: Bundle, profile: Profile | None = None, *, device: str | None = None) -> Loaded:
    """Open the candidate that the profile says is fastest here, or, unmeasured, the first that loads.

    `device` narrows the choice to one backend ("openvino") or one device of it ("openvino:GPU"). A candidate that does not
    load is passed over and named in the reason. Raises EngineMissingError or DeviceMissingError when there is no candidate,
    and the first candidate's own error when none of them loads.
    """
    failed: list[tuple[Candidate, BackendError]] = []
    for candidate, reason in _in_order(bundle.manifest, profile or Profile(), device):
        try:
            session = open_candidate(bundle, candidate)
        except BackendError as error:
            failed.append((candidate, error))
        else:
            passed_over = "".join(f"; {c} failed: {error}" for c, error in failed)
            return Loaded(bundle, candidate, session, reason + passed_over)
    raise failed[0][1] if failed else _no_candidate(bundle.manifest, device)


def _in_order(manifest: Manifest, profile: Profile, device: str | None) -> Iterator[tuple[Candidate, str]]:
    """The candidates in the order to try them, each with the reason in words.

    Measured ones come first, the lowest median first; then those that were never measured here, in the manifest's order. An
    engine is looked at only when its turn comes: importing one takes longer than many models take to load.
    """

    def here(backend: str) -> Iterator[Candidate]:
        if device is not None and device.partition(":")[0] != backend:
            return
        found = backends.backend(backend).devices()
        yield from (c for d in found if device in (None, d.backend, str(d)) for c in candidates(manifest, (d,)))

    measured = profile.fastest(manifest.name)
    tried: list[Candidate] = []
    for row in measured:
        for candidate in here(row.backend):
            if row.describes(manifest, candidate):
                rank = "measured fastest of" if not tried else "not the fastest of"
                yield candidate, f"{rank} {len(measured)} here: p50 {row.p50 * 1e3:.2f} ms"
                tried.append(candidate)
                break
    for variant in manifest.variants:
        for name in backends.NAMES:
            if variant.format in backends.backend(name).formats:
                for candidate in here(name):
                    if candidate.variant == variant and candidate not in tried:
                        yield candidate, "the first that loads: nothing was measured here (edge-runtime bench --profile)"


def _no_candidate(manifest: Manifest, device: str | None) -> BackendError:
    formats = sorted({variant.format for variant in manifest.variants})
    extras = [name for name in backends.NAMES if set(backends.backend(name).formats) & set(formats)]
    if device is not None:
        here = ", ".join(str(d) for d in backends.devices()) or "none"
        return DeviceMissingError(f"{manifest.name} cannot run on {device!r} here; devices found: {here}")
    if not formats:
        return EngineMissingError(f"{manifest.name} has no variant for this device; it can only be asked of a cloud")
    wanted = " or ".join(f"pip install 'edge-runtime[{name}]'" for name in extras)
    return EngineMissingError(f"no engine for {manifest.name} ({', '.join(formats)}) is installed here: {wanted}")
