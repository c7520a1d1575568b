"""The tree of errors <-> a status and {"error": "..."}: one table for every transport."""

from __future__ import annotations

import math
import re

import msgspec

from cloud_bridge.protocol.message import CONTENT_TYPE, JSON, RETRY_AFTER, Message, wait_header, waiting
from edge_runtime.errors import (
    CancelledError,
    EdgeError,
    InputError,
    LateError,
    NotInstalledError,
    ProtocolError,
    RefusedError,
    RemoteError,
)
from edge_runtime.reading import decoder

STATUS: tuple[tuple[type[EdgeError], int], ...] = (
    (InputError, 400),
    (ProtocolError, 400),
    (NotInstalledError, 404),
    (CancelledError, 499),
    (LateError, 504),
    (EdgeError, 500),
)
"""The first that matches gives the status. A RefusedError carries its own: 413 too large, 503 overloaded."""

_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,6})?")
_LONGEST = 2000  # characters of a message that are told, or repeated


class _Body(msgspec.Struct):
    error: str


def encode_error(error: EdgeError) -> tuple[int, Message]:
    """The status and the message that tell a client of this error."""
    headers = {CONTENT_TYPE: JSON}
    if isinstance(error, RefusedError):
        status = error.status
        if error.retry_after is not None:
            headers[RETRY_AFTER] = str(max(1, math.ceil(error.retry_after)))  # HTTP knows whole seconds only
            headers |= wait_header(error.retry_after)
    else:
        status = next(status for kind, status in STATUS if isinstance(error, kind))
    text = (str(error) or type(error).__name__)[:_LONGEST]  # it may repeat a name as long as the request
    return status, Message(msgspec.json.encode({"error": text.encode(errors="replace").decode()}), headers)


def decode_error(status: int, message: Message) -> RemoteError:
    """The error that an answer with this status means on the device: LateError for 504, else RefusedError."""
    text = reason(message)
    if status == 504:
        return LateError(f"the endpoint gave the call up: {text}")
    after, seconds = message.headers.get(RETRY_AFTER, ""), waiting(message)
    if seconds is None and _SECONDS.fullmatch(after):
        seconds = float(after)
    return RefusedError(f"the endpoint answered {status}: {text}", status=status, retry_after=seconds)


def reason(message: Message) -> str:
    """The words of an error's message."""
    body = bytes(message.body[: 4 * _LONGEST])
    try:
        text = decoder(_Body).decode(body).error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        text = body.decode(errors="replace").strip() or "no reason was given"
    return text[:_LONGEST]
