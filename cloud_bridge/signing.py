"""Signed jobs: DSSE envelopes with Ed25519, by securesystemslib. A broker is not believed; the keys of operators are.

A key's id is derived from the key. The private half is a PEM file (PKCS 8) that its owner alone may read, the public half
a small JSON file beside it, to be put on the devices.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta

from cloud_bridge.extra import check_installed, required
from cloud_bridge.protocol.fleet import commands, wire
from cloud_bridge.protocol.fleet.commands import Document
from cloud_bridge.protocol.fleet.envelope import LARGEST, PAYLOAD_TYPE, Envelope, Signature
from cloud_bridge.protocol.fleet.names import whole
from edge_runtime.errors import InputError, ProtocolError
from edge_runtime.whole import create

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner, SSlibKey

SKEW = 300.0
"""Seconds by which a device's clock may be behind the signer's."""

_LARGEST_KEY = 16 * 1024


class _Value(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    public: Annotated[str, Meta(pattern=whole("[0-9a-f]{64}"))]


class PublicKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a signature is held against; as a file, its JSON."""

    keyid: str
    keytype: Literal["ed25519"]
    scheme: Literal["ed25519"]
    keyval: _Value


class PrivateKey:
    """What signs. Nothing prints it."""

    def __init__(self, signer: CryptoSigner) -> None:
        self._signer = signer

    @property
    def public(self) -> PublicKey:
        """Its other half."""
        return msgspec.convert({"keyid": self._signer.public_key.keyid, **self._signer.public_key.to_dict()}, PublicKey)

    def sign(self, data: bytes) -> bytes:
        """Of these bytes."""
        return bytes.fromhex(self._signer.sign(data).signature)

    def __repr__(self) -> str:
        return f"<PrivateKey {self._signer.public_key.keyid}>"


class Signed(msgspec.Struct, frozen=True):
    """A document that was found to be signed."""

    document: Document
    digest: str
    """Of its bytes as they were signed."""


def sign(document: Document, *keys: PrivateKey) -> bytes:
    """An envelope. Raises InputError for a document that no device would take."""
    if not keys:
        raise InputError(f"job {document.job_id!r} is to be signed: give at least one private key")
    payload = commands.encode_document(document)
    data = pae(PAYLOAD_TYPE, payload)
    signatures = tuple(Signature(keyid=key.public.keyid, sig=key.sign(data)) for key in keys)
    return wire.encode(Envelope(payload=payload, payload_type=PAYLOAD_TYPE, signatures=signatures), LARGEST)


def verify(
    envelope: bytes | memoryview, keys: Iterable[PublicKey], threshold: int, thing: str, groups: Iterable[str], now: float
) -> Signed:
    """The document in an envelope, if so many of these keys have signed it, and it is for this thing, at this time, in
    seconds since 1970. Raises ProtocolError, with the reason, for all else."""
    signed = opened(envelope, keys, threshold)
    check_meant(signed.document, thing, groups, now)
    return signed


def opened(envelope: bytes | memoryview, keys: Iterable[PublicKey], threshold: int) -> Signed:
    """The document in an envelope, if so many of these keys have signed it, whoever it is for. Raises ProtocolError."""
    found = wire.decode(envelope, Envelope, LARGEST)
    if found.payload_type != PAYLOAD_TYPE:
        raise ProtocolError(f"the envelope holds {found.payload_type[:80]!r}, and a job is {PAYLOAD_TYPE!r}")
    _check_signatures(found, [_vendor(key) for key in keys], threshold)
    return Signed(commands.decode_document(found.payload), commands.digest(found.payload))


def check_meant(document: Document, thing: str, groups: Iterable[str], now: float) -> None:
    """Raises ProtocolError for a document that is not for this thing, at this time."""
    name = f"job {document.job_id!r}"
    if not document.is_for(thing, tuple(groups)):
        raise ProtocolError(f"{name} is not for this device, {thing!r}, nor for a group of its")
    if now < document.issued_at - SKEW:
        early = document.issued_at - now
        raise ProtocolError(f"{name} is not valid yet: it was issued {early:.0f} s from now; look at this device's clock")
    if now >= document.expires_at:
        raise ProtocolError(f"{name} is not valid any more: it expired {now - document.expires_at:.0f} s ago")


def pae(payload_type: str, payload: bytes) -> bytes:
    """What DSSE signs: the type and the bytes, each with its length."""
    with required("signing jobs"):
        from securesystemslib.dsse import Envelope as Dsse
    return bytes(Dsse(payload, payload_type, {}).pae())


