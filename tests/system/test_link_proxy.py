"""The link that is made without root: real processes, real sockets, at the recorded pace."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.link.ends import Ends
from benchmarks.link.proxy import proxied
from benchmarks.routing.links import LinkTrace
from tests.endpoint import eventually

RATE, TRIP, SIZE = 200e3, 0.1, 60_000
LINK = LinkTrace("slow", (0.0, 60.0), (RATE,), (0.0,), (TRIP,))
AMPLE = 30.0


class Cloud:
    """Takes one connection; says "ok" when so many bytes have come."""

    def __init__(self, ends: Ends) -> None:
        host, _, port = ends.listens["http"].partition(":")
        self.taken = 0
        self.ended = threading.Event()
        self._listener = socket.create_server((host, int(port)))
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(AMPLE)

    def _serve(self) -> None:
        try:
            sock = self._listener.accept()[0]
        except OSError:
            return
        with sock:
            try:
                while data := sock.recv(1 << 16):
                    self.taken += len(data)
                    if self.taken == SIZE:
                        sock.sendall(b"ok")
            except OSError:
                pass
        self.ended.set()


@contextmanager
def link(tmp_path: Path) -> Iterator[tuple[Ends, Cloud, socket.socket]]:
    with proxied(LINK, 0.0, tmp_path) as ends:
        cloud = Cloud(ends)
        host, _, port = ends.found["http"].partition(":")
        with socket.create_connection((host, int(port)), AMPLE) as device:
            yield ends, cloud, device
        cloud.close()


def test_bytes_take_the_recorded_time(tmp_path: Path) -> None:
    """All arrive, not sooner than the link could have carried them, and are counted."""
    with link(tmp_path) as (ends, _, device):
        start = time.monotonic()
        device.sendall(bytes(SIZE))
        assert device.recv(2) == b"ok"
        assert time.monotonic() - start >= SIZE / RATE + TRIP - 0.001
    assert (ends.carried.up, ends.carried.down) == (SIZE, 2)


def test_a_link_that_is_cut(tmp_path: Path) -> None:
    """Nothing comes while it is; when it is joined, all of it."""
    with link(tmp_path) as (ends, cloud, device):
        ends.cut()
        device.sendall(bytes(SIZE // 10))
        time.sleep(0.3)
        assert cloud.taken == 0
        ends.join()
        device.sendall(bytes(SIZE - SIZE // 10))
        assert device.recv(2) == b"ok"


def test_a_connection_that_is_reset(tmp_path: Path) -> None:
    """The other end learns of it, and what had not left is dropped."""
    with link(tmp_path) as (_, cloud, device):
        device.sendall(bytes(SIZE // 2))
        eventually(lambda: cloud.taken > 0, "the first bytes have come")
        device.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        device.close()
        assert cloud.ended.wait(AMPLE)
        assert cloud.taken < SIZE // 2
