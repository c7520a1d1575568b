"""Servers over HTTP that do as a test wants, and calls to them."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from cloud_bridge.client.http import HttpRemote
from edge_runtime.remote import Call, Pending

AMPLE = 30.0

CALL = Call("m", {"x": np.ones((1, 2), np.float32)})
ANSWER = json.dumps({"model_name": "m", "outputs": [{"name": "y", "shape": [1], "datatype": "FP32", "data": [5]}]}).encode()
BINARY = b'{"name":"some server","extensions":["binary_tensor_data"]}'
PLAIN = b'{"name":"some server"}'

Handler = Callable[[socket.socket], None]


def http(body: bytes, status: int = 200, length: int | None = None) -> bytes:
    return f"HTTP/1.1 {status} X\r\ncontent-length: {len(body) if length is None else length}\r\n\r\n".encode() + body


def read(sock: socket.socket) -> tuple[str, bytes, bytes]:
    """One request: its first line, its head and its body. ConnectionError when there is none."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += some(sock)
    head, _, body = data.partition(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
    while len(body) < length:
        body += some(sock)
    return head.split(b"\r\n")[0].decode(), head.lower(), body


def some(sock: socket.socket) -> bytes:
    """What has come. ConnectionError at the end."""
    data = sock.recv(1 << 20)
    if not data:
        raise ConnectionError
    return data


@contextmanager
def server(handler: Handler) -> Iterator[str]:
    """A server that hands each connection to the handler, on a thread of its own. Gives its URL."""
    open_sockets: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def handle(sock: socket.socket) -> None:
        with sock:
            try:
                handler(sock)
            except OSError:
                return

    def accept(listener: socket.socket) -> None:
        while True:
            try:
                sock = listener.accept()[0]
            except OSError:
                return
            open_sockets.append(sock)
            threads.append(threading.Thread(target=handle, args=(sock,)))
            threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threads.append(threading.Thread(target=accept, args=(listener,)))
        threads[0].start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        for sock in (listener, *open_sockets):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
    for thread in threads:
        thread.join(AMPLE)


def after_hello(then: Handler, hello: bytes = BINARY) -> Handler:
    """A handler that says what it is, whenever it is asked, and leaves the first call to another one."""

    def handle(sock: socket.socket) -> None:
        while True:
            data = sock.recv(1, socket.MSG_PEEK)
            if not data:
                return None
            if data != b"G":
                return then(sock)
            read(sock)
            sock.sendall(http(hello))

    return handle


def send(remote: HttpRemote, seconds: float = AMPLE, call: Call = CALL) -> Pending:
    return remote.send(call, deadline=time.monotonic() + seconds)


def stall(sock: socket.socket) -> None:
    """Answer nothing, for as long as the other end is there."""
    while some(sock):
        pass
