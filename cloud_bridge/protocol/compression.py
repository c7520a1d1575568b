"""gzip, deflate and zstd, with a limit on what comes out."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable
from typing import Protocol

from cloud_bridge.protocol.message import CONTENT_ENCODING, Buffer, Limits, Message
from edge_runtime.errors import ProtocolError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    try:
        from backports import zstd
    except ModuleNotFoundError:  # a device needs none: it is in the extra `cloud`
        zstd = None  # type: ignore[assignment]

_LEVEL = 1  # tensors hardly shrink more at higher levels, and the time comes out of somebody's budget
_WINDOW_LOG = 23  # of zstd: what every decoder must take (RFC 9659); more is memory that a sender makes us hold


class _Expander(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: Buffer, max_length: int, /) -> bytes: ...


def _deflater(window: int) -> Callable[[Buffer], bytes]:
    def press(body: Buffer) -> bytes:
        stream = zlib.compressobj(_LEVEL, zlib.DEFLATED, window)
        return stream.compress(body) + stream.flush()

    return press


# zlib's wbits: a gzip wrapper, and what HTTP calls deflate, a zlib wrapper
_CODINGS: dict[str, tuple[Callable[[], _Expander], Callable[[Buffer], bytes]]] = {
    "gzip": (lambda: zlib.decompressobj(31), _deflater(31)),
    "deflate": (lambda: zlib.decompressobj(15), _deflater(15)),
}
_BROKEN: tuple[type[Exception], ...] = (zlib.error,)
if zstd is not None:
    _CODINGS["zstd"] = (
        lambda: zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _WINDOW_LOG}),
        lambda body: zstd.compress(body, _LEVEL),
    )
    _BROKEN += (zstd.ZstdError,)


def expand(message: Message, limits: Limits) -> Buffer:
    """The body as it was before its sender compressed it. Raises ProtocolError."""
    if len(message.body) > limits.body:
        raise ProtocolError(f"a body of {len(message.body)} bytes; at most {limits.body} are accepted")
    coding = message.headers.get(CONTENT_ENCODING, "identity").strip().lower()
    if coding in {"", "identity"}:
        return message.body
    if coding not in _CODINGS:
        spoken = ", ".join(_CODINGS)
        raise ProtocolError(f"{CONTENT_ENCODING}: {coding[:40]!r} is not understood; use {spoken}, or send it as it is")
    stream = _CODINGS[coding][0]()
    try:
        body = stream.decompress(message.body, limits.body + 1)
    except _BROKEN as error:
        raise ProtocolError(f"the body is not {coding}: {error}") from error
    if len(body) > limits.body:
        raise ProtocolError(f"the {coding} body expands past {limits.body} bytes")
    if not stream.eof or stream.unused_data:
        raise ProtocolError(f"the {coding} body is {'followed by other bytes' if stream.eof else 'cut short'}")
    return body


def compress(message: Message, accepted: str) -> Message:
    """The message compressed as `accepted` (an Accept-Encoding value) asks for; itself when that names nothing we know."""
    coding = choose(accepted)
    if coding is None:
        return message
    return Message(_CODINGS[coding][1](message.body), {**message.headers, CONTENT_ENCODING: coding})


def choose(accepted: str) -> str | None:
    """The first coding that an Accept-Encoding value allows and that is spoken here."""
    for item in accepted.lower().split(","):
        coding, _, weight = item.partition(";")
        refused = weight.replace(" ", "") in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
        if coding.strip() in _CODINGS and not refused:
            return coding.strip()
    return None
