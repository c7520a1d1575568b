"""A cloud behind HTTP: any server that speaks the Open Inference Protocol v2.

Each of a few daemon threads owns one connection and carries out one call at a time; the caller only waits, and never past
its own timeout, whatever the network does.
"""

from __future__ import annotations

import base64
import itertools
import secrets
import ssl
import time
from functools import partial
from urllib.parse import SplitResult, quote, unquote, urlsplit

from cloud_bridge.client.call import HttpCall, Work
from cloud_bridge.client.connection import Connection
from cloud_bridge.client.pool import Pool
from cloud_bridge.client.transfer import Transfer
from cloud_bridge.malloc import keep_buffers
from cloud_bridge.protocol import oip
from cloud_bridge.protocol.message import LIMITS, Limits, Message
from edge_runtime.errors import (
    InputError,
    ProtocolError,
    RefusedError,
    RemoteError,
)
from edge_runtime.remote import Call, Reply

PROBE_SECONDS = 30.0
"""A probe is given up after this."""

BINARY_SERVERS = frozenset({"triton", "OpenVINO Model Server"})
"""Servers that take binary tensors, though not all of their versions list the extension."""

NOT_UNDERSTOOD = frozenset({400, 415, 422, 500})
"""Statuses of a server that could not read a binary request: MLServer falls over its bytes with 500."""

_NOTHING = Message(b"")
_RANDOM = secrets.token_bytes(64 << 10)
_UNKNOWN = oip.ServerMetadata("")
"""A server that does not say what it is: it gets what every server of the protocol takes."""


