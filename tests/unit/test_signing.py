"""Signed jobs, and the keys that sign them."""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_bridge.protocol.fleet.commands import Document, Rollback, digest, encode_document
from cloud_bridge.protocol.fleet.envelope import LARGEST, PAYLOAD_TYPE, Envelope, Signature
from cloud_bridge.protocol.fleet.wire import decode, encode
from cloud_bridge.signing import (
    SKEW,
    PrivateKey,
    PublicKey,
    Signed,
    generate,
    pae,
    public_path,
    read_private,
    read_public,
    sign,
    verify,
)
from edge_runtime.errors import InputError, ProtocolError

NOW = 1_800_000_000.0


class Pair(NamedTuple):
    """Both halves of a key, and its file."""

    private: PrivateKey
    public: PublicKey
    path: Path


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> list[Pair]:
    """Three keys."""
    folder = tmp_path_factory.mktemp("keys")
    found = []
    for name in "abc":
        public = generate(folder / name)
        found.append(Pair(read_private(folder / name), public, folder / name))
    return found


def document(**changes: Any) -> Document:
    given = {"things": ("press-17",), "groups": ("canary",), "issued_at": NOW - 10.0, "expires_at": NOW + 60.0}
    return Document(**{"job_id": "j1", "command": Rollback(model="text"), **given, **changes})


def check(
    envelope: bytes,
    *keys: PublicKey,
    threshold: int = 1,
    thing: str = "press-17",
    groups: tuple[str, ...] = (),
    now: float = NOW,
) -> Signed:
    return verify(envelope, keys, threshold, thing, groups, now)


def changed(envelope: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    """An envelope whose JSON was worked upon."""
    read = msgspec.json.decode(envelope)
    change(read)
    return msgspec.json.encode(read)


def test_what_was_signed_is_believed(pairs: list[Pair]) -> None:
    """The document, and the digest of its bytes."""
    a = pairs[0]
    found = check(sign(document(), a.private), a.public)
    assert found == Signed(document(), digest(encode_document(document())))
    assert check(sign(document(), a.private), a.public, thing="other", groups=("x", "canary")).document == document()


def test_each_half_comes_back_from_its_file(pairs: list[Pair]) -> None:
    """The private one for its owner alone, and neither shown by a key's text."""
    for pair in pairs:
        assert read_public(public_path(pair.path)) == pair.public == pair.private.public
        assert stat.S_IMODE(pair.path.stat().st_mode) == 0o600
        assert repr(pair.private) == f"<PrivateKey {pair.public.keyid}>"


def test_the_envelope_is_the_standard_s(pairs: list[Pair]) -> None:
    """DSSE's example of what is signed; and securesystemslib itself believes an envelope of ours."""
    from securesystemslib.dsse import Envelope as Dsse
    from securesystemslib.signer import Key

    assert pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )
    a, b, _ = pairs
    read = Dsse.from_dict(msgspec.json.decode(sign(document(), a.private, b.private)))
    keys = [Key.from_dict(each.public.keyid, public_dict(each.public)) for each in (a, b)]
    assert len(read.verify(keys, 2)) == 2
    assert read.payload_type == PAYLOAD_TYPE


def public_dict(key: PublicKey) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(key)
    del found["keyid"]
    return found


def test_a_strange_key_is_not_believed(pairs: list[Pair]) -> None:
    """Nor a signature under another key's name."""
    a, b, _ = pairs
    with pytest.raises(ProtocolError, match=f"key {b.public.keyid[:12]} is not known here; 0 of 1 signatures"):
        check(sign(document(), b.private), a.public)
    forged = changed(sign(document(), b.private), lambda e: e["signatures"][0].update(keyid=a.public.keyid))
    with pytest.raises(ProtocolError, match=f"the signature of key {a.public.keyid[:12]} is wrong"):
        check(forged, a.public)


