"""A TCP connection, plain or TLS, that never blocks but where it is told to wait, and there it can be woken.

One thread owns it: it connects, waits and reads. Any thread may write what the kernel takes at once.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import Any, TypeAlias

Left: TypeAlias = Callable[[], float]
"""Seconds that something may still take; raises when there are none. They may become fewer while they are waited for."""

_SLICE = 1.0
"""Seconds after which it is asked again how many are left."""

_AT_ONCE = 32
"""Pieces that one call of the kernel is given."""


class Waker:
    """Wakes the thread that waits on a stream, from any thread."""

    def __init__(self) -> None:
        self._near, self._far = socket.socketpair()
        self._near.setblocking(False)
        self._far.setblocking(False)

    def wake(self) -> None:
        """End the wait that goes on, or else the next one."""
        with contextlib.suppress(OSError):  # full, and so it is awake; or closed
            self._far.send(b"\0")

    def calm(self) -> None:
        """It is awake: the next wait is another."""
        with contextlib.suppress(BlockingIOError):
            self._near.recv(4096)

    def fileno(self) -> int:
        return self._near.fileno()

    def close(self) -> None:
        """Free its files."""
        self._near.close()
        self._far.close()


class Stream:
    """A connection, from `connect` to `close`. Each socket that is tried on the way is first given to `adopt`.

    Its own errors are OSError, an ssl.SSLError among them.
    """

    def __init__(self, adopt: Callable[[socket.socket], object], waker: Waker | None = None) -> None:
        self.socket: socket.socket | None = None
        self._adopt, self._waker = adopt, waker
        self._owner = threading.get_ident()
        self._turn: contextlib.AbstractContextManager[object] = contextlib.nullcontext()
        self._poll = select.poll()
        self._asked = 0
        if waker is not None:
            self._poll.register(waker, select.POLLIN)

    def connect(self, host: str, port: int, left: Left) -> None:
        """Connect to one of the host's addresses: the time is shared among those that are still to be tried."""
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise OSError(f"{host} is not a host that is known here: {error}") from error
        for tried, (family, kind, protocol, _, address) in enumerate(found):
            try:
                self._take(socket.socket(family, kind, protocol))
                until = time.monotonic() + left() / (len(found) - tried)
                self._reach(address, partial(_until, until, left))
            except OSError:
                self.close()
                if tried + 1 == len(found):
                    raise
                left()  # nobody may wait for the others any more
            else:
                return

    def secure(self, context: ssl.SSLContext, host: str, left: Left) -> None:
        """Agree on TLS with this host."""
        plain = self._open
        self._poll.unregister(plain)
        self.socket = None
        secure = context.wrap_socket(plain, server_hostname=host, do_handshake_on_connect=False)
        self._turn = threading.Lock()  # OpenSSL takes one thread at a time
        self._take(secure)
        while True:
            try:
                return secure.do_handshake()
            except ssl.SSLWantReadError:
                self.wait_for(left, write=False)
            except ssl.SSLWantWriteError:
                self.wait_for(left, write=True)

    def wait(self, seconds: float, *, write: bool, read: bool = True) -> bool:
        """Until there is something to read, or with `write` room to write, or woken, or for so many seconds; whether one
        of the first two."""
        sock = self._open
        if read and isinstance(sock, ssl.SSLSocket) and sock.pending():
            return True
        events = (select.POLLIN if read else 0) | (select.POLLOUT if write else 0)
        if events != self._asked:
            self._poll.modify(sock, events)
            self._asked = events
        come = False
        for file, _ in self._poll.poll(max(0.0, seconds) * 1e3):
            if self._waker is not None and file == self._waker.fileno():
                self._waker.calm()
            else:
                come = True
        return come

    def wait_for(self, left: Left, *, write: bool) -> None:
        """Until there is room to write, or else something to read."""
        while not self.wait(min(left(), _SLICE), write=write, read=not write):
            pass

    def receive(self, buffer: memoryview) -> int | None:
        """How many bytes have come into the buffer: 0 at the end of all, None as long as there are none."""
        try:
            with self._turn:
                return self._open.recv_into(buffer)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None

    def send(self, pieces: deque[memoryview]) -> int:
        """Write as much as the kernel takes and drop it from the pieces; how many bytes. From any thread, one at a time."""
        sock, total = self._open, 0
        while pieces:
            try:
                with self._turn:
                    if isinstance(sock, ssl.SSLSocket):
                        count = sock.send(pieces[0])
                    else:
                        count = sock.sendmsg(list(islice(pieces, _AT_ONCE)))
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                break
            total += count
            while pieces and count >= len(pieces[0]):
                count -= len(pieces.popleft())
            if count:
                pieces[0] = pieces[0][count:]
        return total

    def finish(self, left: Left) -> None:
        """All was written: let the other end read it and hang up. What it still says is dropped."""
        scrap = memoryview(bytearray(4096))
        socket.socket.shutdown(self._open, socket.SHUT_WR)  # SSLSocket's own would drop its TLS state
        while (count := self.receive(scrap)) != 0:
            if count is None:
                self.wait_for(left, write=False)

    def wake(self) -> None:
        """End the owner's wait, unless it is the owner who says so."""
        if self._waker is not None and threading.get_ident() != self._owner:
            self._waker.wake()

    def close(self) -> None:
        """Hang up. Safe to repeat."""
        if self.socket is not None:
            self._poll.unregister(self.socket)
            self.socket.close()
            self.socket = None

    @property
    def _open(self) -> socket.socket:
        assert self.socket is not None  # noqa: S101 - who uses it has connected it
        return self.socket

    def _take(self, sock: socket.socket) -> None:
        self.socket = sock
        self._asked = 0
        self._poll.register(sock, 0)
        sock.setblocking(False)
        self._adopt(sock)

    def _reach(self, address: Any, left: Left) -> None:
        sock = self._open
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(BlockingIOError):
            sock.connect(address)
        self.wait_for(left, write=True)
        if error := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(error, os.strerror(error))


def _until(until: float, left: Left) -> float:
    """What is left of one address's share of the time."""
    seconds = min(left(), until - time.monotonic())
    if seconds <= 0.0:
        raise TimeoutError("no connection was accepted in time")
    return seconds
