"""The device's side: bundles that a repository's operator signed, whatever server or network carries them. The adapter of
tuf.ngclient.

    FOLDER/metadata/            what was seen last, by which an older state of the repository is known for a rollback
    FOLDER/downloads/           the bundle that is being fetched, or was: there is never more than one

One process at a time uses a folder.
"""

from __future__ import annotations

import hashlib
import re
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from cloud_bridge.artifacts.bundle import Described, served_path, target_path
from cloud_bridge.artifacts.download import PART, Terms, Watch, download, read
from cloud_bridge.extra import required
from edge_runtime.errors import (
    BundleError,
    EdgeError,
    NotInstalledError,
    RefusedError,
    UnreachableError,
    UntrustedError,
)
from edge_runtime.reading import convert

with required("fetching bundles from a repository"):
    from tuf.api.exceptions import (
        BadVersionNumberError,
        DownloadError,
        DownloadHTTPError,
        ExpiredMetadataError,
        LengthOrHashMismatchError,
        RepositoryError,
        UnsignedMetadataError,
    )
    from tuf.ngclient import FetcherInterface, TargetFile, Updater

REFRESH = 120.0
"""Seconds that the metadata may take, at most."""

ADVICE = {
    "expired": "nobody published for too long, or somebody keeps the newer ones back, or this device's clock is wrong",
    "rollback": "the server gives an older state than this device has seen",
    "mixed": "the server gives parts of different states, or a changed one",
    "signature": "it is not signed by enough of the keys that the root names",
    "malformed": "it is no metadata",
}
"""What each trouble means."""


class Target(msgspec.Struct, frozen=True):
    """A file that was signed."""

    path: str
    size: int
    """Bytes."""
    sha256: str
    bundle: Described | None
    """The bundle in it; None where the repository does not say."""


class Trusted:
    """A repository at `base_url` as this device trusts it: by `root`, the bytes of a root.json that came with the device,
    and by all that it has seen in `folder` since.

    A `deadline` is an instant of time.monotonic(); a `cancel` stops what it was given to. Every method raises
    UntrustedError when the server gives what it should not (its `trouble` says what), UnreachableError, RefusedError,
    LateError, CancelledError or ProtocolError when it gives nothing, and BundleError when the disk fails.
    """

    def __init__(
        self, folder: Path, root: bytes, base_url: str, *, terms: Terms = Terms(), tls: ssl.SSLContext | None = None
    ) -> None:
        self.folder, self.root, self.url = folder, root, base_url.rstrip("/")
        self._metadata, self._downloads = folder / "metadata", folder / "downloads"
        self._terms, self._tls = terms, tls
        self._updater: Updater | None = None
        self._fetcher = _Fetcher(Watch(terms), tls)

    def refresh(self, *, deadline: float | None = None, cancel: threading.Event | None = None) -> None:
        """Learn what is current. Until that worked nothing can be found."""
        self._updater = None
        self._fetcher.watch = self._watch(deadline, cancel)
        with self._explained():
            self._metadata.mkdir(parents=True, exist_ok=True)
            updater = Updater(
                str(self._metadata), f"{self.url}/metadata/", fetcher=self._fetcher, bootstrap=self.root
            )  # fmt: skip
            updater.refresh()
        self._updater = updater

    def find(self, name: str, version: str) -> Target:
        """The target that holds a bundle. Raises NotInstalledError when there is none of that name and version."""
        target = self.find_path(target_path(name, version))
        if target.bundle is None or (target.bundle.name, target.bundle.version) != (name, version):
            raise UntrustedError(
                f"{target.path} is signed as {target.bundle}, not as {name} {version}", trouble="malformed"
            )
        return target

    def find_path(self, path: str, *, deadline: float | None = None, cancel: threading.Event | None = None) -> Target:
        """The target of this path. Raises NotInstalledError when there is none."""
        if self._updater is None:
            self.refresh(deadline=deadline, cancel=cancel)
        assert self._updater is not None  # noqa: S101 - refresh raises, or it is there
        self._fetcher.watch = self._watch(deadline, cancel)
        with self._explained():
            found = self._updater.get_targetinfo(path)
        if found is None:
            raise NotInstalledError(f"the repository at {self.url} has no {path}: has it been added and published?")
        return _target(found)

    def download(self, target: Target, *, deadline: float | None = None, cancel: threading.Event | None = None) -> Path:
        """Its file, every byte checked; from where the last try ended, and at once where it is here already. Drops whatever
        else lies there. Without a deadline it goes on as long as bytes come."""
        file = self._downloads / served_path(target.path.rpartition("/")[2], target.sha256)
        watch = Watch(self._terms, float("inf") if deadline is None else deadline, cancel)
        try:
            self._downloads.mkdir(parents=True, exist_ok=True)
            for other in self._downloads.iterdir():
                if other.name not in {file.name, f"{file.name}{PART}"}:
                    other.unlink()
            if file.exists() and _sha256(file) == target.sha256:
                return file
        except OSError as error:
            raise BundleError(f"{self._downloads} cannot be used: {error}") from error
        download(
            f"{self.url}/targets/{served_path(target.path, target.sha256)}",
            file, target.size, target.sha256, watch, self._tls,
        )  # fmt: skip
        return file

    def _watch(self, deadline: float | None, cancel: threading.Event | None) -> Watch:
        latest = time.monotonic() + REFRESH
        return Watch(self._terms, latest if deadline is None else min(deadline, latest), cancel)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """What an error of tuf becomes."""
        self._fetcher.last = "the root that this device came with"
        try:
            yield
        except DownloadError as error:
            ours = error.__cause__
            if not isinstance(ours, EdgeError):
                raise UnreachableError(str(error)) from error
            raise ours from ours.__cause__
        except RepositoryError as error:
            trouble = trouble_of(error, self._fetcher.last)
            raise UntrustedError(
                f"{self._fetcher.last} of {self.url} is not trusted: {ADVICE[trouble]} ({error})", trouble=trouble
            ) from error
        except EdgeError:
            raise
        except OSError as error:
            raise BundleError(f"{self._metadata} cannot be used: {error}") from error


