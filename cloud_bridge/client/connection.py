"""One HTTP connection: a message goes, a message comes back, and whatever goes wrong is an error of the tree."""

from __future__ import annotations

import ssl
from collections import deque
from collections.abc import Iterator, Sequence

from cloud_bridge.client.answer import HEAD, Answer
from cloud_bridge.client.link import Link
from cloud_bridge.client.transfer import Transfer
from cloud_bridge.protocol.message import Buffer, Message
from edge_runtime.errors import LateError, RemoteError, UnreachableError

PIECE = 32 << 10
"""A body in chunks ends within so many bytes of being told to."""

_BATCH = 8
"""Pieces that are handed over together: fewer are more calls of the kernel."""

_UNWANTED = 64 << 10
"""Bytes of an answer that nobody waits for any more: with more to come the connection is not worth it."""


class Connection:
    """Connects when it is first used, and again when it was lost. One thread uses it."""

    def __init__(self, host: str, port: int, headers: dict[str, str], tls: ssl.SSLContext | None) -> None:
        self._where = f"http{'' if tls is None else 's'}://{f'[{host}]' if ':' in host else host}:{port}"
        self._head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._tls = tls is not None
        self._link = Link(host, port, tls)
        self._scrap = memoryview(bytearray(HEAD))

    def exchange(
        self, transfer: Transfer, method: str, target: str, message: Message, limit: int, *, chunked: bool
    ) -> tuple[int, Message]:
        """Send a message and read the answer: its status, and a message of at most `limit` bytes. Raises a RemoteError.

        `chunked` is for a server that takes a body which ends early: what is given up then leaves the connection as it is.
        """
        lines = "".join(f"{name}: {value}\r\n" for name, value in message.headers.items())
        if method != "GET":
            lines += "transfer-encoding: chunked\r\n" if chunked else f"content-length: {message.size}\r\n"
        head = f"{method} {target} HTTP/1.1\r\n{self._head}{lines}\r\n".encode()
        try:
            return self._exchange(transfer, head, () if method == "GET" else message.parts, limit, chunked)
        except RemoteError as error:
            raise type(error)(f"{self._where}: {error}") from error
        finally:
            transfer.detach()

    def close(self) -> None:
        self._link.close()

    def _exchange(
        self, transfer: Transfer, head: bytes, parts: Sequence[Buffer], limit: int, chunked: bool
    ) -> tuple[int, Message]:
        if transfer.over:
            raise LateError("the deadline has passed")
        reused = self._link.usable
        self._link.lend(transfer)
        if not reused:
            self._link.connect()
        try:
            try:
                return self._round_trip(transfer, head, parts, limit, chunked)
            except UnreachableError:
                # A server may close an idle connection just when the next request is on its way to it.
                if not reused or transfer.heard or transfer.over:
                    raise
            self._link.connect()
            return self._round_trip(transfer, head, parts, limit, chunked)
        except RemoteError:
            self._link.close()
            raise

    def _round_trip(
        self, transfer: Transfer, head: bytes, parts: Sequence[Buffer], limit: int, chunked: bool
    ) -> tuple[int, Message]:
        broken: UnreachableError | None = None
        try:
            self._say(transfer, head, parts, chunked)
        except UnreachableError as error:  # a server may answer and hang up before it has read all
            broken = error
        answer = Answer(self._scrap, lambda: min(limit, _UNWANTED) if transfer.over else limit)
        while not answer.complete:
            count = self._link.receive(answer.buffer())
            if not count and not self._link.heard:
                raise broken or UnreachableError("the server disconnected without an answer")
            answer.received(count)
        if broken or not answer.reusable:
            self._link.close()
        return answer.status, answer.message

    def _say(self, transfer: Transfer, head: bytes, parts: Sequence[Buffer], chunked: bool) -> None:
        if not parts:
            self._send(deque([memoryview(head)]))
        elif chunked:
            self._say_chunks(transfer, head, parts)
        elif transfer.pin():
            self._send(deque([memoryview(head), *_cut(parts, PIECE * _BATCH)]))
            transfer.unpin()
        else:
            raise LateError("the deadline has passed")

    def _say_chunks(self, transfer: Transfer, head: bytes, parts: Sequence[Buffer]) -> None:
        """Until the transfer is over."""
        pieces, line = deque[memoryview](), head
        for number, piece in enumerate(_cut(parts, PIECE)):
            if number and number % _BATCH == 0:
                self._send(pieces, transfer)
                if transfer.over:
                    break
            pieces += self._chunk(line + b"%x\r\n" % len(piece), piece)
            line = b"\r\n"
        self._send(pieces, transfer, memoryview(line + b"0\r\n\r\n"))

    def _chunk(self, line: bytes, piece: memoryview) -> Sequence[memoryview]:
        """Over TLS each piece is encrypted, and sent, by itself."""
        return (memoryview(line + piece),) if self._tls else (memoryview(line), piece)

    def _send(self, pieces: deque[memoryview], transfer: Transfer | None = None, end: memoryview | None = None) -> None:
        """All of them and then the end; when the transfer is over, no more than the chunk that has begun, and the end."""
        if end is not None:
            pieces.append(end)
        while pieces:
            if transfer is not None and transfer.over:
                _shorten(pieces, 1 if self._tls else 2, ended=end is not None)
            self._link.send(pieces)


def _shorten(pieces: deque[memoryview], parts: int, *, ended: bool) -> None:
    """Drop the chunks, of so many parts each, behind the one that is leaving."""
    end = pieces.pop() if ended and pieces else None
    keep = (len(pieces) - 1) % parts + 1
    while len(pieces) > keep:
        pieces.pop()
    if end is not None:
        pieces.append(end)


def _cut(parts: Sequence[Buffer], size: int) -> Iterator[memoryview]:
    """In pieces of at most this size."""
    for part in parts:
        view = memoryview(part)
        for at in range(0, len(view), size):
            yield view[at : at + size]
