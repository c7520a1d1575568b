"""Bundles that come from elsewhere: every way that one can be wrong is one clear error, and none of it is installed."""

from __future__ import annotations

import os
import stat
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_runtime.bundles.manifest import MANIFEST, encode
from edge_runtime.bundles.store import Store, read_bundle
from edge_runtime.errors import BundleError, DigestError
from tests.bundles import file_of, manifest_of, write_bundle


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store(tmp_path / "store", create=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle's folder."""
    return write_bundle(tmp_path / "bundle")


@pytest.fixture
def packed(tmp_path: Path, store: Store, folder: Path) -> Path:
    """The same bundle in one file."""
    store.pack(read_bundle(folder), tmp_path / "double-1.0.bundle")
    return tmp_path / "double-1.0.bundle"


def assert_refused(store: Store, source: Path, told: str, kind: type[BundleError] = BundleError) -> None:
    """Installing this fails with this error and leaves nothing in the store."""
    with pytest.raises(kind, match=told):
        store.install(source)
    assert store.names() == ()
    assert [entry.name for entry in store.path.iterdir() if entry.name != ".lock"] == []


def repack(source: Path, target: Path, change: Callable[[zipfile.ZipFile, zipfile.ZipInfo, bytes], None]) -> Path:
    """Another archive: `change` writes each entry of the old one as it likes."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.infolist():
            change(new, entry, old.read(entry))
    return target


def keep(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, data: bytes) -> None:
    """Write an entry as it was."""
    archive.writestr(entry, data)


def test_both_forms_install_alike(tmp_path: Path, store: Store, folder: Path, packed: Path) -> None:
    """The folder and the one-file form of a bundle give the same digest and the same files."""
    one = store.install(packed)
    other = Store(tmp_path / "other", create=True).install(folder)
    assert one.digest == other.digest
    assert all((one.folder / file.path).read_bytes() == (folder / file.path).read_bytes() for file in one.manifest.files)


def test_packing_twice(tmp_path: Path, store: Store, folder: Path, packed: Path) -> None:
    """The same bundle packs to the same bytes, whenever and from wherever."""
    os.utime(folder / "model.onnx", (0, 0))
    store.pack(store.install(packed), tmp_path / "again.bundle")
    assert (tmp_path / "again.bundle").read_bytes() == packed.read_bytes()


def test_packing_damage(tmp_path: Path, store: Store, folder: Path) -> None:
    """A damaged bundle is not packed, and no half of a file is left."""
    (folder / "model.onnx").write_bytes(b"weighty")
    (tmp_path / "out").mkdir()
    with pytest.raises(DigestError, match=r"model\.onnx"):
        store.pack(read_bundle(folder), tmp_path / "out" / "x.bundle")
    assert list((tmp_path / "out").iterdir()) == []


def test_packing_to_nowhere(tmp_path: Path, store: Store, folder: Path) -> None:
    """A target that cannot be written is a BundleError that names it."""
    with pytest.raises(BundleError, match=r"cannot write .*nowhere"):
        store.pack(read_bundle(folder), tmp_path / "nowhere" / "x.bundle")


def test_extra_file_in_a_folder(store: Store, folder: Path) -> None:
    """What lies beside the files that the manifest names is not taken along."""
    (folder / "notes.txt").write_text("mine")
    assert not (store.install(folder).folder / "notes.txt").exists()


@pytest.mark.parametrize(
    ("data", "told"), [(b"weightz", "sha256"), (b"weights+", "larger than the 7 bytes"), (b"weight", "has 6 bytes")]
)
def test_changed_file(store: Store, folder: Path, data: bytes, told: str) -> None:
    """A file with other bytes, more of them or fewer is refused."""
    (folder / "model.onnx").write_bytes(data)
    assert_refused(store, folder, told, DigestError)


def test_missing_file(store: Store, folder: Path) -> None:
    """A folder that lacks a file is refused by the file's name."""
    (folder / "extra" / "weights.bin").unlink()
    assert_refused(store, folder, r"no file 'extra/weights\.bin'")


def test_no_bundle_at_all(store: Store, tmp_path: Path) -> None:
    """A path that is not there, an empty folder, and a folder with another manifest are no bundles."""
    assert_refused(store, tmp_path / "nowhere", "is not there")
    (tmp_path / "empty").mkdir()
    assert_refused(store, tmp_path / "empty", "no file 'manifest.json'")
    (tmp_path / "empty" / MANIFEST).write_text("{}")
    assert_refused(store, tmp_path / "empty", "manifest.json")


@pytest.mark.parametrize("path", ["model.onnx", "extra", MANIFEST])
def test_links(store: Store, folder: Path, tmp_path: Path, path: str) -> None:
    """A link in place of a file, of a folder or of the manifest is refused, wherever it points."""
    (folder / path).rename(tmp_path / "elsewhere")
    (folder / path).symlink_to(tmp_path / "elsewhere")
    assert_refused(store, folder, "plain file")


def test_pipe(store: Store, folder: Path) -> None:
    """A pipe in place of a file is refused at once instead of waited for."""
    (folder / "model.onnx").unlink()
    os.mkfifo(folder / "model.onnx")
    assert_refused(store, folder, "not a plain file")


def test_folder_in_place_of_a_file(store: Store, folder: Path) -> None:
    """A folder in place of a file is refused."""
    (folder / "model.onnx").unlink()
    (folder / "model.onnx").mkdir()
    assert_refused(store, folder, "not a plain file")


@pytest.mark.parametrize("name", ["../up", "/etc/passwd", "notes.txt", "extra/", "MODEL.ONNX"])
def test_extra_entry(store: Store, packed: Path, tmp_path: Path, name: str) -> None:
    """An entry that the manifest does not name is refused, with steps up and roots in it or not."""
    with zipfile.ZipFile(repack(packed, tmp_path / "x.bundle", keep), "a") as archive:
        archive.writestr(name, b"")
    assert_refused(store, tmp_path / "x.bundle", "does not name|not a plain file")


def test_entry_twice(store: Store, packed: Path, tmp_path: Path) -> None:
    """An entry that is there twice is refused: readers differ in which one they take."""
    with (
        zipfile.ZipFile(repack(packed, tmp_path / "x.bundle", keep), "a") as archive,
        pytest.warns(UserWarning, match="Duplicate"),
    ):
        archive.writestr("model.onnx", b"weights")
    assert_refused(store, tmp_path / "x.bundle", "twice")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO, stat.S_IFDIR])
