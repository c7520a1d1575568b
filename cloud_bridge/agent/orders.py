"""From a signed order to what is done about it here: the document of a job, checked, as this agent's work."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

from cloud_bridge.agent.commands import Budgets, resolve
from cloud_bridge.agent.work import Order
from cloud_bridge.protocol.fleet.commands import Activate, Deploy, Document, Rollback, decode_document
from cloud_bridge.protocol.fleet.envelope import LARGEST, Envelope
from cloud_bridge.protocol.fleet.wire import decode
from cloud_bridge.signing import PublicKey, check_meant, opened, read_public
from edge_runtime.errors import InputError, ProtocolError


class Orders:
    """Whom this device obeys, and what it makes of what they say."""

    def __init__(
        self, thing: str, groups: Sequence[str], keys: Sequence[PublicKey], threshold: int, clock: Callable[[], float],
        budgets: Callable[[], Budgets],
    ) -> None:  # fmt: skip
        """`clock` is in seconds since 1970. Raises InputError where no order could ever be signed well enough."""
        if not 1 <= threshold <= len(keys):
            raise InputError(f"{threshold} signatures are asked for, and {len(keys)} keys are known: give 1 to {len(keys)}")
        self._thing, self._groups, self._keys, self._threshold = thing, tuple(groups), tuple(keys), threshold
        self._clock, self._budgets = clock, budgets
        self._last: tuple[bytes, Document] | None = None
        """The envelope that was found to be signed last."""

    def read(self, envelope: bytes) -> Order:
        """What is ordered. Raises ProtocolError for what is not signed, or not for this device, now."""
        last = self._last
        if last is None or last[0] != envelope:  # it is read as it comes, and as its turn comes: often the same one
            self._last = last = envelope, opened(envelope, self._keys, self._threshold).document
        document = last[1]
        check_meant(document, self._thing, self._groups, self._clock())
        return Order(document.job_id, resolve(document.command, self._budgets()), document.expires_at)


def digest_of(envelope: bytes) -> str:
    """With its id, what makes a job the same job: the digest of what was signed, however the envelope is written. Of what
    is no envelope, that of its bytes."""
    try:
        payload = decode(envelope, Envelope, LARGEST).payload
    except ProtocolError:
        payload = envelope
    return hashlib.sha256(payload).hexdigest()


def moved_by(envelope: bytes) -> str | None:
    """The model that gets another version by a job that was taken; None where none does."""
    command = decode_document(decode(envelope, Envelope, LARGEST).payload).command
    return command.model if isinstance(command, Deploy | Activate | Rollback) else None


def read_keys(path: Path) -> tuple[PublicKey, ...]:
    """The public keys in a file, or in the .pub files of a folder. Raises InputError."""
    files = sorted(path.glob("*.pub")) if path.is_dir() else [path]
    if not files:
        raise InputError(f"{path} holds no public key: put the operators' .pub files there")
    return tuple(read_public(file) for file in files)