class HttpRemote:
    """The `Remote` port over HTTP.

    `url` is http(s)://[USER:PASSWORD@]HOST[:PORT][/PREFIX]. At the first call the server is asked what it is; binary
    tensors are sent to those that take them, JSON to the others. `connections` is how many calls can be under way at once.
    `tls` replaces the system's certificates and its checks. `limits` bounds the answers. `tune_malloc` lets glibc keep big
    buffers for the next message (`cloud_bridge.malloc`). Proxies are not used.
    """

    def __init__(
        self,
        url: str,
        *,
        connections: int = 4,
        tls: ssl.SSLContext | None = None,
        limits: Limits = LIMITS,
        tune_malloc: bool = True,
    ) -> None:
        parts = _split(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        assert parts.hostname is not None  # noqa: S101 - _split saw to it
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        self._name = f"{parts.scheme}://{host}:{port}{parts.path}"
        self._prefix = parts.path.rstrip("/")
        headers = {"host": host if parts.port is None else f"{host}:{port}", "user-agent": "edge-runtime"}
        if parts.username is not None:
            secret = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            headers["authorization"] = "Basic " + base64.b64encode(secret.encode()).decode()
        secure = (tls or ssl.create_default_context()) if parts.scheme == "https" else None
        self._limits = limits
        self._ids = itertools.count(1)
        self._server: oip.ServerMetadata | None = None
        self._answers_binary = False
        self._refuses_binary = False
        if tune_malloc:
            keep_buffers()
        self._pool = Pool(self._name, connections, partial(Connection, parts.hostname, port, headers, secure))

    @property
    def name(self) -> str:
        """Where it is, without credentials."""
        return self._name

    def send(self, call: Call, *, deadline: float) -> HttpCall:
        """Start a call; see the port."""
        return self._start(lambda connection, transfer: self._infer(connection, transfer, call), deadline)

    def probe(self, size: int) -> HttpCall:
        """Send bytes that ask for nothing; see the port. Its result is RefusedError where the server takes no probes."""
        return self._start(
            lambda connection, transfer: self._probe(connection, transfer, size), time.monotonic() + PROBE_SECONDS
        )

    def health(self, timeout: float) -> bool:
        """Whether the server says that it is ready; see the port."""
        try:
            self._start(self._ready, time.monotonic() + timeout).result(timeout)
        except RemoteError:
            return False
        return True

    def close(self) -> None:
        """Cancel what is under way and free the connections. Safe to repeat."""
        self._pool.close()

    def _start(self, work: Work, deadline: float) -> HttpCall:
        call = HttpCall(work, deadline, self._name)
        self._pool.start(call)
        return call

    def _infer(self, connection: Connection, transfer: Transfer, call: Call) -> Reply:
        server = self._meet(connection, transfer)
        if self._refuses_binary or not (oip.BINARY_EXTENSION in server.extensions or server.name in BINARY_SERVERS):
            return self._ask(connection, transfer, call, False)
        try:
            reply = self._ask(connection, transfer, call, True)
        except RefusedError as error:
            if self._answers_binary or error.status not in NOT_UNDERSTOOD or transfer.over:
                raise
            try:
                reply = self._ask(connection, transfer, call, False)
            except (RefusedError, ProtocolError):
                raise error from None  # it was not the form that it did not like
            self._refuses_binary = True
            return reply
        self._answers_binary = True
        return reply

    def _ask(self, connection: Connection, transfer: Transfer, call: Call, binary: bool) -> Reply:
        request_id = str(next(self._ids))
        try:
            message = oip.encode_request(call, binary=binary, request_id=request_id, budget=transfer.left())
        except InputError as error:
            raise ProtocolError(f"{self._name} takes {'binary' if binary else 'JSON'} tensors only: {error}") from error
        version = "" if call.version is None else f"/versions/{quote(call.version, safe='')}"
        path = f"/v2/models/{quote(call.model, safe='')}{version}/infer"
        status, answer = self._exchange(connection, transfer, "POST", path, message)
        if status != 200:
            raise oip.decode_error(status, answer)
        return oip.decode_reply(answer, self._limits, request_id)

    def _meet(self, connection: Connection, transfer: Transfer) -> oip.ServerMetadata:
        """Learn once what the server is."""
        if self._server is not None:
            return self._server
        status, answer = self._exchange(connection, transfer, "GET", "/v2", _NOTHING)
        if status == 200:
            try:
                self._server = oip.decode_metadata(answer, oip.ServerMetadata)
            except ProtocolError:
                return _UNKNOWN  # for this call: it may have been somebody else's page
        elif status in {400, 404, 405, 501}:
            self._server = _UNKNOWN
        else:
            raise oip.decode_error(status, answer)
        return self._server

    def _probe(self, connection: Connection, transfer: Transfer, size: int) -> Reply:
        if oip.PROBE_EXTENSION not in self._meet(connection, transfer).extensions:
            raise RefusedError(f"{self._name} takes no probes: it is not an endpoint of this project", status=501)
        status, answer = self._exchange(connection, transfer, "POST", "/v2/health/probe", Message(_noise(size)))
        if status != 200:
            raise oip.decode_error(status, answer)
        return oip.decode_reply(answer, self._limits)

    def _ready(self, connection: Connection, transfer: Transfer) -> Reply:
        status, answer = self._exchange(connection, transfer, "GET", "/v2/health/ready", _NOTHING)
        if status != 200:
            raise oip.decode_error(status, answer)
        return Reply({})

    def _exchange(
        self, connection: Connection, transfer: Transfer, method: str, path: str, message: Message
    ) -> tuple[int, Message]:
        chunked = self._server is not None and oip.CHUNKS_EXTENSION in self._server.extensions
        return connection.exchange(transfer, method, self._prefix + path, message, self._limits.body, chunked=chunked)


def _noise(size: int) -> bytes:
    """A link that compresses must not find a probe cheaper than tensors."""
    return (_RANDOM * (size // len(_RANDOM) + 1))[:size]


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:  # its message may repeat a part of the password
        raise InputError("this is no URL: write user and password with %, the port in digits") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0:
        raise InputError("a cloud over HTTP has a URL like https://cloud.example:8000")
    if parts.query or parts.fragment:
        raise InputError(f"the URL of a cloud ends with its path: {parts.hostname} has a query or a fragment after it")
    if not (parts.path + parts.hostname).isascii() or not url.isprintable() or " " in url:
        raise InputError("a cloud's URL is plain ASCII without spaces: encode the path in %, the host in punycode")
    return parts
