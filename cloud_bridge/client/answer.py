"""An HTTP/1.1 answer as it comes in, read by httptools (llhttp, Node's parser). No I/O.

It says where the next bytes are to be received: those of a body whose length was announced land where they stay.
"""

from __future__ import annotations

from collections.abc import Callable

import httptools
import numpy as np

from cloud_bridge.protocol.message import Buffer, Message
from edge_runtime.errors import ProtocolError

HEAD = 64 << 10
"""Bytes of an answer beside its body, at most; each byte of body allows one more."""


class Answer:
    """One answer; `scrap` is where bytes are received that do not stay, `limit` the most that its body may have now."""

    def __init__(self, scrap: memoryview, limit: Callable[[], int]) -> None:
        self.status = 0
        self.complete = False
        self.reusable = False
        """Whether its connection can carry another exchange, once it is complete."""
        self._scrap, self._limit = scrap, limit
        self._parser = httptools.HttpResponseParser(self)
        self._headers: dict[str, str] = {}
        self._beside = 0
        self._body = bytearray()
        self._whole: memoryview | None = None  # the body's place, when its length was announced
        self._filled = 0
        self._endless = False  # its body ends with the connection
        self._wrong = ""

    @property
    def message(self) -> Message:
        """Body and headers, when it is complete."""
        body: Buffer = self._body if self._whole is None else self._whole
        return Message(body, self._headers)

    def buffer(self) -> memoryview:
        """Where the next bytes are to be received."""
        return self._scrap if self._whole is None else self._whole[self._filled :]

    def received(self, count: int) -> None:
        """So many bytes have been put there; none at the end of the connection. Raises ProtocolError."""
        if not count:
            if not self._endless:
                raise ProtocolError("the server hung up in the middle of its answer")
            self.complete = True
        elif self._whole is not None:
            self._filled += count
            self._settle()
        else:
            self._feed(self._scrap[:count])

    def _feed(self, data: memoryview) -> None:
        self._beside += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            if not self.complete:  # else it is what nobody asked for
                self._wrong = self._wrong or f"this is no HTTP: {error or type(error).__name__}"
        except httptools.HttpParserUpgrade:
            self._wrong = "the server wants to speak something else than HTTP"
        if self._wrong:
            raise ProtocolError(self._wrong)
        if self._beside > HEAD:
            raise ProtocolError(f"the answer has over {HEAD} bytes beside its body")
        self._settle()

    def _settle(self) -> None:
        size = self._filled if self._whole is not None else len(self._body)
        limit = self._limit()
        if max(size, 0 if self._whole is None else len(self._whole)) > limit:
            raise ProtocolError(f"the answer is larger than {limit} bytes")
        if self._whole is not None and self._filled == len(self._whole):
            self.complete = True

    # What follows is called by the parser.

    def on_message_begin(self) -> None:
        if self.complete:
            self.reusable = False
            raise ProtocolError("the server answers what was not asked")  # the parser stops

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.status = int(self._parser.get_status_code())
        self.reusable = bool(self._parser.should_keep_alive())
        if self.status < 200 or self.status in {204, 304} or "transfer-encoding" in self._headers:
            return
        length = self._headers.get("content-length")
        if length is None:
            self._endless = True
        elif 0 < (size := int(length)) <= self._limit():
            self._whole = np.empty(size, np.uint8).data
        elif size:
            self._wrong = f"the answer is larger than {self._limit()} bytes"

    def on_body(self, body: bytes) -> None:
        self._beside -= 2 * len(body)  # its own bytes, and as many again
        if self._whole is None:
            self._body += body
        else:
            self._whole[self._filled : self._filled + len(body)] = body
            self._filled += len(body)

    def on_message_complete(self) -> None:
        if self.status >= 200:
            self.complete = True
        else:
            self._headers.clear()
