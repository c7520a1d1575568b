"""The fleet's messages as JSON: values <-> bytes. Pure.

A message is read if it has all that is needed, in the right types and within its bounds; what else it says is passed over.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from edge_runtime.errors import InputError, ProtocolError
from edge_runtime.reading import decoder

LIMIT = 128 * 1024
"""Bytes of a message, at most: as many as AWS IoT Core carries."""

AROUND = 1024
"""Bytes of an MQTT packet beside its payload, at most."""

PACKET = LIMIT + AROUND
"""Bytes of a packet, at most."""

_TOLD = 300
"""Characters of a reason, at most: it may quote the message."""


class Message(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What all messages have in common: names as AWS writes them, and nothing said that goes without saying."""


_Read = TypeVar("_Read")


def encode(message: msgspec.Struct, limit: int = LIMIT) -> bytes:
    """A message's bytes. Raises InputError for one that nobody would read."""
    try:
        data = msgspec.json.encode(message)
        decode(data, type(message), limit)
    except (ProtocolError, msgspec.MsgspecError, OverflowError, TypeError, ValueError) as error:
        raise InputError(f"this cannot be sent: {error}") from error
    return data


def decode(data: bytes | memoryview, kind: type[_Read], limit: int = LIMIT) -> _Read:
    """The message in these bytes. Raises ProtocolError."""
    if len(data) > limit:
        raise ProtocolError(f"{len(data)} bytes are too many for {_named(kind)}: at most {limit} are read")
    try:
        return decoder(kind).decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ProtocolError(f"this is not {_named(kind)}: {str(error)[:_TOLD]}") from error
    except RecursionError as error:
        raise ProtocolError(f"this is not {_named(kind)}: it is nested too deeply") from error


def sorted_json(value: Any) -> bytes:
    """The one way to write a value: keys in their order, no spaces. Equal values give equal bytes."""
    return msgspec.json.encode(value, order="sorted")


def _named(kind: type[object]) -> str:
    """A message's name in a sentence."""
    name = kind.__name__.strip("_")
    return f"a{'n' * (name[0] in 'AEIOU')} {name}"
