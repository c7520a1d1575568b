"""Manifests: what is read, what is refused, and that reading and writing undo each other."""

from __future__ import annotations

from contextlib import suppress
from pathlib import PurePosixPath

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.bundles.archive import MAX_BYTES, MAX_FILES, files_of
from edge_runtime.bundles.manifest import MAX_MANIFEST, File, Manifest, Variant, decode, encode
from edge_runtime.errors import ManifestError
from edge_runtime.signature import Scale, Signature, TensorSpec
from tests.bundles import file_of, manifest_of

WHOLE = manifest_of(file_of("model.onnx", b"weights"), labels=file_of("labels.txt", b"a\nb\n"))


def changed(**fields: object) -> bytes:
    """The manifest's JSON with some fields replaced."""
    return msgspec.json.encode({**msgspec.json.decode(encode(WHOLE)), **fields})


def test_reading_undoes_writing() -> None:
    """A manifest that is written and read again is the same value."""
    assert decode(encode(WHOLE)) == WHOLE


def test_a_hidden_state_has_no_partner() -> None:
    """A model that runs in streams only is asked on the device: one that names a partner is refused."""
    hidden = {**msgspec.json.decode(encode(WHOLE))["signature"], "state": [], "hidden_state": True}
    assert decode(changed(signature=hidden, partner=None)).signature.hidden_state
    with pytest.raises(ManifestError, match="has no partner"):
        decode(changed(signature=hidden, partner="other"))


def test_same_value_same_bytes() -> None:
    """Two writings of a manifest agree, because digests are made over them."""
    assert encode(decode(encode(WHOLE))) == encode(WHOLE)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"colour": "red"}, "colour"),
        ({"schema": 2}, "schema 2"),
        ({"name": "../up"}, "model name"),
        ({"name": "A"}, "model name"),
        ({"version": "latest"}, "version"),
        ({"version": "1/2"}, "version"),
        ({"version": "9" * 300}, "version"),
        ({"sizes": {}}, "typical size"),
        ({"sizes": {"N": 0}}, "smaller than 1"),
        ({"sizes": {"N": 1 << 40}}, "at its typical sizes"),
        ({"partner": "UP"}, "model name"),
        ({"signature": {"inputs": [], "outputs": []}}, "at least one input"),
        ({"variants": 3}, "variants"),
        ({"labels": {"path": "a", "sha256": "0", "size": 1}}, "64 lower-case hex"),
        ({"labels": {"path": "a", "sha256": "0" * 64, "size": -1}}, "negative"),
    ],
)
def test_refused_fields(fields: dict[str, object], told: str) -> None:
    """Each field that breaks a rule raises ManifestError, and its message says which rule."""
    with pytest.raises(ManifestError, match=told):
        decode(changed(**fields))


@pytest.mark.parametrize(
    "path", ["", "/etc/passwd", "../up", "a/../../up", "a//b", "./a", "a\\b", "c:a", "a\0b", "manifest.json", "a/."]
)
def test_refused_paths(path: str) -> None:
    """No file of a bundle can be named outside its folder, in two ways, or in place of the manifest."""
    with pytest.raises(ManifestError):
        File(path, "0" * 64, 1)


@given(st.text(min_size=1, max_size=40))
def test_paths_stay_inside(path: str) -> None:
    """A path that a manifest accepts has no step up and no root, whatever it is made of."""
    try:
        file = File(path, "0" * 64, 1)
    except ManifestError:
        return
    parts = PurePosixPath("/store/x", file.path).parts
    assert parts[:3] == ("/", "store", "x")
    assert ".." not in parts


@given(st.binary(max_size=200))
def test_garbage(data: bytes) -> None:
    """Bytes that are no manifest raise ManifestError and nothing else."""
    with pytest.raises(ManifestError):
        decode(data)


@given(st.integers(0, len(encode(WHOLE)) - 1), st.integers(0, 255))
def test_flipped_bytes(index: int, byte: int) -> None:
    """A manifest with one byte changed is a manifest or raises ManifestError."""
    data = bytearray(encode(WHOLE))
    data[index] = byte
    with suppress(ManifestError):
        assert isinstance(decode(bytes(data)), Manifest)


def test_limits() -> None:
    """A manifest that is too long, names too many files or too many bytes is refused before a file is opened."""
    with pytest.raises(ManifestError, match="bytes"):
        decode(b" " * (MAX_MANIFEST + 1))
    with pytest.raises(ManifestError, match="1001 files"):
        files_of(manifest_of(*(File(f"f{i}", "0" * 64, 1) for i in range(MAX_FILES + 1))))
    with pytest.raises(ManifestError, match="bytes together"):
        files_of(manifest_of(File("a", "0" * 64, MAX_BYTES), File("b", "0" * 64, 1)))


@pytest.mark.parametrize("paths", [("a", "A"), ("a", "a/b"), ("A/b", "a"), ("manifest.JSON",), ("manifest.json/a",)])
def test_clashing_paths(paths: tuple[str, ...]) -> None:
    """Files that some disk would take for one, or that need one name for a file and a folder, are refused."""
    with pytest.raises(ManifestError):
        files_of(manifest_of(*(File(path, "0" * 64, 1) for path in paths)))


@pytest.mark.parametrize("tensor", ["nothing", "count"])
def test_a_scale_is_for_a_float32_tensor_of_the_signature(tensor: str) -> None:
    """A scale for another one is refused, with those that there are."""
    signature = Signature(
        (TensorSpec("x", "float32", (1,)), TensorSpec("count", "int32", (1,))), (TensorSpec("y", "float32", (1,)),)
    )
    files = (File("a.tflite", "0" * 64, 1),)
    variant = Variant("int8-tflite", "tflite", "int8", files, quantized={tensor: Scale("int8", 0.1, 0)})
    with pytest.raises(ManifestError, match=f"'int8-tflite' has a scale for '{tensor}'.*those are x, y"):
        Manifest(name="m", version="1", task="", signature=signature, variants=(variant,))
