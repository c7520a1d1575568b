"""A static server that can do what servers and networks do: know ranges or not, hang up at any byte, lie, and never end."""

from __future__ import annotations

import re
import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

BLOCK = 16 << 10


class Server(socketserver.ThreadingTCPServer):
    """Serves a folder, until it is told otherwise."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, folder: Path, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self._tls = tls
        self.folder = folder
        self.ranges = True
        """Whether it knows them."""
        self.lengths = True
        """Whether it says how long a file is."""
        self.cuts: list[int] = []
        """After how many bytes, head included, each of the next answers about targets ends."""
        self.answers: dict[str, bytes] = {}
        """By a path: what it says instead, head and all."""
        self.files: dict[str, bytes] = {}
        """By a path: what it gives instead of the file."""
        self.endless: set[str] = set()
        """Paths of files that never end."""
        self.silent: set[str] = set()
        """Paths that are not answered."""
        self.dripping: set[str] = set()
        """Paths of files that come byte by byte, and never to the end."""
        self.asked: list[tuple[str, int]] = []
        """Each path that was asked for, and from which byte on."""
        self.over = threading.Event()

    @property
    def url(self) -> str:
        return f"http{'s' * bool(self._tls)}://127.0.0.1:{self.server_address[1]}"

    def get_request(self) -> tuple[socket.socket, Any]:
        """The next connection."""
        sock, address = super().get_request()
        return (self._tls.wrap_socket(sock, server_side=True) if self._tls else sock), address

    def targets(self) -> list[int]:
        """From which bytes on a target was asked for, one request after another."""
        return [start for path, start in self.asked if path.startswith("/targets/")]

    def handle_error(self, request: object, client_address: object) -> None:
        """A device that hangs up is nothing to tell."""


class _Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        server = cast("Server", self.server)
        path = self.rfile.readline().decode().split(" ")[1]
        start = 0
        while (line := self.rfile.readline().strip()) not in {b""}:
            if found := re.fullmatch(rb"range: bytes=([0-9]+)-", line, re.IGNORECASE):
                start = int(found[1])
        server.asked.append((path, start))
        if path in server.silent:
            server.over.wait(30)
            return
        whole = self._answer(server, path, start)
        if path.startswith("/targets/") and server.cuts:
            whole = whole[: server.cuts.pop(0)]
        with suppress(OSError):
            while path in server.dripping and not server.over.wait(0.01):
                self.wfile.write(whole[:1])
                whole = whole[1:] or b" "
            self.wfile.write(whole)
            while path in server.endless and not server.over.is_set():
                self.wfile.write(b"x" * BLOCK)

    def _answer(self, server: Server, path: str, start: int) -> bytes:
        if path in server.answers:
            return server.answers[path]
        file = server.folder / path.lstrip("/")
        if path not in server.files and not file.is_file():
            return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
        data = server.files[path] if path in server.files else file.read_bytes()
        head = "HTTP/1.1 200 OK\r\n"
        if start and server.ranges:
            if start >= len(data):
                return b"HTTP/1.1 416 Range Not Satisfiable\r\nContent-Length: 0\r\n\r\n"
            head = f"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {start}-{len(data) - 1}/{len(data)}\r\n"
            data = data[start:]
        if server.lengths and path not in server.endless:
            head += f"Content-Length: {len(data)}\r\n"
        return f"{head}\r\n".encode() + data


@contextmanager
def serving(folder: Path, tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    """A server of this folder in a thread of its own."""
    with Server(folder, tls) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.over.set()
            server.shutdown()
            thread.join()
