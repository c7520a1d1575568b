"""The two forms that a bundle travels in, read with distrust: a folder, and one file (`NAME-VERSION.bundle`, a zip).

Only what the manifest names is ever read, and not a byte more than it says. A folder may hold other things beside, which
are left where they are; a one-file bundle may not, for nobody put them there by accident.
"""

from __future__ import annotations

import hashlib
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Protocol

from edge_runtime.bundles.manifest import MANIFEST, MAX_MANIFEST, File, Manifest, decode
from edge_runtime.errors import BundleError, DigestError, ManifestError

SUFFIX = ".bundle"

MAX_FILES = 1000
"""Files in a bundle, at most."""
MAX_BYTES = (1 << 32) - (1 << 24)
"""Bytes in all files of a bundle, at most: what a plain zip can hold without its 64-bit extension."""

_CHUNK = 1 << 20
_MAX_DIRECTORY = 1 << 20  # of a zip: 1000 entries need a tenth of it
_END = struct.Struct("<4s4H2LH")  # the record that closes a zip without a comment
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date that a zip can say: the same bytes whenever it is packed


class Contents(Protocol):
    """A bundle that is not installed: its manifest as it came, and its files one after another."""

    manifest: bytes

    def open(self, file: File) -> BinaryIO:
        """One file that the manifest names, for reading. Raises BundleError."""
        ...


@contextmanager
def opened(source: Path) -> Iterator[tuple[Manifest, Contents]]:
    """A bundle's checked manifest and its contents, from a folder or from a one-file bundle.

    Raises BundleError (ManifestError, DigestError) for everything that is wrong with it, unreadable files included.
    """
    try:
        if source.is_dir():
            folder = _Folder(source)
            yield _checked(folder.manifest), folder
        else:
            _check_end(source)
            with zipfile.ZipFile(source) as opened_zip:
                archive = _Archive(source, opened_zip)
                manifest = _checked(archive.manifest)
                archive.check_entries(manifest)
                yield manifest, archive
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, UnicodeDecodeError, struct.error) as error:
        raise BundleError(f"{source} is not a readable bundle file: {error}") from error
    except FileNotFoundError as error:
        raise BundleError(f"{error.filename or source} is not there: give a bundle's folder or a {SUFFIX} file") from error
    except OSError as error:
        raise BundleError(f"{source} cannot be read: {error}") from error


def copy(contents: Contents, file: File, target: Path) -> None:
    """Copy one file to a new path and to the disk behind it, in bounded memory. Raises DigestError."""
    with contents.open(file) as source, target.open("xb") as sink:
        check(file, source, sink)
        sink.flush()
        os.fsync(sink.fileno())


def file_of(folder: Path, path: str) -> File:
    """What a manifest says of the file that lies there now."""
    with (folder / path).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return File(path, digest, file.tell())


def check(file: File, source: BinaryIO, sink: BinaryIO | None = None) -> None:
    """Read a file to its end, into `sink` if there is one; DigestError unless size and sha256 are those of the manifest."""
    digest, left = hashlib.sha256(), file.size
    while chunk := source.read(min(_CHUNK, left + 1)):  # one byte past the size tells that there is more
        left -= len(chunk)
        if left < 0:
            raise DigestError(f"{file.path} is larger than the {file.size} bytes that the manifest says")
        digest.update(chunk)
        if sink is not None:
            sink.write(chunk)
    if left:
        raise DigestError(f"{file.path} has {file.size - left} bytes; the manifest says {file.size}")
    if digest.hexdigest() != file.sha256:
        raise DigestError(f"{file.path} has sha256 {digest.hexdigest()}; the manifest says {file.sha256}")


def write(folder: Path, manifest: Manifest, target: Path) -> None:
    """Write the one-file form of a bundle's folder. The same bundle gives the same bytes, on every machine.

    Nothing is compressed: weights hardly shrink, and a compressor's output depends on its version.
    """
    contents = _Folder(folder)
    fresh = target.with_name(f".{target.name}.new")
    try:
        with zipfile.ZipFile(fresh, "w", allowZip64=False) as archive:
            archive.writestr(_entry(MANIFEST), contents.manifest)
            for file in files_of(manifest):
                with contents.open(file) as source, archive.open(_entry(file.path, file.size), "w") as sink:
                    check(file, source, sink)  # type: ignore[arg-type]  # zipfile's IO[bytes] is a BinaryIO in all but name
        with fresh.open("rb") as done:
            os.fsync(done.fileno())
        fresh.replace(target)
    except OSError as error:
        raise BundleError(f"cannot write {target}: {error}") from error
    finally:
        fresh.unlink(missing_ok=True)


