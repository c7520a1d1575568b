"""What was measured on this device and what was chosen by it, kept in one file. Pure, but for `load` and `save`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from math import ceil
from pathlib import Path
from typing import Annotated

import msgspec

from edge_runtime.bundles.manifest import Manifest, Variant
from edge_runtime.errors import InputError
from edge_runtime.host import Host
from edge_runtime.objective import Objective
from edge_runtime.reading import decoder
from edge_runtime.values import Device, Settings
from edge_runtime.whole import write_whole

SCHEMA = 2
PROFILE = "profile.json"
CACHE = ".compiled"
"""The folder beside a profile that holds what engines made of the chosen models, so that a second start is fast."""

Seconds = Annotated[float, msgspec.Meta(ge=0.0)]


class Candidate(msgspec.Struct, frozen=True):
    """One way to run a model here: a variant, on a device, with settings."""

    variant: Variant
    device: Device
    settings: Settings = Settings()

    def __hash__(self) -> int:  # a variant holds dicts
        return hash((self.variant.name, self.device, self.settings))

    def __str__(self) -> str:
        return f"{self.variant.name} on {self.device} {self.settings}".rstrip()


class Key(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All that a measurement depends on. Where one of these has changed, it no longer holds."""

    sha256: str
    """Of the variant: `Variant.digest`."""
    backend: str
    device: str
    engine: str
    driver: str = ""
    cpu: str
    cores: int
    quota: float | None = None
    settings: Settings = Settings()

    def changes(self, now: Key) -> tuple[str, ...]:
        """What differs from another key, in words; () where the measurement still holds."""
        differing = [name for name in self.__struct_fields__ if getattr(self, name) != getattr(now, name)]
        return tuple(f"{_WORDS[n]} {_shown(getattr(self, n))}, now {_shown(getattr(now, n))}" for n in differing)

    @property
    def digest(self) -> str:
        """A name for it, of 16 hex digits."""
        import hashlib  # here: a large import, for those who keep compiled models

        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:16]


_WORDS = {
    "sha256": "the artifact was", "backend": "the backend was", "device": "the device was", "engine": "the engine was",
    "driver": "the driver was", "cpu": "the processor was", "cores": "cores allowed were", "quota": "the CPU quota was",
    "settings": "the settings were",
}  # fmt: skip


def _shown(value: object) -> str:
    text = "none" if value is None else str(value) or "default"
    return text[:12] if len(text) == 64 else text


def key_of(candidate: Candidate, here: Host) -> Key:
    """What a measurement of this candidate depends on, here and now."""
    device = candidate.device
    return Key(
        sha256=candidate.variant.digest, backend=device.backend, device=device.name, engine=device.engine,
        driver=device.driver, cpu=here.cpu, cores=here.cores, quota=here.quota, settings=candidate.settings,
    )  # fmt: skip


