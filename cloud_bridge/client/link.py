"""The sockets below the HTTP client: one after another, each lent to one `Transfer` after another, whose time and whose
ways to be stopped it then has."""

from __future__ import annotations

import socket
import ssl
from collections import deque
from types import TracebackType

from cloud_bridge.client.transfer import Transfer
from cloud_bridge.stream import Stream
from edge_runtime.errors import LateError, UnreachableError

_LONGEST = 1e6
"""Seconds that a socket can be told to wait: a deadline may be infinite."""

UNSENT = 32 << 10
"""Bytes that may wait in the kernel, at most: what a cancelled call can still put on the wire."""


class _Told:
    """What a socket's error becomes. LateError is a TimeoutError, and so an OSError: it stays what it is."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if isinstance(error, OSError) and not isinstance(error, LateError):
            raise UnreachableError(str(error)) from error


_TOLD = _Told()  # not made by `contextmanager`, which would cost each call of a model some microseconds


class Link:
    """To one host and port. Errors are UnreachableError, and LateError when the transfer at work has no time left."""

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None) -> None:
        self._host, self._port, self._tls = host, port, tls
        self._transfer = Transfer(0.0)
        self._stream: Stream | None = None
        self.heard = False
        """Whether anything has come back to the exchange at work."""

    @property
    def usable(self) -> bool:
        """Whether there is a connection that nothing has come over: what comes over an idle one is its end."""
        return self._stream is not None and not self._stream.wait(0.0, write=False)

    def lend(self, transfer: Transfer) -> None:
        """What is done from now on is done for this transfer."""
        self._transfer = transfer
        self.heard = False
        if self._stream is not None and self._stream.socket is not None:
            transfer.attach(self._stream.socket)

    def connect(self) -> None:
        """A new connection instead of the old one."""
        self.close()
        self._stream = Stream(self._adopt)
        try:
            with _TOLD:
                self._stream.connect(self._host, self._port, self._left)
                if self._tls is not None:
                    self._stream.secure(self._tls, self._host, self._left)
        except (LateError, UnreachableError):
            self.close()
            raise

    def send(self, pieces: deque[memoryview]) -> None:
        """As many bytes as can leave at once, and then wait until more can."""
        stream = self._connected()
        with _TOLD:
            self._transfer.sent += stream.send(pieces)
            if pieces:
                stream.wait_for(self._left, write=True)

    def receive(self, buffer: memoryview) -> int:
        """How many bytes came into the buffer; 0 at the end of all."""
        stream = self._connected()
        with _TOLD:
            while (count := stream.receive(buffer)) is None:
                stream.wait_for(self._left, write=False)
        self.heard |= bool(count)
        self._transfer.heard |= self.heard
        return count

    def close(self) -> None:
        """Hang up. Safe to repeat."""
        if self._stream is not None:
            self._transfer.detach()
            self._stream.close()
            self._stream = None

    def _connected(self) -> Stream:
        if self._stream is None:
            raise UnreachableError("there is no connection")
        return self._stream

    def _adopt(self, sock: socket.socket) -> None:
        if not isinstance(sock, ssl.SSLSocket):
            _bound_unsent(sock)
        self._transfer.attach(sock)

    def _left(self) -> float:
        """Seconds that the transfer at work has; LateError, and the end of the connection, when there are none."""
        left = self._transfer.patience()
        if left <= 0:
            self._transfer.sever()
            raise LateError("the deadline has passed")
        return min(left, _LONGEST)


def _bound_unsent(sock: socket.socket) -> None:
    """Bound what waits in the kernel; where it can be told apart, without bounding what is in flight on a long link."""
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT)
    else:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, UNSENT)