class _Fetcher(FetcherInterface):
    """Brings metadata for tuf over this package's own HTTP."""

    def __init__(self, watch: Watch, tls: ssl.SSLContext | None) -> None:
        self.watch, self._tls = watch, tls
        self.last = ""
        """The file that was asked for last."""

    def download_bytes(self, url: str, max_length: int) -> bytes:
        """See FetcherInterface: its errors are DownloadErrors, here with ours as their cause."""
        name = url.rpartition("/")[2]
        try:
            data = read(url, max_length, self.watch, self._tls)
        except RefusedError as error:
            raise DownloadHTTPError(str(error), error.status) from error
        except EdgeError as error:
            raise DownloadError(str(error)) from error
        self.last = name
        return data

    def _fetch(self, url: str) -> Iterator[bytes]:
        raise DownloadError(f"{url} is fetched by download_bytes")


def trouble_of(error: RepositoryError, file: str) -> str:
    """Which attack or trouble it is that tuf found in a file, as UntrustedError names it."""
    role = re.sub(r"^[0-9]+\.", "", file).removesuffix(".json")
    match error:
        case ExpiredMetadataError():
            return "expired"
        case UnsignedMetadataError():
            return "signature"
        case LengthOrHashMismatchError():
            return "mixed"  # what leads to the file names another one
        case BadVersionNumberError():
            expected_other = role == "targets" or str(error).startswith("Expected snapshot version")
            return "mixed" if expected_other else "rollback"
    return "rollback" if str(error).startswith("New snapshot is missing info") else "malformed"


def _target(found: TargetFile) -> Target:
    if (sha256 := found.hashes.get("sha256")) is None or not re.fullmatch("[0-9a-f]{64}", sha256):
        raise UntrustedError(f"{found.path} is signed without a sha256", trouble="malformed")
    try:
        bundle = None if found.custom is None else convert(found.custom, Described)
    except msgspec.ValidationError as error:
        raise UntrustedError(f"{found.path} is signed with an odd description: {error}", trouble="malformed") from error
    return Target(found.path, found.length, sha256, bundle)


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
