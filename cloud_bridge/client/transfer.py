"""One exchange over a connection: until when it goes on, and the ways to stop it."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time

LINGER = 1.0
"""Seconds in which an exchange that is over may come to its end, so that its connection can be used again: a new one costs
round trips, and begins slowly."""

_LINGER_NOT = struct.pack("ii", 1, 0)


class Transfer:
    """One exchange's use of a socket: until when, how many bytes have left, and the ways to stop it.

    It is over when it is cut or its deadline has passed. Then no more of its body is sent, and its connection is kept if it
    comes to its end within `LINGER` seconds. A body whose length was announced cannot end early: while it is sent the
    transfer is `pinned`, and to cut it severs the connection.
    """

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.sent = 0
        self.heard = False
        """Whether anything came back."""
        self._pinned = False
        self._severed = False
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()

    @property
    def over(self) -> bool:
        """Whether nobody waits for it any more."""
        return self.left() <= 0.0

    def left(self) -> float:
        """Seconds left to the call, 0 when it is over."""
        return max(0.0, self.deadline - time.monotonic())

    def patience(self) -> float:
        """Seconds that its socket may still take, 0 when the connection is to be given up."""
        return max(0.0, self.deadline + (0.0 if self._pinned else LINGER) - time.monotonic())

    def attach(self, sock: socket.socket) -> None:
        """This socket now carries the exchange."""
        with self._lock:
            self._socket = sock
            if self._severed:
                _sever(sock)

    def detach(self) -> None:
        """The exchange is at its end: the socket is somebody else's."""
        with self._lock:
            self._socket = None

    def pin(self) -> bool:
        """The whole body has to be sent from now on. Whether it may be: not when the transfer is over already."""
        with self._lock:
            self._pinned = not self.over
            return self._pinned

    def unpin(self) -> None:
        """The body has been sent."""
        with self._lock:
            self._pinned = False

    def cut(self) -> None:
        """Nobody waits for it any more: stop the bytes now, from any thread."""
        with self._lock:
            self.deadline = min(self.deadline, time.monotonic())
            pinned = self._pinned
        if pinned:
            self.sever()

    def sever(self) -> None:
        """End its connection, too, from any thread. Whoever waits for the socket gets an error at once."""
        with self._lock:
            self._severed = True
            if self._socket is not None:
                _sever(self._socket)


def _sever(sock: socket.socket) -> None:
    """End both directions. What waits in the kernel is thrown away when the socket's own thread then closes it."""
    with contextlib.suppress(OSError):  # not connected yet, or closed already
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
    with contextlib.suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)  # SSLSocket's own would drop its TLS state under a reader's feet
