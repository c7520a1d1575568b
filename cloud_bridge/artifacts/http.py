"""One file of a static server, from one byte on: GET over a socket that keeps a deadline and can be stopped at any time."""

from __future__ import annotations

import io
import ssl
import string
from collections import deque
from http.client import HTTPException, HTTPResponse, IncompleteRead
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote, urljoin, urlsplit

import msgspec

from cloud_bridge.artifacts.pieces import Head
from cloud_bridge.stream import Left, Stream
from edge_runtime.errors import EdgeError, InputError, ProtocolError, RemoteError, UnreachableError

if TYPE_CHECKING:
    import socket

REDIRECTS = 5
"""That are followed, at most; each within the scheme that it began with."""

_MOVED = frozenset({301, 302, 303, 307, 308})
_BUFFER = 64 << 10


class Place(msgspec.Struct, frozen=True):
    """What a URL says."""

    scheme: str
    host: str
    port: int
    path: str
    """With the query, as it goes into a request."""
    url: str


def parse(url: str) -> Place:
    """Raises InputError for what is no URL of a file over HTTP."""
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as error:
        raise InputError(f"{url[:200]!r} is no URL: {error}") from error
    if parts.scheme not in {"http", "https"} or not parts.hostname or not parts.hostname.isprintable():
        raise InputError(f"{url[:200]!r} is no URL of a server: write http(s)://HOST[:PORT]/PATH")
    if parts.username is not None:
        raise InputError(f"the URL of {parts.hostname} has a user in it: what is signed needs no secret to be fetched")
    path = quote((parts.path or "/") + (f"?{parts.query}" if parts.query else ""), safe=string.punctuation)
    return Place(parts.scheme, parts.hostname, port, path, url)


class Incoming:
    """An answer whose head has come. Close it."""

    def __init__(self, stream: Stream, response: HTTPResponse, name: str, url: str) -> None:
        self._stream, self._response, self._name = stream, response, name
        self.head = _head(response, url)

    def read(self, most: int) -> bytes:
        """Up to so many bytes of the body; none at its end. Raises UnreachableError when the connection ends before it."""
        try:
            data = self._response.read1(most)
        except EdgeError:
            raise
        except (OSError, HTTPException, ValueError) as error:
            raise _told(error, self._name) from error
        if not data and self._response.length:
            raise UnreachableError(f"{self._name} hung up with {self._response.length} bytes to come")
        return data

    def close(self) -> None:
        """Hang up."""
        self._response.close()
        self._stream.close()


def get(url: str, start: int, left: Left, tls: ssl.SSLContext | None) -> Incoming:
    """Ask for a file from this byte on. Raises UnreachableError, ProtocolError, and whatever `left` raises."""
    place = parse(url)
    for _ in range(REDIRECTS + 1):
        incoming, location = _ask(place, start, left, tls)
        if location is None:
            return incoming
        incoming.close()
        place = _redirected(place, location)
    raise ProtocolError(f"{url} is redirected over and over")


def _ask(place: Place, start: int, left: Left, tls: ssl.SSLContext | None) -> tuple[Incoming, str | None]:
    """The answer, and where it says the file is instead."""
    name, stream = f"{place.scheme}://{place.host}:{place.port}", Stream(lambda _: None)
    try:
        stream.connect(place.host, place.port, left)
        if place.scheme == "https":
            stream.secure(tls or ssl.create_default_context(), place.host, left)
        pieces = deque([memoryview(_request(place, start))])
        while stream.send(pieces) >= 0 and pieces:
            stream.wait_for(left, write=True)
        wire = _Wire(stream, left)
        response = HTTPResponse(cast("socket.socket", wire), method="GET")
        response.begin()
        wire.in_head = False
        moved = response.getheader("location") if response.status in _MOVED else None
        return Incoming(stream, response, name, place.url), moved
    except BaseException as error:
        stream.close()
        if isinstance(error, EdgeError) or not isinstance(error, OSError | HTTPException | ValueError):
            raise
        raise _told(error, name) from error


def _request(place: Place, start: int) -> bytes:
    host = f"[{place.host}]" if ":" in place.host else place.host
    lines = [
        f"GET {place.path} HTTP/1.1", f"Host: {host}:{place.port}", "User-Agent: edge-runtime", "Accept-Encoding: identity",
        "Connection: close", *([f"Range: bytes={start}-"] if start else []), "", "",
    ]  # fmt: skip
    try:
        return "\r\n".join(lines).encode("ascii")
    except UnicodeEncodeError as error:
        raise InputError(f"{place.host} is no host's name in ASCII") from error


def _redirected(place: Place, location: str) -> Place:
    try:
        there = parse(urljoin(place.url, location))
    except (InputError, ValueError) as error:
        raise ProtocolError(f"{place.url} is redirected to what is no place: {error}") from error
    if there.scheme != place.scheme:
        raise ProtocolError(f"{place.url} is redirected from {place.scheme} to {there.scheme}, which is not followed")
    return there


def _head(response: HTTPResponse, url: str) -> Head:
    encoding = (response.getheader("content-encoding") or "identity").strip().lower()
    return Head(response.status, response.length, response.getheader("content-range"), encoding, url)


def _told(error: Exception, name: str) -> RemoteError:
    if isinstance(error, OSError | IncompleteRead):
        return UnreachableError(f"{name} does not answer, or not to the end: {error}")
    return ProtocolError(f"{name} does not speak HTTP: {error!r:.200}")


class _Wire(io.RawIOBase):
    """What `http.client` reads an answer from: a stream that is waited for as long as there is time left."""

    def __init__(self, stream: Stream, left: Left) -> None:
        super().__init__()
        self._stream, self._left = stream, left
        self.in_head = True
        """The connection may not end yet: `http.client` would take half a head for a whole one."""

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(self, _BUFFER)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        while (count := self._stream.receive(memoryview(buffer))) is None:
            self._stream.wait_for(self._left, write=False)
        if not count and self.in_head:
            raise ConnectionResetError("it hung up before it had answered")
        return count
