"""A TCP connection, plain or TLS, that waits in one place only, where it can be woken.

One thread owns it: it opens, waits and reads. Any thread may write what the kernel takes at once, and wake the owner.
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
from itertools import islice

_UNACKNOWLEDGED = 2_000  # ms that sent bytes may stay unacknowledged before the kernel calls the connection lost
_AT_ONCE = 16  # pieces that one call of the kernel is given


class Waker:
    """Wakes a thread that waits on a stream, from any thread."""

    def __init__(self) -> None:
        self._near, self._far = socket.socketpair()
        for each in (self._near, self._far):
            each.setblocking(False)

    def wake(self) -> None:
        """End the wait that goes on, or the next one."""
        with contextlib.suppress(OSError):  # full, and so awake; or closed
            self._far.send(b"\0")

    def close(self) -> None:
        """Free its files."""
        self._near.close()
        self._far.close()

    def fileno(self) -> int:
        return self._near.fileno()

    def calm(self) -> None:
        """The wait has ended: the next one is another."""
        with contextlib.suppress(BlockingIOError):
            self._near.recv(4096)


class Stream:
    """A connection, once it was opened by `connect`, and maybe `secure`: both until an instant of time.monotonic(), and as
    long as it is not `given_up`.

    Every error is an OSError: ssl.SSLError, TimeoutError, ConnectionError at the end of what the other end says.
    """

    def __init__(self, waker: Waker, given_up: threading.Event) -> None:
        self._waker, self._given_up = waker, given_up
        self._owner = threading.get_ident()
        self.socket: socket.socket | None = None
        self._turn: contextlib.AbstractContextManager[object] = contextlib.nullcontext()
        self._poll = select.poll()
        self._poll.register(waker, select.POLLIN)
        self._asked = 0

    def connect(self, host: str, port: int, until: float) -> None:
        """Connect to one of the host's addresses: the time is shared among those that are still to be tried."""
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        for number, (family, kind, protocol, _, address) in enumerate(found):
            sock = socket.socket(family, kind, protocol)
            try:
                self._adopt(sock)
                now = time.monotonic()
                self._reach(sock, address, now + (until - now) / (len(found) - number))
            except OSError:
                self.close()
                if number + 1 == len(found) or self._given_up.is_set():
                    raise
            else:
                return

    def secure(self, context: ssl.SSLContext, host: str, until: float) -> None:
        """Agree on TLS with this host."""
        assert self.socket is not None  # noqa: S101 - it is connected
        plain, self.socket = self.socket, None
        self._poll.unregister(plain)
        secure = context.wrap_socket(plain, server_hostname=host, do_handshake_on_connect=False)
        self._turn = threading.Lock()  # OpenSSL takes one thread at a time
        self._adopt(secure)
        while True:
            try:
                return secure.do_handshake()
            except ssl.SSLWantReadError:
                self._wait_until(select.POLLIN, until)
            except ssl.SSLWantWriteError:
                self._wait_until(select.POLLOUT, until)

    def wait(self, seconds: float, *, write: bool) -> None:
        """Until there is something to read, or, with `write`, room to write; until woken, or for so many seconds."""
        if isinstance(self.socket, ssl.SSLSocket) and self.socket.pending():
            return
        self._wait(select.POLLIN | (select.POLLOUT if write else 0), seconds)

    def receive(self, buffer: memoryview) -> int | None:
        """How many bytes have come into the buffer; None when there are none, ConnectionError at the end of all."""
        assert self.socket is not None  # noqa: S101 - it is connected
        try:
            with self._turn:
                count = self.socket.recv_into(buffer)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None
        if not count:
            raise ConnectionError("the other end hung up")
        return count

    def send(self, pieces: deque[memoryview]) -> int:
        """Write as much as the kernel takes and drop it from the pieces; how many bytes. From any thread, one at a time."""
        assert self.socket is not None  # noqa: S101 - it is connected
        total = 0
        while pieces:
            try:
                with self._turn:
                    if isinstance(self.socket, ssl.SSLSocket):
                        count = self.socket.send(pieces[0])
                    else:
                        count = self.socket.sendmsg(list(islice(pieces, _AT_ONCE)))
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                break
            total += count
            while pieces and count >= len(pieces[0]):
                count -= len(pieces.popleft())
            if count:
                pieces[0] = pieces[0][count:]
        return total

    def finish(self, seconds: float) -> None:
        """All was written: let the other end read it, and hang up, for so many seconds. What it says is dropped."""
        assert self.socket is not None  # noqa: S101 - it is connected
        until = time.monotonic() + seconds
        scrap = memoryview(bytearray(4096))
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self.socket, socket.SHUT_WR)  # SSLSocket's own would drop its TLS state
            while (left := until - time.monotonic()) > 0:
                while self.receive(scrap) is not None:
                    pass
                self.wait(left, write=False)

    def wake(self) -> None:
        """End the owner's wait, unless it is the owner who says so."""
        if threading.get_ident() != self._owner:
            self._waker.wake()

    def close(self) -> None:
        """Hang up. Safe to repeat."""
        if self.socket is not None:
            with contextlib.suppress(KeyError):  # it was not registered yet
                self._poll.unregister(self.socket)
            self.socket.close()
            self.socket = None

    def _adopt(self, sock: socket.socket) -> None:
        self.socket = sock
        sock.setblocking(False)
        self._asked = 0
        self._poll.register(sock, 0)

    def _reach(self, sock: socket.socket, address: object, until: float) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNACKNOWLEDGED)
        with contextlib.suppress(BlockingIOError):
            sock.connect(address)  # type: ignore[arg-type]  # as getaddrinfo gave it
            return
        self._wait_until(select.POLLOUT, until)
        if error := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(error, os.strerror(error))

    def _wait_until(self, events: int, until: float) -> None:
        while not self._wait(events, until - time.monotonic()):
            if self._given_up.is_set():
                raise InterruptedError("given up")
            if time.monotonic() >= until:
                raise TimeoutError("timed out")

    def _wait(self, events: int, seconds: float) -> bool:
        """Whether one of the events has come to the socket."""
        assert self.socket is not None  # noqa: S101 - it is there from the first try to connect on
        if events != self._asked:
            self._poll.modify(self.socket, events)
            self._asked = events
        come = False
        for file, _ in self._poll.poll(max(0.0, seconds) * 1e3):
            if file == self._waker.fileno():
                self._waker.calm()
            else:
                come = True
        return come