class Measurement(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One candidate, measured."""

    model: str
    version: str
    variant: str
    key: Key
    latency: tuple[Seconds, ...]
    """The whole distribution of its latency: the 0th to the 100th percentile, 101 figures in seconds."""
    runs: int
    cpu: Seconds | None = None
    """CPU seconds of one inference, of all its threads, at `rate` inferences a second."""
    rate: float | None = None
    busy: tuple[Seconds, ...] = ()
    """The distribution of its latency beside a neighbour that keeps one core busy; () where that was not measured."""
    joules: float | None = None
    memory: int | None = None
    """Bytes by which loading and running it grew the resident memory."""
    load: Seconds | None = None
    """From the artifact to a session, with nothing compiled before."""

    def __post_init__(self) -> None:
        for name, figures in (("latency", self.latency), ("busy", self.busy)):
            right = len(figures) == 101 or (name == "busy" and not figures)
            if not right or any(a > b for a, b in pairwise(figures)):
                raise ValueError(f"{name} of {self.model}: 101 ascending figures make a distribution")

    def at(self, share: float) -> float:
        """A percentile of the latency in seconds: 0.95 is the 95th."""
        return self.latency[min(100, ceil(share * 100 - 1e-9))]

    @property
    def name(self) -> str:
        """The candidate as a report names it."""
        return f"{self.variant} on {self.key.backend}:{self.key.device} {self.key.settings}".rstrip()


def distribution(seconds: Sequence[float]) -> tuple[float, ...]:
    """The 0th to the 100th percentile of at least one sample, by nearest rank."""
    ordered, count = sorted(seconds), len(seconds)
    return tuple(ordered[max(0, ceil(count * share / 100 - 1e-9) - 1)] for share in range(101))


class Lost(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A candidate that did not win, and why, in words."""

    candidate: str
    why: str


class Tuned(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The outcome of one model's tournament."""

    model: str
    version: str
    objective: Objective
    date: str
    winner: Measurement
    runners_up: tuple[Measurement, ...] = ()
    """The best first."""
    lost: tuple[Lost, ...] = ()
    seconds: float = 0.0
    """How long it took."""
    verdict: str = ""
    """Why the winner won, in words, with the figures."""


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything measured on this device."""

    schema: int = SCHEMA
    measurements: tuple[Measurement, ...] = ()
    """What `bench` has seen, each candidate once."""
    tuned: tuple[Tuned, ...] = ()
    """What `tune` has chosen, each model's version once."""

    def choice(self, model: str, version: str) -> Tuned | None:
        """The outcome of this version's tournament; else that of the version that was tuned last."""
        mine = [tuned for tuned in self.tuned if tuned.model == model]
        same = [tuned for tuned in mine if tuned.version == version]
        return (same or sorted(mine, key=lambda t: t.date))[-1] if mine else None

    def ranked(self, manifest: Manifest) -> list[Measurement]:
        """What was measured of a model, in the order to try: the tournament's winner, its runners-up, then what was only
        benchmarked, the lowest median first."""
        choice = self.choice(manifest.name, manifest.version)
        chosen = () if choice is None else (choice.winner, *choice.runners_up)
        seen = sorted((m for m in self.measurements if m.model == manifest.name), key=lambda m: m.at(0.5))
        return [*chosen, *seen]

    def of(self, manifest: Manifest, candidate: Candidate, here: Host) -> Measurement | None:
        """What was measured of just this candidate, as long as it still holds."""
        key = key_of(candidate, here)
        return next((m for m in self.ranked(manifest) if m.key == key and m.variant == candidate.variant.name), None)

    def updated(self, measurements: Iterable[Measurement] = (), tuned: Iterable[Tuned] = ()) -> Profile:
        """With new rows in the place of older ones of the same candidate, or of the same version of a model."""
        rows = {_place(m): m for m in (*self.measurements, *measurements)}
        chosen = {(t.model, t.version): t for t in (*self.tuned, *tuned)}
        return Profile(measurements=tuple(rows.values()), tuned=tuple(chosen.values()))

    def keys(self) -> Iterator[Key]:
        """The keys of all winners: what a compiled form is kept for."""
        yield from (tuned.winner.key for tuned in self.tuned)


def _place(m: Measurement) -> tuple[object, ...]:
    return m.model, m.version, m.variant, m.key.backend, m.key.device, m.key.settings


def load(path: Path) -> Profile:
    """Read a profile; a file that is not there is an empty one. Raises InputError when it cannot be read as one."""
    try:
        data = path.read_bytes()
        schema = decoder(_Schema).decode(data).schema
        if schema != SCHEMA:
            raise InputError(
                f"{path} has profile schema {schema}; this version reads {SCHEMA}: remove it and measure again"
            )
        return decoder(Profile).decode(data)
    except FileNotFoundError:
        return Profile()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OSError) as error:
        raise InputError(f"{path} is not a profile of this version ({error}); remove it and measure again") from error


class _Schema(msgspec.Struct):
    schema: int = 1


def save(profile: Profile, path: Path) -> None:
    """Write a profile in one atomic step: after a crash or on a full disk the old one is still whole."""
    write_whole(path, msgspec.json.encode(profile) + b"\n", "the profile")