def generate(path: Path) -> PublicKey:
    """A new key: the private half in this file, which must not be there yet, the public half in PATH.pub. InputError where
    they cannot be written."""
    with required("signing jobs"):
        import cryptography  # noqa: F401  securesystemslib tells of it too late
        from securesystemslib.signer import CryptoSigner
    if public_path(path).exists():
        raise InputError(f"{public_path(path)} is there already; a key is never replaced")
    signer = CryptoSigner.generate_ed25519()
    public = PrivateKey(signer).public
    _create(path, signer.private_bytes, 0o600)
    _create(public_path(path), msgspec.json.format(msgspec.json.encode(public)) + b"\n", 0o644)
    return public


def public_path(path: Path) -> Path:
    """Where the public half of a private key's file lies."""
    return path.with_name(f"{path.name}.pub")


def read_private(path: Path) -> PrivateKey:
    """The key in a file that nobody else may read. Raises InputError."""
    with required("signing jobs"):
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
        from securesystemslib.signer import CryptoSigner
    data, mode = _read(path)
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise InputError(f"{path} can be read by others, and is a private key: chmod 600 {path}")
    try:
        key = load_pem_private_key(data, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InputError(f"{path} is no private key: a PEM file of PKCS 8 without a password is needed") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError(f"{path} is no Ed25519 key: make one with cloud-bridge")
    return PrivateKey(CryptoSigner(key))


def read_public(path: Path) -> PublicKey:
    """The key in a public key's file. Raises InputError."""
    check_installed("signed jobs", "securesystemslib", "cryptography")  # which verify: by then it is too late to be told
    data, _ = _read(path)
    try:
        key = msgspec.json.decode(data, type=PublicKey)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no public key: {error}") from error
    if key.keyid != (derived := keyid(key)):
        raise InputError(f"{path}: the key's id is {derived}, and not {key.keyid[:80]!r} as the file says")
    return key


def keyid(key: PublicKey) -> str:
    """The id that belongs to a key, as TUF has it: the digest of its canonical JSON."""
    told = {"keytype": key.keytype, "scheme": key.scheme, "keyval": {"public": key.keyval.public}}
    return hashlib.sha256(wire.sorted_json(told)).hexdigest()


def _check_signatures(envelope: Envelope, keys: Iterable[SSlibKey], threshold: int) -> None:
    """ProtocolError unless so many of the keys have signed. Signatures that are not wanted do no harm."""
    if threshold < 1:
        raise InputError(f"a threshold of {threshold} signatures: at least one has to be asked for")
    known = {key.keyid: key for key in keys}
    data = pae(envelope.payload_type, envelope.payload)
    good: set[str] = set()
    wrong: set[str] = set()
    for signature in envelope.signatures:
        if key := known.get(signature.keyid):
            (good if _is_right(key, signature, data) else wrong).add(signature.keyid)
    if len(good) >= threshold:
        return
    needed = f"{len(good)} of {threshold} signatures that are needed"
    if wrong:
        raise ProtocolError(f"the signature of key {_names(wrong)} is wrong: it is of other bytes, or forged; {needed}")
    if unknown := {signature.keyid for signature in envelope.signatures} - good:
        raise ProtocolError(f"key {_names(unknown)} is not known here; {needed}")
    raise ProtocolError(f"too few have signed: {needed}")


def _is_right(key: SSlibKey, signature: Signature, data: bytes) -> bool:
    with required("signed jobs"):
        from securesystemslib.exceptions import UnverifiedSignatureError
        from securesystemslib.signer import Signature as Given
    try:
        key.verify_signature(Given(signature.keyid, signature.sig.hex()), data)
    except UnverifiedSignatureError:
        return False
    return True


@lru_cache(64)
def _vendor(key: PublicKey) -> SSlibKey:
    """A key as securesystemslib has it, under the id that belongs to it."""
    with required("signed jobs"):
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from securesystemslib.signer import SSlibKey
    return SSlibKey.from_crypto(Ed25519PublicKey.from_public_bytes(bytes.fromhex(key.keyval.public)))


def _names(keyids: Iterable[str]) -> str:
    return ", ".join(sorted(keyid[:12] for keyid in keyids))


def _read(path: Path) -> tuple[bytes, int]:
    """A key file's bytes, and who may read it."""
    try:
        with path.open("rb") as file:
            data, mode = file.read(_LARGEST_KEY + 1), os.fstat(file.fileno()).st_mode
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > _LARGEST_KEY:
        raise InputError(f"{path} is no key: it has more than {_LARGEST_KEY} bytes")
    return data, mode


def _create(path: Path, data: bytes, mode: int) -> None:
    """A new file, as `whole.create` makes it. Raises InputError."""
    try:
        create(path, data, mode)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}; a key is never replaced") from error
