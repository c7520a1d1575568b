"""Who may ask an endpoint: anybody on this machine; on a network whoever has a key, or a certificate."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import msgspec
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from cloud_bridge.loopback import is_loopback
from cloud_bridge.protocol.oip import encode_error
from edge_runtime.errors import InputError, RefusedError

SHORTEST = 16
"""Characters of a key, at least: one that can be guessed is none."""

ALIVE = "/v2/health/live"
"""Whoever asks only whether the endpoint is there needs no key."""


class Tls(msgspec.Struct, frozen=True):
    """PEM files: the endpoint's certificate and its key; and whose certificates its clients must have, if they must."""

    certificate: Path
    key: Path
    clients: Path | None = None


class Access(msgspec.Struct, frozen=True):
    """What a client needs."""

    keys: tuple[str, ...] = ()
    tls: Tls | None = None
    insecure: bool = False
    """Anybody may ask, on whatever network."""

    def check(self, host: str) -> None:
        """InputError for an address at which strangers could ask without a key or a certificate, and nobody said so."""
        if self.keys or self.insecure or (self.tls is not None and self.tls.clients is not None) or is_loopback(host):
            return
        raise InputError(
            f"{host} opens the endpoint to a network: give --keys FILE, or --tls with --client-ca, "
            "or --insecure if anybody there may ask"
        )


def read_keys(path: Path) -> tuple[str, ...]:
    """One key a line; # begins a comment. Raises InputError."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} could not be read: {error}") from error
    keys = tuple(key for line in lines if (key := line.partition("#")[0].strip()))
    if not keys:
        raise InputError(f"{path} holds no key: write one a line")
    if any(len(key) < SHORTEST or not key.isascii() for key in keys):
        raise InputError(f"{path}: a key is {SHORTEST} or more characters of ASCII; `openssl rand -hex 16` makes one")
    return keys


class Keys:
    """Those of whoever may ask: `Authorization: Bearer KEY`, or a password, as in http://NAME:KEY@HOST."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._digests = [sha256(key.encode()).digest() for key in keys]

    def know(self, authorization: bytes) -> bool:
        """Whether what a client says in this header is one of them."""
        kind, _, said = authorization.partition(b" ")
        if kind.lower() == b"basic":
            try:
                said = base64.b64decode(said, validate=True).partition(b":")[2]
            except binascii.Error:
                return False
        elif kind.lower() != b"bearer":
            return False
        digest = sha256(said.strip()).digest()
        return sum(hmac.compare_digest(digest, known) for known in self._digests) > 0  # all are compared, whichever fits


class Keyed:
    """An ASGI application behind keys."""

    def __init__(self, app: ASGIApp, keys: Sequence[str]) -> None:
        self._app = app
        self._keys = Keys(keys)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] == ALIVE or self._keys.know(_authorization(scope)):
            await self._app(scope, receive, send)
            return
        refused = RefusedError("this endpoint needs a key: Authorization: Bearer KEY", status=401)
        status, message = encode_error(refused)
        headers = {**message.headers, "www-authenticate": 'Bearer, Basic realm="edge-runtime"', "connection": "close"}
        await Response(message.body, status, headers)(scope, receive, send)


def _authorization(scope: Scope) -> bytes:
    said: bytes = dict(scope["headers"]).get(b"authorization", b"")
    return said