def files_of(manifest: Manifest) -> tuple[File, ...]:
    """The files of a bundle, each once; ManifestError if no folder can hold them as they are named."""
    files = {file.path: file for file in manifest.files}
    if len(files) > MAX_FILES:
        raise ManifestError(f"the manifest names {len(files)} files; at most {MAX_FILES} are accepted")
    if (size := sum(file.size for file in files.values())) > MAX_BYTES:
        raise ManifestError(f"the manifest's files have {size} bytes together; at most {MAX_BYTES} are accepted")
    taken: dict[str, str] = {MANIFEST: MANIFEST}
    for path in files:
        if taken.setdefault(path.casefold(), path) != path or path.casefold() == MANIFEST:
            raise ManifestError(f"files {taken[path.casefold()]!r} and {path!r} clash where case does not count")
    for path in files:
        for folder in PurePosixPath(path.casefold()).parents:
            if str(folder) in taken:
                raise ManifestError(f"{taken[str(folder)]!r} cannot be both a file and the folder of {path!r}")
    return tuple(files.values())


def _checked(data: bytes) -> Manifest:
    manifest = decode(data)
    files_of(manifest)
    return manifest


class _Folder:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with self._open(MANIFEST) as file:
            self.manifest = file.read(MAX_MANIFEST + 1)

    def open(self, file: File) -> BinaryIO:
        return self._open(file.path)

    def _open(self, path: str) -> BinaryIO:
        """Open a file without following a link at any step, so that no bundle reaches out of its folder."""
        *folders, name = PurePosixPath(path).parts
        here = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for part in folders:
                below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
                os.close(here)
                here = below
            # Not blocking: a pipe in place of the file must not hang the reader.
            file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=here)
        except FileNotFoundError as error:
            raise BundleError(f"{self._folder} has no file {path!r}") from error
        except OSError as error:
            raise BundleError(f"{path!r} in {self._folder} cannot be opened as a plain file: {error.strerror}") from error
        finally:
            os.close(here)
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise BundleError(f"{path!r} in {self._folder} is not a plain file")
        return os.fdopen(file, "rb")


class _Archive:
    def __init__(self, source: Path, archive: zipfile.ZipFile) -> None:
        self._source, self._archive = source, archive
        self._entries: dict[str, zipfile.ZipInfo] = {}
        for entry in archive.infolist():
            self._check_entry(entry)
            self._entries[entry.filename] = entry
        if MANIFEST not in self._entries:
            raise BundleError(f"{source} has no {MANIFEST}: it is not a bundle")
        with self._read(MANIFEST) as file:
            self.manifest = file.read(MAX_MANIFEST + 1)

    def open(self, file: File) -> BinaryIO:
        return self._read(file.path)

    def check_entries(self, manifest: Manifest) -> None:
        """The entries are just those that the manifest names, each of the size that it names."""
        wanted = {file.path: file for file in files_of(manifest)}
        if extra := sorted(self._entries.keys() - wanted.keys() - {MANIFEST}):
            raise BundleError(f"{self._source} holds {extra[0]!r}, which its manifest does not name")
        for path, file in wanted.items():
            entry = self._entries.get(path)
            if entry is None:
                raise BundleError(f"{self._source} has no file {path!r}")
            if entry.file_size != file.size:
                raise DigestError(f"{path} has {entry.file_size} bytes; the manifest says {file.size}")

    def _check_entry(self, entry: zipfile.ZipInfo) -> None:
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if entry.filename in self._entries:
            raise BundleError(f"{self._source} holds {entry.filename!r} twice")
        if entry.orig_filename != entry.filename or kind not in (0, stat.S_IFREG):
            raise BundleError(f"{self._source} holds {entry.orig_filename!r}, which is not a plain file")
        if entry.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
            # Of the others some take as much memory as the file says, gigabytes, and fail by errors of their own.
            raise BundleError(
                f"{self._source} holds {entry.filename!r} compressed by method {entry.compress_type}: deflate it"
            )
        if entry.flag_bits & 1:
            raise BundleError(f"{self._source} holds {entry.filename!r} encrypted: a bundle is not")

    def _read(self, path: str) -> BinaryIO:
        return self._archive.open(self._entries[path])  # type: ignore[return-value]  # as in `write`


def _check_end(source: Path) -> None:
    """Refuse what is no plain zip by its last bytes, before `zipfile` takes in a directory of any size."""
    with source.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _END.size))
        end = file.read(_END.size)
    if len(end) < _END.size or not end.startswith(b"PK\5\6"):
        raise BundleError(f"{source} is not a bundle file, or it is cut short")
    _, _, _, _, entries, directory, offset, _ = _END.unpack(end)
    if entries > MAX_FILES + 1 or directory > _MAX_DIRECTORY or offset + directory + _END.size != size:
        raise BundleError(f"{source} is not a bundle file: its directory of {entries} entries does not fit")


def _entry(path: str, size: int = 0) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(path, _EPOCH)
    entry.create_system, entry.external_attr, entry.file_size = 3, (stat.S_IFREG | 0o644) << 16, size
    return entry
