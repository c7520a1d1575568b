"""One version of a model in its folder, and which version of a model is active: the values that the store deals in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from edge_runtime.bundles.manifest import MANIFEST, MAX_MANIFEST, Manifest, Variant, decode
from edge_runtime.errors import BundleError, InputError, NotInstalledError

if TYPE_CHECKING:
    from edge_runtime.processing.process import Processor

MAX_HISTORY = 32
"""Versions that rollback can go back, at most."""


class Bundle(msgspec.Struct, frozen=True):
    """One version of one model, in a folder."""

    manifest: Manifest
    folder: Path

    @property
    def digest(self) -> str:
        """The sha256 of the manifest as it lies there; the manifest names the digests of all else."""
        import hashlib  # here: a runtime never hashes, and it is a large import

        return hashlib.sha256(_read_manifest(self.folder)).hexdigest()

    def artifact(self, variant: Variant) -> Path:
        """The file of this variant that an engine is told to load."""
        return self.folder / variant.files[0].path

    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of the output's classes; a label may be empty or a space. () if the model has none."""
        if self.manifest.labels is None:
            return ()
        try:
            text = (self.folder / self.manifest.labels.path).read_bytes().decode()
        except (OSError, UnicodeDecodeError) as error:
            raise BundleError(f"{self.manifest.labels.path} of {self.folder} cannot be read: {error}") from error
        return tuple(text.removesuffix("\n").split("\n"))  # only \n: a label may be a character that splitlines() splits at

    def processor(self) -> Processor:
        """The manifest's processing, with the labels and the vocabulary that it needs. Raises InputError when there is
        none, BundleError when the parts do not fit, EngineMissingError when a package that it needs is not here."""
        from edge_runtime.processing.process import Processor  # here: a model that is given tensors needs none

        manifest = self.manifest
        if manifest.processing is None:
            taken = ", ".join(map(str, manifest.signature.stateless_inputs))
            raise InputError(f"{manifest.name} has no processing: give tensors by name, {{name: array}}; it takes {taken}")
        vocabulary = None if manifest.vocabulary is None else self.folder / manifest.vocabulary.path
        return Processor(manifest.processing, manifest.signature, self.labels(), vocabulary)


def read_bundle(folder: Path) -> Bundle:
    """The bundle in this folder, installed or not. Its files are not hashed: see `Store.verify`. Raises BundleError."""
    return Bundle(decode(_read_manifest(folder)), folder)


def _read_manifest(folder: Path) -> bytes:
    try:
        with (folder / MANIFEST).open("rb") as file:
            return file.read(MAX_MANIFEST + 1)
    except OSError as error:
        raise BundleError(f"{folder} is not a bundle: {MANIFEST}: {error.strerror}") from error


class State(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which version of a model is active, and which were before it, oldest first."""

    active: str | None = None
    history: tuple[str, ...] = ()
    trial: bool = False
    """The active version is on trial: unless it is committed, the one before comes back."""

    def activate(self, version: str, *, trial: bool = False) -> State:
        """With this version active; activating the active one changes nothing, but that without `trial` it is committed. A
        version on trial that another one takes the place of was never one to go back to."""
        if version == self.active:
            return self if trial else self.commit()
        if self.trial:
            return self.abandon().activate(version, trial=trial)
        before = self.history if self.active is None else (*self.history, self.active)
        return State(version, before if trial else before[-MAX_HISTORY:], trial)

    def commit(self) -> State:
        """With the active version no longer on trial."""
        return State(self.active, self.history[-MAX_HISTORY:])

    def abandon(self) -> State:
        """With the version active that was before the one on trial, or none; unchanged where none is on trial."""
        if not self.trial:
            return self
        return self.rollback() if self.history else State()

    def rollback(self) -> State:
        """With the version active that was before; the ones before that stay, for a further rollback."""
        if not self.history:
            raise NotInstalledError(f"no version was active before {self.active}: there is nothing to roll back to")
        return State(self.history[-1], self.history[:-1])

    def old(self, versions: Sequence[str], keep: int) -> tuple[str, ...]:
        """Which of these, the oldest first, may go where `keep` stay beside the active one: those that were active last,
        then the newest. None where none is active; what a trial may go back to stays."""
        if self.active is None:
            return ()
        ranked = dict.fromkeys((*reversed(self.history), *reversed(versions)))
        others = [version for version in ranked if version != self.active and version in versions]
        return tuple(others[max(keep, 1 if self.trial else 0) :])

    def forget(self, version: str) -> State:
        """Without this version in the history."""
        return State(self.active, tuple(other for other in self.history if other != version), self.trial)
