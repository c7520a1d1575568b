"""The private keys that sign a repository, each an Ed25519 key in a file of its own that only its owner reads.

    KEYS/offline/root-KEYID.pem, targets-KEYID.pem       to add bundles and to replace keys: keep them off the network
    KEYS/online/snapshot-KEYID.pem, timestamp-KEYID.pem  to publish: they may lie where that is done every day

Which of them count is said by the repository's root, not by what lies here. The adapter of securesystemslib and
cryptography.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

from cloud_bridge.extra import required
from edge_runtime.errors import InputError
from edge_runtime.whole import create

with required("a repository"):
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from securesystemslib.signer import CryptoSigner

Signer: TypeAlias = CryptoSigner
"""A private key at hand, and its public half."""

ONLINE = frozenset({"snapshot", "timestamp"})


class Keys:
    """A folder of private keys. Every error is an InputError."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, role: str, keyid: str) -> Path:
        """Where a role's key lies, if it is at hand."""
        return self.folder / ("online" if role in ONLINE else "offline") / f"{role}-{keyid[:16]}.pem"

    def make(self, role: str) -> Signer:
        """A new key, on the disk before anything is signed with it."""
        signer = CryptoSigner.generate_ed25519()
        path = self.path(role, signer.public_key.keyid)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            create(path, signer.private_bytes, 0o600)
        except OSError as error:
            raise InputError(f"a key could not be kept at {path}: {error.strerror}") from error
        return signer

    def at_hand(self, role: str, keyids: Iterable[str]) -> list[Signer]:
        """Those of a role's keys that lie here."""
        found = []
        for keyid in keyids:
            with suppress(FileNotFoundError):
                found.append(self._read(self.path(role, keyid), keyid))
        return found

    def _read(self, path: Path, keyid: str) -> Signer:
        try:
            key = load_pem_private_key(path.read_bytes(), None)
        except FileNotFoundError:
            raise
        except (OSError, ValueError, TypeError) as error:
            raise InputError(f"{path} cannot be read as a key: {error}") from error
        if not isinstance(key, Ed25519PrivateKey) or (signer := CryptoSigner(key)).public_key.keyid != keyid:
            raise InputError(f"{path} is another key than its name says: put the right one there")
        return signer
