"""A call over HTTP that is given up stops its bytes; its connection is kept where the server takes bodies in chunks."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from cloud_bridge.client.connection import PIECE
from cloud_bridge.client.http import HttpRemote
from cloud_bridge.client.link import UNSENT, Link
from edge_runtime.errors import CancelledError, LateError
from edge_runtime.remote import Call, Pending
from tests.endpoint import endpoint, eventually
from tests.onnx_store import write_store
from tests.system.http_parts import AMPLE, ANSWER, BINARY, after_hello, http, read, send, server, some, stall

CHUNKS = b'{"name":"ours","extensions":["binary_tensor_data","edge_chunks"]}'
SIZE = 256 << 20
BIG = Call("m", {"x": np.zeros(SIZE, np.uint8)})


def stuck(call: Pending) -> None:
    """Wait until the server's and the kernel's buffers are full."""
    progress: list[int] = []

    def settled() -> bool:
        progress.append(call.transfer.sent)  # type: ignore[attr-defined]
        return len(progress) > 20 and progress[-1] == progress[-20] > 0

    eventually(settled, "the server's and the kernel's buffers are full")


def test_cancel_stops_the_bytes() -> None:
    """A cancelled call puts no more on the wire than it says, and what it says is not much more than the server took."""
    taken: list[int] = []
    go = threading.Event()

    def sip(sock: socket.socket) -> None:
        total = len(sock.recv(1000))
        go.wait(AMPLE)
        try:
            while data := sock.recv(1 << 20):
                total += len(data)
        except OSError:
            pass
        taken.append(total)

    with server(after_hello(sip)) as url:
        remote = HttpRemote(url, connections=1)
        call = send(remote, call=BIG)
        stuck(call)
        left = call.cancel()
        assert UNSENT < left < SIZE / 2
        with pytest.raises(CancelledError):
            call.result(AMPLE)
        go.set()
        eventually(lambda: bool(taken), "the server noticed")
        assert taken[0] <= left
        assert call.cancel() == left
        remote.close()


def free(remote: HttpRemote, connections: int = 1) -> None:
    """Wait until so many connections are free again."""
    eventually(lambda: len(remote._pool._idle) == connections, "the connections are free")


def begun(call: Pending) -> None:
    """Wait until its first bytes have left."""
    eventually(lambda: bool(call.transfer.sent), "it is on its way")  # type: ignore[attr-defined]


def read_chunks(sock: socket.socket, go: threading.Event) -> int:
    """A request in chunks, its body from when `go` is set: how many bytes its body had."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += some(sock)
    head, _, data = data.partition(b"\r\n\r\n")
    assert b"transfer-encoding: chunked" in head.lower()
    go.wait(AMPLE)
    total = 0
    while True:
        while b"\r\n" not in data:
            data += some(sock)
        line, _, data = data.partition(b"\r\n")
        size = int(line, 16)
        while len(data) < size + 2:
            data += some(sock)
        data = data[size + 2 :]
        total += size
        if not size:
            return total


@contextmanager
def chunked(go: threading.Event) -> Iterator[tuple[HttpRemote, list[list[int]]]]:
    """A client of a server that takes chunks, no body before `go` is set, and the bytes of the bodies by connection."""
    taken: list[list[int]] = []

    def handle(sock: socket.socket) -> None:
        mine: list[int] = []
        taken.append(mine)
        while True:
            mine.append(read_chunks(sock, go))
            sock.sendall(http(ANSWER) if mine[-1] < 1000 else http(b'{"error":"cut short"}', 400))

    with server(after_hello(handle, CHUNKS)) as url:
        remote = HttpRemote(url, connections=1)
        try:
            yield remote, taken
        finally:
            remote.close()


def test_cancel_keeps_the_connection() -> None:
    """A body in chunks ends within a piece of being told to, and the next call goes over the same connection."""
    go = threading.Event()
    with chunked(go) as (remote, taken):
        call = send(remote, call=BIG)
        stuck(call)
        left = call.cancel()
        assert left < SIZE / 2
        go.set()
        free(remote)
        assert send(remote).result(AMPLE).outputs["y"].tolist() == [5.0]
        with pytest.raises(CancelledError):
            call.result(0.0)
        assert len(taken) == 1
        assert left - 2000 < taken[0][0] <= left + PIECE  # its head and the sizes of its chunks are among what had left


def test_deadline_keeps_the_connection() -> None:
    """A deadline that passes ends the body likewise, whoever waits for the call or not."""
    go = threading.Event()
    with chunked(go) as (remote, taken):
        call = send(remote, 0.3, call=BIG)
        stuck(call)
        time.sleep(0.3)
        go.set()
        free(remote)
        assert send(remote).result(AMPLE).outputs["y"].tolist() == [5.0]
        with pytest.raises(LateError):
            call.result(0.0)
        assert len(taken) == 1
        assert taken[0][0] < SIZE / 2


