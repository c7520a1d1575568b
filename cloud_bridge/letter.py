"""A message with what MQTT 5 adds to it: topic, correlation, response topic, expiry; to and from a packet's properties.

user properties            the message's headers by the same names; `status` of an answer, `model-version` of a request
budget-ms                  (a user property too) the milliseconds that are left when the letter leaves
Message Expiry Interval    the same in seconds, rounded up: brokers drop what is past it
Content Type               once more, for tools that show it
"""

from __future__ import annotations

import math
import secrets
from typing import NamedTuple

import msgspec

from cloud_bridge.kernel import Kernel
from cloud_bridge.protocol.fields import About
from cloud_bridge.protocol.message import CONTENT_TYPE, HEADERS, Message, budget_header, remaining
from cloud_bridge.protocol.packets import Publication
from edge_runtime.errors import ProtocolError

STATUS = "status"
"""User property of an answer: what would be the HTTP status."""
MODEL_VERSION = "model-version"
"""User property of a request: the version of the model, when a certain one is asked for."""

_MAX_PROPERTIES = 64
_LONGEST = 999_999.0  # seconds


class Handed(NamedTuple):
    """A letter that has begun to leave."""

    connection: int
    number: int
    """How many letters had left, it among them."""
    before: Kernel | None
    """What TCP had sent there before."""


class Letter(msgspec.Struct, eq=False):
    """A message on its way out."""

    topic: str
    message: Message
    correlation: bytes | None = None
    reply_to: str | None = None
    deadline: float | None = None
    """Instant of time.monotonic(): past it the letter is not sent."""
    properties: dict[str, str] = {}
    retain: bool = False
    handed: Handed | None = None
    """How it began to leave; None while it waits."""

    @property
    def size(self) -> int:
        """Bytes of the body."""
        return self.message.size


class Received(msgspec.Struct, frozen=True):
    """A message that came in, with what MQTT tells about it."""

    message: Message
    correlation: bytes | None
    reply_to: str | None
    expiry: int | None
    """Whole seconds that its sender, and the brokers after it, left it to live."""
    properties: dict[str, str]


def read(incoming: Publication) -> Received:
    """What is in a message. ProtocolError when its properties are not ours to read."""
    about = incoming.about
    if len(about.user) > _MAX_PROPERTIES:
        raise ProtocolError(f"{len(about.user)} user properties; at most {_MAX_PROPERTIES} are accepted")
    told: dict[str, str] = {}
    for name, value in about.user:
        if told.setdefault(name.lower(), value) != value:
            raise ProtocolError(f"user property {name[:40]!r} is given twice, with different values")
    if about.content_type is not None:
        told.setdefault(CONTENT_TYPE, about.content_type)
    return Received(
        Message(incoming.payload, {name: told.pop(name) for name in HEADERS if name in told}),
        about.correlation,
        about.response_topic,
        about.expiry,
        told,
    )


def shorten(received: Received) -> Message:
    """The message with its budget as it is now, after the time that it has spent in brokers.

    The budget tells the milliseconds that were left when it was sent; the expiry, rounded up to seconds at first, is what
    the brokers have left of it, to within a second. What is certain to have gone is taken off. A request with an expiry
    and no budget gets that as its budget.
    """
    budget = remaining(received.message)
    if received.expiry is None:
        return received.message
    left = float(received.expiry) if budget is None else budget - max(0.0, math.ceil(budget) - received.expiry - 1.0)
    return Message(received.message.body, {**received.message.headers, **budget_header(left)})


def new_id() -> bytes:
    """Correlation data that nobody guesses."""
    return secrets.token_bytes(16)


def pack(letter: Letter, now: float) -> About:
    """What a letter's packet says beside topic and body, when it leaves at the instant `now` of time.monotonic()."""
    headers = {**letter.message.headers, **letter.properties}
    expiry: int | None = None
    if letter.deadline is not None:
        left = min(max(letter.deadline - now, 0.0), _LONGEST)
        expiry = math.ceil(left)
        if letter.reply_to is not None:
            headers.update(budget_header(left))
    return About(expiry, headers.get(CONTENT_TYPE), letter.reply_to, letter.correlation, tuple(headers.items()))


def overhead(letter: Letter) -> int:
    """Bytes of a packet beside the body, at most."""
    texts = [*letter.message.headers.items(), *letter.properties.items(), (CONTENT_TYPE, letter.reply_to or "")]
    return 128 + len(letter.topic) + len(letter.correlation or b"") + sum(len(a) + len(b) * 4 + 5 for a, b in texts)