def test_other_bytes_are_not_believed(pairs: list[Pair]) -> None:
    """A document that was exchanged, or of which a bit was."""
    a = pairs[0]
    envelope = sign(document(), a.private)
    other = msgspec.json.decode(sign(document(job_id="j2"), a.private))["payload"]
    with pytest.raises(ProtocolError, match="is wrong: it is of other bytes, or forged"):
        check(changed(envelope, lambda e: e.update(payload=other)), a.public)
    for at in range(0, 80, 7):
        text = bytearray(envelope)
        text[envelope.index(b'"payload":"') + 11 + at] ^= 1
        with pytest.raises(ProtocolError):
            check(bytes(text), a.public)


def test_as_many_sign_as_are_needed(pairs: list[Pair]) -> None:
    """Each key counts once; what is not wanted does no harm."""
    a, b, c = pairs
    two = sign(document(), a.private, b.private)
    assert check(two, a.public, b.public, threshold=2).document == document()
    assert check(sign(document(), c.private, a.private), a.public).document == document()
    twice = changed(sign(document(), a.private), lambda e: e["signatures"].append(e["signatures"][0]))
    for envelope in (twice, sign(document(), a.private)):
        with pytest.raises(ProtocolError, match="too few have signed: 1 of 2 signatures that are needed"):
            check(envelope, a.public, a.public, b.public, threshold=2)
    with pytest.raises(ProtocolError, match="too few have signed: 0 of 1"):
        check(changed(two, lambda e: e.update(signatures=[])), a.public)
    spoiled = changed(two, lambda e: e["signatures"][0].update(sig=""))
    assert check(spoiled, a.public, b.public).document == document()
    with pytest.raises(ProtocolError, match=r"is wrong.*1 of 2"):
        check(spoiled, a.public, b.public, threshold=2)
    with pytest.raises(InputError, match="threshold of 0"):
        check(two, a.public, threshold=0)


def test_a_key_under_two_names_counts_once(pairs: list[Pair]) -> None:
    """A name is derived from its key, whatever it is said to be."""
    a = pairs[0]
    alias = msgspec.structs.replace(a.public, keyid="alias")
    both = changed(sign(document(), a.private), lambda e: e["signatures"].append({**e["signatures"][0], "keyid": "alias"}))
    with pytest.raises(ProtocolError, match="1 of 2"):
        check(both, a.public, alias, threshold=2)


def test_only_who_is_meant_obeys(pairs: list[Pair]) -> None:
    """By name or by group."""
    a = pairs[0]
    with pytest.raises(ProtocolError, match="job 'j1' is not for this device, 'press-18', nor for a group of its"):
        check(sign(document(), a.private), a.public, thing="press-18", groups=("press-17",))


def test_only_when_it_holds(pairs: list[Pair]) -> None:
    """Not before it was issued, but for clocks that differ; not from when it expires."""
    a = pairs[0]
    envelope = sign(document(), a.private)
    with pytest.raises(ProtocolError, match=r"not valid yet: it was issued 301 s from now; look at this device's clock"):
        check(envelope, a.public, now=NOW - 10.0 - SKEW - 1.0)
    check(envelope, a.public, now=NOW - 10.0 - SKEW)
    check(envelope, a.public, now=NOW + 59.9)
    with pytest.raises(ProtocolError, match="not valid any more: it expired 0 s ago"):
        check(envelope, a.public, now=NOW + 60.0)


def test_only_a_job_is_taken_for_one(pairs: list[Pair]) -> None:
    """Not a signature over something else, even by the right key; not what is too large to be one."""
    a = pairs[0]
    envelope = sign(document(), a.private)
    with pytest.raises(ProtocolError, match="the envelope holds 'text/plain', and a job is"):
        check(changed(envelope, lambda e: e.update(payloadType="text/plain")), a.public)
    with pytest.raises(ProtocolError, match=f"too many for an Envelope: at most {LARGEST} are read"):
        check(envelope + b" " * LARGEST, a.public)
    payload = b'{"jobId":"j1"}'
    signature = Signature(keyid=a.public.keyid, sig=a.private.sign(pae(PAYLOAD_TYPE, payload)))
    made = encode(Envelope(payload=payload, payload_type=PAYLOAD_TYPE, signatures=(signature,)))
    with pytest.raises(ProtocolError, match="this is not a Document"):
        check(made, a.public)


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"payload":"!","payloadType":"x","signatures":[]}', b"\xff"])
def test_what_is_no_envelope_is_refused(pairs: list[Pair], data: bytes) -> None:
    """With what is missing."""
    with pytest.raises(ProtocolError, match="this is not an Envelope"):
        check(data, pairs[0].public)


