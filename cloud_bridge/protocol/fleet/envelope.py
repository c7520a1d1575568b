"""A signed document, as it lies in a job: a DSSE envelope. Pure; signing.py makes them and looks at the signatures.

The signatures cover the payload's type and its very bytes: nothing is parsed before they were found to be right.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from cloud_bridge.protocol.fleet.wire import Message

PAYLOAD_TYPE = "application/vnd.edge-runtime.job+json"

LARGEST = 96 * 1024
"""Bytes of an envelope, at most: of the largest document, by as many keys as may sign one."""


class Signature(Message, frozen=True, kw_only=True):
    """Of one key."""

    keyid: Annotated[str, Meta(max_length=128)]
    sig: Annotated[bytes, Meta(max_length=64)]


class Envelope(Message, frozen=True, kw_only=True):
    """A payload and who has signed it."""

    payload: bytes
    payload_type: Annotated[str, Meta(max_length=256)]
    signatures: Annotated[tuple[Signature, ...], Meta(max_length=16)]
