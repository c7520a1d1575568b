"""Questions to a device that is online: asked on `rpc/{method}`, answered on `rpc-rsp`. Pure.

MQTT 5 pairs them: Correlation Data of the question comes back with the answer, and the user property `status` says how it
went, as HTTP would. The answer's topic is the device's own whatever the question says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, TypeAlias, TypeVar

import msgspec
from msgspec import Meta

from cloud_bridge.protocol.fleet.names import Count, Digest, JobId, Model, Seconds, Thing, Version
from cloud_bridge.protocol.fleet.wire import Message, decode
from edge_runtime.errors import ProtocolError, RefusedError

STATUS = "status"
"""The user property of an answer."""

OK, BAD, UNKNOWN, BROKEN, BUSY = 200, 400, 404, 500, 503


class Ping(Message, frozen=True, kw_only=True):
    """Is it there?"""


class Pong(Message, frozen=True, kw_only=True):
    """It is."""

    timestamp: Seconds
    """By the device's clock."""


class AskStatus(Message, frozen=True, kw_only=True):
    """How is it?"""


class Running(Message, frozen=True, kw_only=True):
    """The version of a model that answers."""

    version: Version
    digest: Digest
    """Of its manifest."""


class DeviceStatus(Message, frozen=True, kw_only=True):
    """How a device is."""

    thing: Thing
    session: str
    agent: str
    timestamp: Seconds
    uptime: Annotated[float, Meta(ge=0.0)]
    """Seconds that the agent has run."""
    models: dict[Model, Running] = {}
    job: JobId | None = None
    """The one that is carried out."""
    waiting: Count = 0
    """Messages that have not been accepted yet."""
    free: Count | None = None
    """Bytes on the store's disk."""
    problems: tuple[str, ...] = ()
    """What somebody should look after."""


class Failure(Message, frozen=True, kw_only=True):
    """Why there is no answer."""

    error: str


Question: TypeAlias = Ping | AskStatus
Answer: TypeAlias = Pong | DeviceStatus

QUESTIONS: Mapping[str, type[Question]] = {"ping": Ping, "status": AskStatus}
ANSWERS: Mapping[str, type[Answer]] = {"ping": Pong, "status": DeviceStatus}

_Answer = TypeVar("_Answer", bound=msgspec.Struct)


def decode_question(method: str, data: bytes) -> Question:
    """What is asked. Raises ProtocolError, for a method that there is not too."""
    kind = QUESTIONS.get(method)
    if kind is None:
        raise ProtocolError(f"there is no method {method[:80]!r}; there are {', '.join(QUESTIONS)}")
    return decode(data or b"{}", kind)


def decode_answer(status: str, data: bytes, kind: type[_Answer]) -> _Answer:
    """The answer, by its user property `status`. Raises RefusedError with the device's reason, or ProtocolError."""
    if not (status.isascii() and status.isdecimal() and len(status) == 3):
        raise ProtocolError(f"{status[:40]!r} is no status of an answer: a number of three digits is needed")
    if int(status) != OK:
        raise RefusedError(decode(data, Failure).error, status=int(status))
    return decode(data, kind)