@given(st.data())
def test_a_damaged_envelope_is_refused_or_the_same(pairs: list[Pair], data: st.DataObject) -> None:
    """Wherever it is cut or overwritten, no other document comes out of it."""
    a = pairs[0]
    whole = sign(document(), a.private)
    at = data.draw(st.integers(0, len(whole)))
    for damaged in (whole[:at], whole[:at] + data.draw(st.binary(max_size=3)) + whole[at + 1 :]):
        with contextlib.suppress(ProtocolError):
            assert check(damaged, a.public).document == document()


def test_a_document_that_no_device_would_take_is_not_signed(pairs: list[Pair]) -> None:
    """It says so to who signs."""
    with pytest.raises(InputError, match="this cannot be a job"):
        sign(document(things=("a/b",)), pairs[0].private)
    with pytest.raises(InputError, match="at least one private key"):
        sign(document())
    with pytest.raises(InputError, match="this cannot be sent"):
        sign(document(), *[pairs[0].private] * 17)


def test_a_key_is_never_replaced(pairs: list[Pair], tmp_path: Path) -> None:
    """Neither half; what a failed attempt leaves is nothing."""
    with pytest.raises(InputError, match="never replaced"):
        generate(pairs[0].path)
    public_path(tmp_path / "k").write_bytes(b"mine")
    with pytest.raises(InputError, match="never replaced"):
        generate(tmp_path / "k")
    assert not (tmp_path / "k").exists()
    with pytest.raises(InputError, match="cannot be written"):
        generate(tmp_path / "none" / "k")


def test_a_private_key_that_others_can_read_is_refused(pairs: list[Pair], tmp_path: Path) -> None:
    """With what to do."""
    path = tmp_path / "key"
    path.write_bytes(pairs[0].path.read_bytes())
    path.chmod(0o640)
    with pytest.raises(InputError, match="can be read by others, and is a private key: chmod 600"):
        read_private(path)
    path.chmod(0o600)
    assert read_private(path).public == pairs[0].public


@pytest.mark.parametrize(
    "data", [b"", b"x", b"x" * 20_000, b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_what_is_no_key_is_refused(tmp_path: Path, data: bytes) -> None:
    """Of either half; nor is a file that is not there."""
    path = tmp_path / "key"
    for read in (read_private, read_public):
        with pytest.raises(InputError, match="cannot be read"):
            read(path)
    path.write_bytes(data)
    path.chmod(0o600)
    for read in (read_private, read_public):
        with pytest.raises(InputError, match=r"is no .*key"):
            read(path)


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    """Devices know one."""
    from securesystemslib.signer import CryptoSigner

    path = tmp_path / "key"
    path.write_bytes(CryptoSigner.generate_ecdsa().private_bytes)
    path.chmod(0o600)
    with pytest.raises(InputError, match="is no Ed25519 key"):
        read_private(path)


def test_a_public_key_has_its_own_name(pairs: list[Pair], tmp_path: Path) -> None:
    """Another's is refused: a key could be put in the place of one that was trusted."""
    a, b, _ = pairs
    path = tmp_path / "key.pub"
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(a.public, keyid=b.public.keyid)))
    with pytest.raises(InputError, match=f"the key's id is {a.public.keyid}"):
        read_public(path)
    path.write_bytes(msgspec.json.encode({**msgspec.to_builtins(a.public), "more": 1}))
    with pytest.raises(InputError, match="is no public key"):
        read_public(path)


def test_an_envelope_is_read_as_it_was_signed(pairs: list[Pair]) -> None:
    """Its payload is the document's bytes."""
    found = decode(sign(document(), pairs[0].private), Envelope, LARGEST)
    assert found.payload == encode_document(document())
