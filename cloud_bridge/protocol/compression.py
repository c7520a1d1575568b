"""gzip and deflate, with a limit on what comes out."""

from __future__ import annotations

import zlib

from cloud_bridge.protocol.message import CONTENT_ENCODING, Buffer, Limits, Message
from edge_runtime.errors import ProtocolError

_WINDOW = {"gzip": 31, "deflate": 15}  # zlib's wbits: a gzip wrapper, and what HTTP calls deflate, a zlib wrapper
_LEVEL = 1  # tensors hardly shrink more at higher levels, and the time comes out of somebody's budget


def expand(message: Message, limits: Limits) -> Buffer:
    """The body as it was before its sender compressed it. Raises ProtocolError."""
    if len(message.body) > limits.body:
        raise ProtocolError(f"a body of {len(message.body)} bytes; at most {limits.body} are accepted")
    coding = message.headers.get(CONTENT_ENCODING, "identity").strip().lower()
    if coding in {"", "identity"}:
        return message.body
    if coding not in _WINDOW:
        raise ProtocolError(
            f"{CONTENT_ENCODING}: {coding[:40]!r} is not understood; use gzip or deflate, or send it as it is"
        )
    stream = zlib.decompressobj(_WINDOW[coding])
    try:
        body = stream.decompress(message.body, limits.body + 1)
    except zlib.error as error:
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
    stream = zlib.compressobj(_LEVEL, zlib.DEFLATED, _WINDOW[coding])
    body = stream.compress(message.body) + stream.flush()
    return Message(body, {**message.headers, CONTENT_ENCODING: coding})


def choose(accepted: str) -> str | None:
    """The first coding that an Accept-Encoding value allows and that is spoken here."""
    for item in accepted.lower().split(","):
        coding, _, weight = item.partition(";")
        refused = weight.replace(" ", "") in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
        if coding.strip() in _WINDOW and not refused:
            return coding.strip()
    return None