def test_late_answer_keeps_the_connection() -> None:
    """An answer that nobody waits for any more is read and dropped, and is not the next call's."""
    connections: list[list[str]] = []
    go = threading.Event()

    def handle(sock: socket.socket) -> None:
        mine: list[str] = []
        connections.append(mine)
        while True:
            mine.append(read(sock)[0])
            if len(mine) == 1:
                go.wait(AMPLE)
            sock.sendall(http(ANSWER if len(mine) > 1 else ANSWER.replace(b"[5]", b"[6]")))

    with server(after_hello(handle)) as url:
        remote = HttpRemote(url, connections=1)
        call = send(remote)
        eventually(lambda: bool(connections and connections[0]), "the server has the call")
        eventually(lambda: not call.transfer._pinned, "the client knows that all has left")  # type: ignore[attr-defined]
        call.cancel()
        go.set()
        free(remote)
        assert send(remote).result(AMPLE).outputs["y"].tolist() == [5.0]
        assert [len(mine) for mine in connections] == [2]
        remote.close()


@pytest.mark.parametrize("hello", [BINARY, CHUNKS], ids=["length", "chunks"])
def test_what_comes_to_no_end(hello: bytes) -> None:
    """A server that takes no more loses the connection, by itself."""
    lost = threading.Event()

    def handle(sock: socket.socket) -> None:
        sock.recv(1000)
        poll = select.poll()
        poll.register(sock, select.POLLERR | select.POLLHUP)
        if poll.poll(AMPLE * 1e3):
            lost.set()

    with server(after_hello(handle, hello)) as url:
        remote = HttpRemote(url, connections=1)
        call = send(remote, call=BIG)
        stuck(call)
        call.cancel()
        eventually(lost.is_set, "the connection is reset")
        remote.close()


def test_what_lingers_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that was given up, and does not come to its end, is not in the way of the next."""
    monkeypatch.setattr("cloud_bridge.client.transfer.LINGER", 1e3)
    served: list[socket.socket] = []

    def handle(sock: socket.socket) -> None:
        served.append(sock)
        if len(served) == 1:
            stall(sock)
        read(sock)
        sock.sendall(http(ANSWER))

    with server(after_hello(handle, CHUNKS)) as url:
        remote = HttpRemote(url, connections=1)
        call = send(remote)
        eventually(lambda: bool(served), "the server has the call")
        call.cancel()
        with pytest.raises(CancelledError):
            call.result(AMPLE)
        assert send(remote).result(AMPLE).outputs["y"].tolist() == [5.0]
        remote.close()


def test_a_late_answer_without_an_end() -> None:
    """Of an answer that nobody waits for, only so much is read."""
    lost = threading.Event()
    asked = threading.Event()
    go = threading.Event()

    def handle(sock: socket.socket) -> None:
        read(sock)
        asked.set()
        go.wait(AMPLE)
        try:
            for _ in range(1000):
                sock.sendall(http(b"", length=1 << 30) if not lost.is_set() else b"")
                sock.sendall(bytes(1 << 20))
        except OSError:
            lost.set()

    with server(after_hello(handle)) as url:
        remote = HttpRemote(url, connections=1)
        call = send(remote)
        assert asked.wait(AMPLE)
        call.cancel()
        go.set()
        eventually(lost.is_set, "the connection is closed")
        remote.close()


def test_calls_use_the_connection_that_was_used_last() -> None:
    """After calls side by side, those that follow go over the one connection that was used last."""
    used: list[int] = []
    gate = threading.Barrier(3)

    def handle(sock: socket.socket) -> None:
        for turn in range(100):
            read(sock)
            used.append(sock.fileno())
            if turn == 0:
                gate.wait(AMPLE)
            sock.sendall(http(ANSWER))

    with server(after_hello(handle)) as url:
        remote = HttpRemote(url)
        for call in [send(remote) for _ in range(3)]:
            call.result(AMPLE)
        free(remote, 3)
        for _ in range(9):
            send(remote).result(AMPLE)
            free(remote, 3)
        assert len(set(used[:3])) == 3
        assert len(set(used[3:])) == 1
        remote.close()


def test_the_endpoint_keeps_the_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real endpoint answers a body that ends early with 400, and goes on: over one connection, and saying nothing."""
    opened: list[Link] = []
    connect = Link.connect

    def counted(link: Link) -> None:
        opened.append(link)
        connect(link)

    monkeypatch.setattr(Link, "connect", counted)
    with endpoint(write_store(tmp_path).path) as running:
        remote = HttpRemote(running.url, connections=1)
        x = np.zeros((4_000_000, 2), np.float32)
        cut = 0
        for _ in range(50):
            call = send(remote, call=Call("double", {"x": x}))
            begun(call)
            cut += call.cancel() < x.nbytes  # else all had left before this thread had its turn
            free(remote)
            if cut == 5:
                break
        assert cut == 5
        assert send(remote, call=Call("double", {"x": x[:3]})).result(AMPLE).outputs["y"].shape == (3, 2)
        assert len(opened) == 1
        remote.close()
