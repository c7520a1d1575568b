"""A small authority: it certifies names, and says which certificates do not count any more. The adapter of cryptography.

Keys are of the curve P-256, which every TLS stack, security chip and cloud takes; Ed25519 is not taken by AWS IoT Core.
A certificate says the name (CN) and the role (OU) of its holder. All is PEM.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from cloud_bridge.extra import required
from edge_runtime.errors import InputError

with required("an authority"):
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        PublicFormat,
        load_pem_private_key,
    )
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SERVER = "broker"
"""The role of who is connected to; all others connect."""

LIFE = 20 * 365 * 86_400.0
"""Seconds that an authority lives."""

SKEW = 3600.0
"""Seconds by which others' clocks may be behind."""


class Pair(NamedTuple):
    """A certificate and its key; none where the key is with the one who asked."""

    certificate: bytes
    key: bytes | None


class Certificate(msgspec.Struct, frozen=True):
    """What a certificate says. Times are UNIX seconds."""

    name: str
    role: str
    serial: str
    begins: float
    ends: float


class Authority:
    """Signs with its key. Raises InputError for bytes that are no certificate and its key."""

    def __init__(self, certificate: bytes, key: bytes) -> None:
        self._certificate = _read(certificate)
        self._key = _key(key)
        if _public(self._certificate.public_key()) != _public(self._key.public_key()):
            raise InputError("the authority's key is not that of its certificate: put the right one there")

    @classmethod
    def make(cls, name: str, now: float) -> Pair:
        """A new one, signed by itself."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        usage = x509.KeyUsage(False, False, False, False, False, key_cert_sign=True, crl_sign=True, encipher_only=False,
                              decipher_only=False)  # fmt: skip
        built = (
            _begun(subject, subject, key.public_key(), now, now + LIFE)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(_identifier(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        return Pair(built.public_bytes(Encoding.PEM), _written(key))

    def issue(
        self, name: str, role: str, now: float, life: float, *, hosts: Iterable[str] = (), request: bytes | None = None
    ) -> Pair:
        """A certificate for so many seconds. `hosts` are the names and addresses by which a server is reached; a `request`
        (PKCS 10) brings the key, of which the holder keeps the private half. What else it asks for is passed over."""
        key = None if request is not None else ec.generate_private_key(ec.SECP256R1())
        public = _requested(request) if request is not None else key.public_key()  # type: ignore[union-attr]
        subject = x509.Name([
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, role), x509.NameAttribute(NameOID.COMMON_NAME, name),
        ])  # fmt: skip
        usage = x509.KeyUsage(True, False, False, False, False, key_cert_sign=False, crl_sign=False, encipher_only=False,
                              decipher_only=False)  # fmt: skip
        purpose = ExtendedKeyUsageOID.SERVER_AUTH if role == SERVER else ExtendedKeyUsageOID.CLIENT_AUTH
        ends = min(now + life, self._certificate.not_valid_after_utc.timestamp())
        built = (
            _begun(subject, self._certificate.subject, public, now, ends)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(_identifier(public), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
        )  # fmt: skip
        if names := [_host(host) for host in hosts]:
            built = built.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate = built.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)
        return Pair(certificate, None if key is None else _written(key))

    def revocations(self, gone: Iterable[bytes], now: float) -> bytes:
        """The list of the certificates that do not count any more. It holds as long as the authority: a broker that has not
        been given a newer one would otherwise refuse everybody."""
        built = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._certificate.subject)
            .last_update(_time(now - SKEW))
            .next_update(self._certificate.not_valid_after_utc)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
            .add_extension(x509.CRLNumber(int(now * 1e6)), critical=False)
        )  # fmt: skip
        for each in gone:
            serial = _read(each).serial_number
            revoked = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(_time(now - SKEW)).build()
            built = built.add_revoked_certificate(revoked)
        return built.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)


def read(certificate: bytes) -> Certificate:
    """What a certificate says. Raises InputError for bytes that are none."""
    found = _read(certificate)
    said = {each.oid: str(each.value) for each in found.subject}
    return Certificate(
        said.get(NameOID.COMMON_NAME, ""), said.get(NameOID.ORGANIZATIONAL_UNIT_NAME, ""), f"{found.serial_number:x}",
        found.not_valid_before_utc.timestamp(), found.not_valid_after_utc.timestamp(),
    )  # fmt: skip


def _begun(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, now: float, ends: float
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_time(now - SKEW))
        .not_valid_after(_time(ends))
    )


def _requested(request: bytes) -> ec.EllipticCurvePublicKey:
    """The key in a request, which its sender has."""
    try:
        found = x509.load_pem_x509_csr(request)
        proved = found.is_signature_valid
        public = found.public_key()
    except (ValueError, InvalidSignature) as error:
        raise InputError(f"this is no request for a certificate (PKCS 10, PEM): {error}") from error
    if not proved or not isinstance(public, ec.EllipticCurvePublicKey) or not isinstance(public.curve, ec.SECP256R1):
        raise InputError("a request has to be for a key of the curve P-256, and signed with that key")
    return public


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host.encode("idna").decode())


def _read(data: bytes) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(data)
    except ValueError as error:
        raise InputError(f"this is no certificate (PEM): {error}") from error


def _key(data: bytes) -> ec.EllipticCurvePrivateKey:
    try:
        found = load_pem_private_key(data, None)
    except (ValueError, TypeError) as error:
        raise InputError(f"this is no private key (PEM, without a password): {error}") from error
    if not isinstance(found, ec.EllipticCurvePrivateKey):
        raise InputError("this is no private key of an authority: one of the curve P-256 is needed")
    return found


def _written(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _public(key: object) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined,no-any-return]


def _identifier(key: ec.EllipticCurvePublicKey) -> x509.SubjectKeyIdentifier:
    return x509.SubjectKeyIdentifier.from_public_key(key)


def _time(unix: float) -> datetime:
    return datetime.fromtimestamp(int(unix), UTC)
