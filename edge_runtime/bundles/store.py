"""The bundles of a device, on disk: versions side by side, one of them active.

    STORE/NAME/VERSION/manifest.json, ...    a version; never written to once it is there
    STORE/NAME/state.json                    {"active": VERSION, "history": [...], "trial": true}: what serves, what did
                                             before, and whether that is to come back unless it is committed; replaced whole
    STORE/.staging-*                         installs under way, or what a killed one left (the next install sweeps it up)
    STORE/.lock                              held while something above changes; readers need no lock

A process may be killed at any point, and several may work on a store at once: what a reader finds is always a whole
version, and the state from before or from after.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from edge_runtime.bundles import archive
from edge_runtime.bundles.bundle import Bundle, State, read_bundle
from edge_runtime.bundles.installed import STATE, Installed, disk
from edge_runtime.bundles.manifest import MANIFEST, Manifest
from edge_runtime.errors import BundleError, DigestError, DiskFullError
from edge_runtime.whole import sync

__all__ = ["Bundle", "State", "Store", "read_bundle"]

_STAGING = ".staging-"


class Store(Installed):
    """A folder of installed bundles, to be changed. Every error is a BundleError, those of the disk too."""

    def __init__(self, path: str | Path, *, create: bool = False) -> None:
        if create:
            with disk(f"cannot make a store at {path}"):
                Path(path).mkdir(parents=True, exist_ok=True)
        super().__init__(path)

    def install(self, source: Path, *, activate: bool = True) -> Bundle:
        """Install a bundle from its folder or its one-file form, each file checked against the manifest on the way.

        A version that is here already stays as it is; if its files are damaged they are put right. A bundle that differs
        under the same name and version raises BundleError. Whatever fails leaves the store as it was.
        """
        with archive.opened(source) as (manifest, contents):
            digest = hashlib.sha256(contents.manifest).hexdigest()
            installed = self._same(manifest, digest)
            if installed is None or not self._intact(installed):
                with disk(f"cannot install {source} into {self.path}"), self._staged() as staging:
                    self._check_space(manifest)
                    _copy(contents, manifest, staging)
                    with self._locked():
                        self._place(manifest, digest, staging)
        return self.activate(manifest.name, manifest.version) if activate else self.bundle(manifest.name, manifest.version)

    def activate(self, name: str, version: str, *, trial: bool = False) -> Bundle:
        """Make an installed version the active one, by one atomic rename.

        On `trial` it serves as any other, until `commit` keeps it or `abandon` brings back what was before; that survives
        whatever ends this process. Whoever gives versions on trial abandons what is left of them when it starts.
        """
        with disk(f"cannot activate {name} {version}"), self._locked():
            bundle = self.bundle(name, version)
            self._change(name, self._state(name).activate(version, trial=trial))
        return bundle

    def commit(self, name: str, version: str) -> Bundle:
        """Keep a version that was on trial. Raises BundleError if it is not active any more."""
        with disk(f"cannot commit {name} {version}"), self._locked():
            bundle, state = self.bundle(name, version), self._state(name)
            if state.active != version:
                raise BundleError(f"{name} {version} cannot be committed: active is {state.active or 'none'}")
            self._change(name, state.commit())
        return bundle

    def abandon(self, name: str) -> str | None:
        """Make the version active that was before the one on trial, or none if none was, by one atomic rename. The version
        that was on trial; None where none was, which changes nothing."""
        with disk(f"cannot bring back what was before {name}"), self._locked():
            state = self._state(name)
            self._change(name, state.abandon())
        return state.active if state.trial else None

    def rollback(self, name: str) -> Bundle:
        """Make the version active that was active before, by one atomic rename. Raises NotInstalledError if none was."""
        with disk(f"cannot roll {name} back"), self._locked():
            state = self._state(name)
            if state.active is None:
                raise self._missing(name)
            back = state.rollback()
            bundle = self.bundle(name, back.active)
            self._change(name, back)
        return bundle

    def remove(self, name: str, version: str) -> None:
        """Delete a version that is not active."""
        with disk(f"cannot remove {name} {version}"), self._locked():
            bundle, state = self.bundle(name, version), self._state(name)
            if state.active == version:
                raise BundleError(f"{name} {version} is active: activate another version, then remove it")
            self._change(name, state.forget(version))
            trash = Path(tempfile.mkdtemp(prefix=_STAGING, dir=self.path))
            bundle.folder.rename(trash / version)  # at once out of sight, then deleted at leisure
            shutil.rmtree(trash)

    def prune(self, name: str, keep: int) -> tuple[str, ...]:
        """Delete old versions of a model: which. The active one stays, and `keep` others: first those that were active
        last, then the newest. One on trial has the one before it beside it. Where none is active, all stay."""
        old = self._state(name).old(self.versions(name), keep)
        for version in old:
            self.remove(name, version)
        return old

    def verify(self, bundle: Bundle) -> None:
        """Hash every file of a bundle again. Raises DigestError if one is not what the manifest says, or is gone."""
        for file in archive.files_of(bundle.manifest):
            try:
                with (bundle.folder / file.path).open("rb") as source:
                    archive.check(file, source)
            except OSError as error:
                raise DigestError(f"{file.path} of {bundle.folder} cannot be read: {error.strerror}") from error

    def pack(self, bundle: Bundle, target: Path) -> None:
        """Write a bundle's one-file form. The same bundle gives the same bytes."""
        archive.write(bundle.folder, bundle.manifest, target)

    def _change(self, name: str, state: State) -> None:
        if state == self._state(name):
            return
        folder = self.path / name
        fresh = folder / f".{STATE}.new"  # one name is enough under the lock, and the next change overwrites a leftover
        with fresh.open("wb") as file:
            file.write(msgspec.json.encode(state) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(folder / STATE)
        sync(folder)

    def _same(self, manifest: Manifest, digest: str) -> Bundle | None:
        """The installed bundle of this name and version, if there is one; BundleError if its digest is another."""
        if manifest.version not in self.versions(manifest.name):
            return None
        installed = self.bundle(manifest.name, manifest.version)
        if installed.digest != digest:
            raise BundleError(
                f"{manifest.name} {manifest.version} is installed with digest {installed.digest[:12]}, and this one has "
                f"{digest[:12]}: give a changed bundle a new version"
            )
        return installed

    def _intact(self, bundle: Bundle) -> bool:
        try:
            self.verify(bundle)
        except DigestError:
            return False
        return True

    def _check_space(self, manifest: Manifest) -> None:
        wanted, free = sum(file.size for file in archive.files_of(manifest)), shutil.disk_usage(self.path).free
        if wanted > free:
            raise DiskFullError(
                f"{manifest.name} needs {wanted / 1e6:.1f} MB in {self.path}, where {free / 1e6:.1f} MB are free"
            )

    def _place(self, manifest: Manifest, digest: str, staging: Path) -> None:
        """Move a staged version to its place. One that came there meanwhile, or is damaged, gets its files replaced one by
        one: each is whole at any time, and an engine that has the old one open keeps it."""
        folder = self.path / manifest.name
        folder.mkdir(exist_ok=True)
        final = folder / manifest.version
        if self._same(manifest, digest) is None:
            staging.rename(final)
        else:
            for file in archive.files_of(manifest):
                (final / file.path).parent.mkdir(parents=True, exist_ok=True)
                (staging / file.path).replace(final / file.path)
                sync((final / file.path).parent)
        sync(folder)
        sync(self.path)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        lock = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    @contextmanager
    def _staged(self) -> Iterator[Path]:
        """A folder to gather a version in. It is locked while its maker lives, which tells it from a killed one's."""
        with self._locked():
            self._sweep()
            staging = Path(tempfile.mkdtemp(prefix=_STAGING, dir=self.path))
            owned = os.open(staging, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(owned, fcntl.LOCK_EX)
        try:
            staging.chmod(0o755)  # mkdtemp's 0700 would keep other users of the store from reading the version
            yield staging
        finally:
            os.close(owned)
            shutil.rmtree(staging, ignore_errors=True)

    def _sweep(self) -> None:
        for leftover in self.path.glob(f"{_STAGING}*"):
            if leftover.is_symlink() or not leftover.is_dir():  # nobody's install is one
                leftover.unlink()
                continue
            owned = os.open(leftover, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                with suppress(BlockingIOError):
                    fcntl.flock(owned, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(leftover)
            finally:
                os.close(owned)


def _copy(contents: archive.Contents, manifest: Manifest, staging: Path) -> None:
    """Gather a version in `staging`, on the disk to the last byte; the manifest comes last."""
    for file in archive.files_of(manifest):
        target = staging / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        archive.copy(contents, file, target)
    with (staging / MANIFEST).open("xb") as sink:
        sink.write(contents.manifest)
        sink.flush()
        os.fsync(sink.fileno())
    for folder, _, _ in os.walk(staging):
        sync(Path(folder))
