"""A message of the Open Inference Protocol, whatever carries it: a body and its headers.

The headers are HTTP headers over HTTP and user properties over MQTT 5, by the same lower-case names; the body is byte for
byte the same on both.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeAlias

import msgspec

from edge_runtime.errors import ProtocolError
from edge_runtime.signature import MAX_ELEMENTS

Buffer: TypeAlias = bytes | bytearray | memoryview

CONTENT_TYPE = "content-type"
HEADER_LENGTH = "inference-header-content-length"
"""Bytes of JSON before the raw tensors; 0 when the body is nothing but one tensor; absent when it is all JSON."""
CONTENT_ENCODING = "content-encoding"
ACCEPT_ENCODING = "accept-encoding"
BUDGET = "budget-ms"
"""Milliseconds that were left to the call when the message was sent: a duration, so that no two clocks are compared."""
RETRY_AFTER = "retry-after"
UPLOAD = "upload-ms"
"""Of an answer over HTTP: milliseconds from when the request's first bytes came to when its last did."""

WAIT = "wait-ms"
"""Of an answer: milliseconds that a call of the same model, had it come as this answer left, would wait for its turn."""

TRACE = ("traceparent", "tracestate")
"""Which trace a request is part of (W3C Trace Context)."""

HEADERS = (CONTENT_TYPE, HEADER_LENGTH, CONTENT_ENCODING, ACCEPT_ENCODING, BUDGET, RETRY_AFTER, WAIT, *TRACE)
"""Every header that means something to the protocol."""

JSON = "application/json"
BINARY = "application/octet-stream"

QUICK = 64 << 10
"""Bytes of a message beside its raw tensors that are read at once, on the thread that brings them."""

_MILLISECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,6})?")


class Message(msgspec.Struct, frozen=True):
    """A request, a response or an error: its body, which may be in parts, and its headers."""

    content: Buffer | tuple[Buffer, ...]
    headers: Mapping[str, str] = {}

    @property
    def parts(self) -> tuple[Buffer, ...]:
        """The body as it lies in memory, for who can send it so: tensors are not copied for that."""
        return self.content if isinstance(self.content, tuple) else (self.content,)

    @property
    def body(self) -> Buffer:
        """The body in one part."""
        return b"".join(self.content) if isinstance(self.content, tuple) else self.content

    @property
    def size(self) -> int:
        """Bytes of the body."""
        return sum(map(len, self.parts))


class Limits(msgspec.Struct, frozen=True):
    """How much a message may hold before it is refused."""

    body: int = 64 << 20
    """Bytes of the body, before and after decompression."""
    json: int = 32 << 20
    """Bytes of its JSON."""
    tensors: int = 256
    """Tensors in one message."""
    elements: int = MAX_ELEMENTS
    """Elements in one tensor."""
    texts: int = 1 << 20
    """Elements in one tensor of BYTES: each becomes an object of its own."""
    rank: int = 8
    """Dimensions of one tensor."""


LIMITS = Limits()


def remaining(message: Message) -> float | None:
    """Seconds that the sender had left for the call when it sent this; None when it set no limit."""
    text = message.headers.get(BUDGET)
    if text is None:
        return None
    if not _MILLISECONDS.fullmatch(text):
        raise ProtocolError(f"{BUDGET}: {text[:40]!r} is no duration; write milliseconds, like 150 or 99.5")
    return float(text) / 1e3


def uploading(message: Message) -> float | None:
    """Seconds that the request took to come, where the answer tells it; None where it does not, or in another way."""
    return _told(message, UPLOAD)


def waiting(message: Message) -> float | None:
    """Seconds that the next call of the model is predicted to wait, where the answer tells it."""
    return _told(message, WAIT)


def upload_header(seconds: float) -> dict[str, str]:
    """The header that tells how long a request took to come."""
    return {UPLOAD: _milliseconds(seconds)}


def budget_header(seconds: float | None) -> dict[str, str]:
    """The header that tells how many seconds are left; empty without a limit."""
    return {} if seconds is None else {BUDGET: _milliseconds(seconds)}


def wait_header(seconds: float) -> dict[str, str]:
    """The header that tells how long the next call of the model is predicted to wait."""
    return {WAIT: _milliseconds(seconds)}


def _told(message: Message, name: str) -> float | None:
    text = message.headers.get(name, "")
    return float(text) / 1e3 if _MILLISECONDS.fullmatch(text) else None


def _milliseconds(seconds: float) -> str:
    return f"{min(max(seconds, 0.0) * 1e3, 999_999_999.0):.3f}"
