"""What a repository and a device do without a network: names, keys, and what tuf's errors mean."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from tuf.api import exceptions as tuf
from tuf.api.serialization import DeserializationError

from cloud_bridge.artifacts.bundle import Described, describe, place, served_path, target_path
from cloud_bridge.artifacts.keys import Keys
from cloud_bridge.artifacts.trusted import ADVICE, trouble_of
from edge_runtime.bundles.store import Store, read_bundle
from edge_runtime.errors import BundleError, InputError, ManifestError, UntrustedError
from tests.bundles import write_bundle


@pytest.mark.parametrize(
    ("error", "file", "trouble"),
    [
        (tuf.ExpiredMetadataError("timestamp.json is expired"), "timestamp.json", "expired"),
        (tuf.UnsignedMetadataError("root was signed by 1/2 keys"), "2.root.json", "signature"),
        (tuf.LengthOrHashMismatchError("Observed hash"), "7.snapshot.json", "mixed"),
        (tuf.BadVersionNumberError("New timestamp version 1 must be >= 2"), "timestamp.json", "rollback"),
        (tuf.BadVersionNumberError("Expected root version 3 instead got version 2"), "3.root.json", "rollback"),
        (tuf.BadVersionNumberError("Expected targets.json version 1, got 2."), "7.snapshot.json", "rollback"),
        (tuf.BadVersionNumberError("Expected snapshot version 7, got 6"), "7.snapshot.json", "mixed"),
        (tuf.BadVersionNumberError("Expected targets v2, got v1."), "2.targets.json", "mixed"),
        (tuf.RepositoryError("New snapshot is missing info for 'targets.json'"), "7.snapshot.json", "rollback"),
        (tuf.RepositoryError("Expected 'root', got 'targets'"), "2.root.json", "malformed"),
        (DeserializationError("Failed to deserialize JSON"), "2.root.json", "malformed"),
    ],
)
def test_what_tuf_finds_has_a_name(error: tuf.RepositoryError, file: str, trouble: str) -> None:
    """Of the attack, or of the trouble; each with a word of advice."""
    assert trouble_of(error, file) == trouble
    assert trouble in ADVICE


def test_an_untrusted_error_crosses_processes() -> None:
    """With its trouble."""
    error = pickle.loads(pickle.dumps(UntrustedError("told", trouble="mixed")))  # noqa: S301
    assert (str(error), error.trouble) == ("told", "mixed")


def test_paths() -> None:
    """A target's says name and version, its file's what bytes it has; neither climbs anywhere."""
    assert target_path("double", "1.0+gpu") == "double/double-1.0+gpu.bundle"
    assert served_path("double/double-1.0.bundle", "ab") == "double/ab.double-1.0.bundle"
    assert served_path("double-1.0.bundle", "ab") == "ab.double-1.0.bundle"
    for name, version in (("../x", "1"), ("x", "../1"), ("x/y", "1"), ("", "1"), ("x", "")):
        with pytest.raises(ManifestError):
            target_path(name, version)


def test_both_forms_are_described_alike(tmp_path: Path) -> None:
    """By the digest that an installed one has; a folder is packed as the store packs it."""
    bundle = read_bundle(write_bundle(tmp_path / "folder"))
    store = Store(tmp_path / "store", create=True)
    store.pack(bundle, tmp_path / "x.bundle")
    described = describe(tmp_path / "folder")
    assert described == describe(tmp_path / "x.bundle") == Described("double", "1.0", bundle.digest)
    placed = place(tmp_path / "folder", described, tmp_path / "a")
    assert placed == place(tmp_path / "x.bundle", described, tmp_path / "b")
    (file,) = (path for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert file.read_bytes() == (tmp_path / "x.bundle").read_bytes()
    assert placed.size == file.stat().st_size


def test_a_bundle_that_changes_while_it_is_placed(tmp_path: Path) -> None:
    """Is refused, and no file of it stays."""
    folder = write_bundle(tmp_path / "folder", "1.0")
    described = Described("double", "1.0", "0" * 64)
    with pytest.raises(BundleError, match="changed while it was added"):
        place(folder, described, tmp_path / "targets")
    assert [path for path in (tmp_path / "targets").rglob("*") if path.is_file()] == []


def test_keys_that_are_at_hand(tmp_path: Path) -> None:
    """Are found by their ids; missing ones are not there, damaged and exchanged ones are errors that name the file."""
    keys = Keys(tmp_path / "keys")
    one, other = keys.make("root"), keys.make("root")
    ids = [signer.public_key.keyid for signer in (one, other)]
    assert [signer.public_key.keyid for signer in keys.at_hand("root", ids)] == ids
    assert keys.at_hand("timestamp", ids) == []
    first, second = (keys.path("root", keyid) for keyid in ids)
    first.write_bytes(second.read_bytes())
    with pytest.raises(InputError, match="another key than its name says"):
        keys.at_hand("root", ids)
    first.write_bytes(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    with pytest.raises(InputError, match="cannot be read as a key"):
        keys.at_hand("root", ids)
    first.unlink()
    assert [signer.public_key.keyid for signer in keys.at_hand("root", ids)] == ids[1:]


def test_keys_that_cannot_be_kept(tmp_path: Path) -> None:
    """Are no keys."""
    (tmp_path / "keys").write_text("a file")
    with pytest.raises(InputError, match="could not be kept"):
        Keys(tmp_path / "keys").make("root")
