"""Ends to what a stranger can make a connection keep: what HTTP lets grow beside a body."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LEAVING = "edge_runtime.leaving"
"""In a request's scope: what is to be called when its client leaves."""

MAX_BESIDE = 64 << 10
"""Bytes of a request beside its body: the head, the sizes of chunks, the trailer. Each byte of body allows one more."""

MAX_AHEAD = 16
"""Requests that a connection may have sent ahead of the one that is being answered."""

HEAD_SECONDS = 60.0
"""A connection whose next head has begun, or whose first has not, is closed when it is not complete after this."""


class GuardedProtocol(HttpToolsProtocol):
    """One connection of uvicorn's, which by itself collects heads, trailers and requests sent ahead without an end."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn narrows it
        super().connection_made(transport)
        self._beside = 0
        self._leaving: set[Callable[[], object]] = set()
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._too_slow.cancel()
        for leave in tuple(self._leaving):
            leave()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._beside += len(data)
        super().data_received(data)
        if self._beside > MAX_BESIDE and not self.transport.is_closing():
            self.send_400_response(f"More than {MAX_BESIDE} bytes beside the body of a request.")

    def on_message_begin(self) -> None:
        if len(self.pipeline) >= MAX_AHEAD:
            raise ValueError("too many requests ahead of their answers")  # the parser turns it into its own error: 400
        self._beside = 0
        self._too_slow.cancel()
        self._await_head()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._too_slow.cancel()
        super().on_headers_complete()
        self.scope[LEAVING] = self._leaving  # type: ignore[literal-required]  # the application runs later

    def on_body(self, body: bytes) -> None:
        self._beside -= 2 * len(body)  # its own bytes, and as many again
        if not isinstance(self.cycle.body, _Parts):
            self.cycle.body = _Parts()  # type: ignore[assignment]  # which behaves as it is used
        super().on_body(body)

    def _await_head(self) -> None:
        self._too_slow = self.loop.call_later(HEAD_SECONDS, self.transport.close)


class _Parts:
    """What has come of a body and was not fetched yet: joined once, where a bytearray copies as it grows, and again when it
    is fetched."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def __iadd__(self, part: bytes) -> _Parts:
        self._parts.append(part)
        self._size += len(part)
        return self

    def __len__(self) -> int:
        return self._size

    def __bytes__(self) -> bytes:
        return b"".join(self._parts)
