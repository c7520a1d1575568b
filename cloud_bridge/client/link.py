"""The sockets below the HTTP client: each keeps its call's deadline at every read and write, and can be stopped by others.

httpcore's timeouts begin anew with each piece of data, so a server that trickles bytes can hold a call for ever. It lets
its sockets be replaced, which is done here: a socket serves one `Transfer` after another, and asks it for the time left.
"""

from __future__ import annotations

import select
import socket
import ssl
from collections.abc import Iterable
from typing import Any

import httpcore

from cloud_bridge.client.transfer import LINGER, Transfer

_LONGEST = 1e6
"""Seconds that a socket can be told to wait: a deadline may be infinite."""

UNSENT = 32 << 10
"""Bytes that may wait in the kernel, at most: what a cancelled call can still put on the wire."""


class Link(httpcore.NetworkBackend):
    """Makes the sockets of one connection, one after another, and lends the open one to the transfer at work."""

    def __init__(self) -> None:
        self.transfer = Transfer(0.0)
        self.socket: socket.socket | None = None

    def lend(self, transfer: Transfer) -> None:
        self.transfer = transfer
        if self.socket is not None:
            transfer.attach(self.socket)

    def adopt(self, sock: socket.socket) -> None:
        self.socket = sock
        self.transfer.attach(sock)

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to one of the host's addresses: the time left is shared among those that are still to be tried."""
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"{host} is not a host that is known here: {error}") from error
        failure: OSError | None = None
        for tried, (family, kind, protocol, _, address) in enumerate(found):
            sock = socket.socket(family, kind, protocol)
            try:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                _bound_unsent(sock)
                self.adopt(sock)
                sock.settimeout(self.time(httpcore.ConnectTimeout) / (len(found) - tried))
                sock.connect(address)
            except OSError as error:
                sock.close()
                failure = error
            except httpcore.ConnectTimeout:
                sock.close()
                raise
            else:
                return _Stream(self, sock)
        try:
            if isinstance(failure, TimeoutError):
                raise httpcore.ConnectTimeout(f"{host}:{port} did not accept a connection in time") from failure
            raise httpcore.ConnectError(str(failure or f"{host} has no address")) from failure
        finally:
            del failure  # it holds this frame, and all that called it

    def time(self, late: type[Exception]) -> float:
        """Seconds that the transfer at work has; `late`, and the end of the connection, when there are none."""
        left = self.transfer.patience()
        if left <= 0:
            self.transfer.sever()
            raise late("the deadline has passed")
        return min(left, _LONGEST)


class _Stream(httpcore.NetworkStream):
    def __init__(self, link: Link, sock: socket.socket) -> None:
        self._link = link
        self._socket = sock

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        while True:
            try:
                self._wait(httpcore.ReadTimeout)
                data = self._socket.recv(max_bytes)
            except TimeoutError:
                continue
            except OSError as error:
                raise httpcore.ReadError(str(error)) from error
            self._link.transfer.heard |= bool(data)
            return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        rest = memoryview(buffer)
        while rest:
            try:
                self._wait(httpcore.WriteTimeout)
                count = self._socket.send(rest)
            except TimeoutError:
                continue
            except OSError as error:
                raise httpcore.WriteError(str(error)) from error
            self._link.transfer.sent += count
            rest = rest[count:]

    def _wait(self, late: type[Exception]) -> None:
        """For how long the socket waits next: a transfer may be cut meanwhile, which leaves it less than it has now."""
        self._socket.settimeout(min(LINGER, self._link.time(late)))

    def close(self) -> None:
        self._link.socket = None
        self._link.transfer.detach()
        self._socket.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        try:
            secure = ssl_context.wrap_socket(self._socket, server_hostname=server_hostname, do_handshake_on_connect=False)
            self._link.adopt(secure)
            self._socket = secure
            secure.settimeout(self._link.time(httpcore.ConnectTimeout))
            secure.do_handshake()
        except TimeoutError as error:
            self.close()
            raise httpcore.ConnectTimeout(f"no TLS session in time: {error}") from error
        except OSError as error:  # an ssl.SSLError, too
            self.close()
            raise httpcore.ConnectError(f"no TLS session: {error}") from error
        except httpcore.ConnectTimeout:
            self.close()
            raise
        return self

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable":  # an idle connection that can be read is one that the server has closed
            return _readable(self._socket)
        if info == "ssl_object" and isinstance(self._socket, ssl.SSLSocket):
            return self._socket
        return None


def _readable(sock: socket.socket) -> bool:
    if sock.fileno() < 0:
        return True
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


def _bound_unsent(sock: socket.socket) -> None:
    """Bound what waits in the kernel; where it can be told apart, without bounding what is in flight on a long link."""
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT)
    else:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, UNSENT)
