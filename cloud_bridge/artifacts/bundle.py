"""A bundle as a repository's target: how its metadata describes it, under which path, and how its file is put there."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import msgspec

from edge_runtime.bundles import archive
from edge_runtime.bundles.manifest import check_name, check_version
from edge_runtime.errors import BundleError
from edge_runtime.whole import sync


class Described(msgspec.Struct, frozen=True):
    """What signed metadata says of a bundle, beside the length and the digest of its file."""

    name: str
    version: str
    digest: str
    """The sha256 of its manifest: what `Bundle.digest` is once it is installed."""


class Placed(msgspec.Struct, frozen=True):
    """A file that lies where it is served from."""

    sha256: str
    size: int


def target_path(name: str, version: str) -> str:
    """The target of a bundle. Raises ManifestError when that can be no name or no version."""
    return f"{check_name(name)}/{name}-{check_version(version)}{archive.SUFFIX}"


def served_path(path: str, sha256: str) -> str:
    """Where a target's file lies below `targets/`: its name says its bytes, so that it never changes."""
    folder, _, name = path.rpartition("/")
    return f"{folder}/{sha256}.{name}" if folder else f"{sha256}.{name}"


def describe(source: Path) -> Described:
    """A bundle in a folder or in one file, every file checked against the manifest. Raises BundleError."""
    with archive.opened(source) as (manifest, contents):
        for file in archive.files_of(manifest):
            with contents.open(file) as opened:
                archive.check(file, opened)
        return Described(manifest.name, manifest.version, hashlib.sha256(contents.manifest).hexdigest())


def place(source: Path, described: Described, targets: Path) -> Placed:
    """Put a bundle's one-file form below this folder, whole or not at all. Raises BundleError."""
    path = target_path(described.name, described.version)
    fresh = targets / f"{path}.new"  # one name is enough under the repository's lock
    try:
        fresh.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            with archive.opened(source) as (manifest, _):
                archive.write(source, manifest, fresh)
        else:
            shutil.copyfile(source, fresh)
        if describe(fresh) != described:
            raise BundleError(f"{source} changed while it was added: add it again")
        with fresh.open("rb+") as file:
            placed = Placed(hashlib.file_digest(file, "sha256").hexdigest(), file.tell())
            os.fsync(file.fileno())
        fresh.replace(targets / served_path(path, placed.sha256))
        sync(fresh.parent)
        sync(targets)
    except OSError as error:
        raise BundleError(f"{source} could not be put into {targets}: {error}") from error
    finally:
        fresh.unlink(missing_ok=True)
    return placed
