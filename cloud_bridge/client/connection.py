"""One HTTP connection: a message goes, a message comes back, and httpcore's errors end here."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

import httpcore

from cloud_bridge.client.link import Link
from cloud_bridge.client.transfer import Transfer
from cloud_bridge.protocol.message import Buffer, Message
from edge_runtime.errors import LateError, ProtocolError, RemoteError, UnreachableError

ERRORS: tuple[tuple[type[Exception], type[RemoteError]], ...] = (
    (httpcore.TimeoutException, LateError),
    (httpcore.NetworkError, UnreachableError),
    (httpcore.ProxyError, UnreachableError),
    (httpcore.ConnectionNotAvailable, UnreachableError),
    (httpcore.ProtocolError, ProtocolError),
    (httpcore.UnsupportedProtocol, ProtocolError),
)
"""What becomes of each of httpcore's errors: the first that matches."""

PIECE = 32 << 10
"""A body in chunks ends within so many bytes of being told to."""

_LATE = "the deadline has passed"
_UNWANTED = 64 << 10
"""Bytes of an answer that nobody waits for any more: with more to come the connection is not worth it."""
_LOST = (httpcore.WriteError, httpcore.ReadError, httpcore.RemoteProtocolError)


class Connection:
    """Connects when it is first used, and again when it was lost. One thread uses it."""

    def __init__(self, origin: httpcore.Origin, headers: dict[str, str], tls: ssl.SSLContext | None) -> None:
        self._origin = origin
        self._headers = [(name.encode(), value.encode()) for name, value in headers.items()]
        self._tls = tls
        self._link = Link()
        self._http: httpcore.HTTPConnection | None = None

    def exchange(
        self, transfer: Transfer, method: str, target: bytes, message: Message, limit: int, *, chunked: bool
    ) -> tuple[int, Message]:
        """Send a message and read the answer: its status, and a message of at most `limit` bytes. Raises a RemoteError.

        `chunked` is for a server that takes a body which ends early: what is given up then leaves the connection as it is.
        """
        try:
            return self._exchange(transfer, self._request(transfer, method, target, message, chunked), limit)
        except tuple(kind for kind, _ in ERRORS) as error:
            raise translate(error, self._where) from error
        finally:
            transfer.detach()

    def close(self) -> None:
        if self._http is not None:
            self._http.close()
            self._http = None

    @property
    def _where(self) -> str:
        return str(self._origin)

    def _exchange(self, transfer: Transfer, request: httpcore.Request, limit: int) -> tuple[int, Message]:
        if transfer.over:
            raise httpcore.WriteTimeout(_LATE)
        http, reused = self._open()
        self._link.lend(transfer)
        try:
            return _round_trip(http, transfer, request, limit)
        except _LOST:
            # A server may close an idle connection just when the next request is on its way to it.
            if not reused or transfer.heard or transfer.over:
                raise
            self.close()
            self._link.lend(transfer)
            return _round_trip(self._open()[0], transfer, request, limit)

    def _open(self) -> tuple[httpcore.HTTPConnection, bool]:
        """The connection, and whether it was used before."""
        if self._http is not None and self._http.is_available() and not self._http.has_expired():
            return self._http, True
        self.close()
        self._http = httpcore.HTTPConnection(self._origin, self._tls, network_backend=self._link)
        return self._http, False

    def _request(self, transfer: Transfer, method: str, target: bytes, message: Message, chunked: bool) -> httpcore.Request:
        url = httpcore.URL(scheme=self._origin.scheme, host=self._origin.host, port=self._origin.port, target=target)
        headers = [*self._headers, *((name.encode(), value.encode()) for name, value in message.headers.items())]
        if method != "GET":
            length = str(len(message.body)).encode()
            headers.append((b"transfer-encoding", b"chunked") if chunked else (b"content-length", length))
        body = _Body(message.body, transfer, chunked)
        return httpcore.Request(method, url, headers=headers, content=body)  # type: ignore[arg-type] # h11 takes any bytes-like object


class _Body:
    """In pieces, so that it stops within one piece of being told to."""

    def __init__(self, body: Buffer, transfer: Transfer, chunked: bool) -> None:
        self._body = memoryview(body)
        self._transfer = transfer
        self._chunked = chunked

    def __iter__(self) -> Iterator[memoryview]:
        if not self._chunked and not self._transfer.pin():
            raise httpcore.WriteTimeout(_LATE)
        for at in range(0, len(self._body), PIECE):
            if self._chunked and self._transfer.over:
                return
            yield self._body[at : at + PIECE]
        self._transfer.unpin()


def _round_trip(
    http: httpcore.HTTPConnection, transfer: Transfer, request: httpcore.Request, limit: int
) -> tuple[int, Message]:
    response = http.handle_request(request)
    try:
        return response.status, _read(response, transfer, limit)
    finally:
        response.close()


def _read(response: httpcore.Response, transfer: Transfer, limit: int) -> Message:
    body = bytearray()
    for chunk in response.iter_stream():
        body += chunk
        if len(body) > (min(limit, _UNWANTED) if transfer.over else limit):
            raise ProtocolError(f"the answer is larger than {limit} bytes")
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
    return Message(body, headers)


def translate(error: Exception, where: str) -> RemoteError:
    """The error of the tree for one of httpcore's."""
    kind = next(kind for source, kind in ERRORS if isinstance(error, source))
    text = str(error) or type(error).__name__
    if "disconnected without sending" in text:  # httpcore has no type of its own for it
        kind = UnreachableError
    return kind(f"{where}: {text}")