def test_entry_of_another_kind(store: Store, packed: Path, tmp_path: Path, kind: int) -> None:
    """An entry that says it is a link, a device, a pipe or a folder is refused."""

    def change(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, data: bytes) -> None:
        if entry.filename == "model.onnx":
            entry.external_attr = (kind | 0o644) << 16
        archive.writestr(entry, data)

    assert_refused(store, repack(packed, tmp_path / "x.bundle", change), "not a plain file")


def test_entry_missing(store: Store, packed: Path, tmp_path: Path) -> None:
    """An archive that lacks a file or the manifest is refused."""

    def without(path: str) -> Callable[[zipfile.ZipFile, zipfile.ZipInfo, bytes], None]:
        return lambda archive, entry, data: None if entry.filename == path else keep(archive, entry, data)

    assert_refused(store, repack(packed, tmp_path / "x.bundle", without("model.onnx")), "no file 'model.onnx'")
    assert_refused(store, repack(packed, tmp_path / "x.bundle", without(MANIFEST)), "not a bundle")


def test_bomb(store: Store, packed: Path, tmp_path: Path) -> None:
    """An entry that unpacks to more than the manifest says is refused, honest about its size or not."""

    def change(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, data: bytes) -> None:
        bomb = entry.filename == "model.onnx"
        archive.writestr(entry, b"\0" * 10_000_000 if bomb else data, zipfile.ZIP_DEFLATED)

    bomb = repack(packed, tmp_path / "x.bundle", change)
    assert_refused(store, bomb, "10000000 bytes; the manifest says 7", DigestError)
    size = (10_000_000).to_bytes(4, "little")
    bomb.write_bytes(bomb.read_bytes().replace(size, (7).to_bytes(4, "little")))  # the lie
    assert_refused(store, bomb, "not a readable bundle file|larger than")


def test_compressed(store: Store, packed: Path, tmp_path: Path) -> None:
    """An archive that another tool compressed installs as well."""
    other = repack(packed, tmp_path / "x.bundle", lambda a, e, data: a.writestr(e, data, zipfile.ZIP_DEFLATED))
    assert store.install(other).manifest.name == "double"


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_methods_that_are_not_read(store: Store, packed: Path, tmp_path: Path, method: int) -> None:
    """LZMA takes the memory that the file asks for, be it gigabytes; nothing but deflate is unpacked."""
    other = repack(packed, tmp_path / "x.bundle", lambda a, e, data: a.writestr(e, data, method))
    assert_refused(store, other, "compressed by method")
    greedy = other.read_bytes().replace(b"\x09\x04\x05\x00\x5d\x00\x00\x80\x00", b"\x09\x04\x05\x00\x5d\xff\xff\xff\xff")
    assert (greedy == other.read_bytes()) == (method != zipfile.ZIP_LZMA)
    (tmp_path / "x.bundle").write_bytes(greedy)
    assert_refused(store, tmp_path / "x.bundle", "compressed by method")


def test_unknown_manifest_field(store: Store, tmp_path: Path) -> None:
    """A manifest with a field that this version does not know is refused in either form."""
    data = encode(manifest_of(file_of("m", b"1"))).replace(b'"schema"', b'"colour": 1, "schema"')
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / MANIFEST).write_bytes(data)
    assert_refused(store, tmp_path / "f", "colour")
    with zipfile.ZipFile(tmp_path / "x.bundle", "w") as archive:
        archive.writestr(MANIFEST, data)
    assert_refused(store, tmp_path / "x.bundle", "colour")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=200)
@given(data=st.data())
def test_truncated_or_flipped(store: Store, packed: Path, tmp_path: Path, data: st.DataObject) -> None:
    """An archive cut short, or with any byte changed, installs just what the manifest names or raises BundleError."""
    whole = packed.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    cut = data.draw(st.booleans())
    broken = whole[:at] if cut else whole[:at] + bytes([whole[at] ^ data.draw(st.integers(1, 255))]) + whole[at + 1 :]
    (tmp_path / "x.bundle").write_bytes(broken)
    fresh = Store(tempfile.mkdtemp(dir=tmp_path))
    try:
        fresh.verify(fresh.install(tmp_path / "x.bundle"))
    except BundleError:
        assert [entry.name for entry in fresh.path.iterdir() if entry.name != ".lock"] == []
    else:
        assert not cut
