"""One HTTP connection: a message goes, a message comes back, and httpcore's errors end here."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

import httpcore

from cloud_bridge.client.link import Link, Transfer
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

_CHUNK = 64 << 10
_LOST = (httpcore.WriteError, httpcore.ReadError, httpcore.RemoteProtocolError)


class Connection:
    """Connects when it is first used, and again when it was lost. One thread uses it."""

    def __init__(self, origin: httpcore.Origin, headers: dict[str, str], tls: ssl.SSLContext | None) -> None:
        self._origin = origin
        self._headers = [(name.encode(), value.encode()) for name, value in headers.items()]
        self._tls = tls
        self._link = Link()
        self._http: httpcore.HTTPConnection | None = None

    def exchange(self, transfer: Transfer, method: str, target: bytes, message: Message, limit: int) -> tuple[int, Message]:
        """Send a message and read the answer: its status, and a message of at most `limit` bytes. Raises a RemoteError."""
        try:
            return self._exchange(transfer, method, target, message, limit)
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

    def _exchange(
        self, transfer: Transfer, method: str, target: bytes, message: Message, limit: int
    ) -> tuple[int, Message]:
        http, reused = self._open()
        self._link.lend(transfer)
        try:
            return self._round_trip(http, method, target, message, limit)
        except _LOST:
            # A server may close an idle connection just when the next request is on its way to it.
            if not reused or transfer.heard or transfer.is_cut:
                raise
            self.close()
            self._link.lend(transfer)
            return self._round_trip(self._open()[0], method, target, message, limit)

    def _open(self) -> tuple[httpcore.HTTPConnection, bool]:
        """The connection, and whether it was used before."""
        if self._http is not None and self._http.is_available() and not self._http.has_expired():
            return self._http, True
        self.close()
        self._http = httpcore.HTTPConnection(self._origin, self._tls, network_backend=self._link)
        return self._http, False

    def _round_trip(
        self, http: httpcore.HTTPConnection, method: str, target: bytes, message: Message, limit: int
    ) -> tuple[int, Message]:
        url = httpcore.URL(scheme=self._origin.scheme, host=self._origin.host, port=self._origin.port, target=target)
        headers = [(name.encode(), value.encode()) for name, value in message.headers.items()]
        if method == "POST":
            headers.append((b"content-length", str(len(message.body)).encode()))
        request = httpcore.Request(method, url, headers=self._headers + headers, content=_Chunks(message.body))  # type: ignore[arg-type] # h11 takes any bytes-like object
        response = http.handle_request(request)
        try:
            return response.status, _read(response, limit)
        finally:
            response.close()


class _Chunks:
    """A body in pieces, so that it stops within one piece of being told to."""

    def __init__(self, body: Buffer) -> None:
        self._body = memoryview(body)

    def __iter__(self) -> Iterator[memoryview]:
        for at in range(0, len(self._body), _CHUNK):
            yield self._body[at : at + _CHUNK]


def _read(response: httpcore.Response, limit: int) -> Message:
    body = bytearray()
    for chunk in response.iter_stream():
        body += chunk
        if len(body) > limit:
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
