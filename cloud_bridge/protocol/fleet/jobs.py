"""Jobs, as AWS IoT Jobs words them: an execution is one job on one device. Messages, and what may follow what. Pure.

    controller -> device   Next on notify-next: this one is next, or none is
    device -> controller   StartNext, Get or Update; each is answered by `accepted` or by Rejected

What comes of a request is decided in execution.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, TypeAlias, get_args

from msgspec import UNSET, Meta, Raw, UnsetType

from cloud_bridge.protocol.fleet.names import Count, JobId, Seconds, Thing, Token, whole
from cloud_bridge.protocol.fleet.wire import Message, decode

Terminal: TypeAlias = Literal["SUCCEEDED", "FAILED", "TIMED_OUT", "REJECTED", "REMOVED", "CANCELED"]
State: TypeAlias = Literal["QUEUED", "IN_PROGRESS", "SUCCEEDED", "FAILED", "TIMED_OUT", "REJECTED", "REMOVED", "CANCELED"]
Reported: TypeAlias = Literal["IN_PROGRESS", "SUCCEEDED", "FAILED", "REJECTED"]
"""What a device may set."""

TERMINAL: frozenset[State] = frozenset(get_args(Terminal))

BY_DEVICE: Mapping[State, frozenset[State]] = {
    "QUEUED": frozenset({"IN_PROGRESS", "SUCCEEDED", "FAILED", "REJECTED"}),
    "IN_PROGRESS": frozenset({"IN_PROGRESS", "SUCCEEDED", "FAILED", "REJECTED"}),
}
"""Where a device may move an execution; from a state that is missing, nowhere."""

BY_CONTROLLER: Mapping[State, frozenset[State]] = {
    "QUEUED": frozenset({"IN_PROGRESS", "TIMED_OUT", "REMOVED", "CANCELED"}),
    "IN_PROGRESS": frozenset({"TIMED_OUT", "REMOVED", "CANCELED"}),
}
"""Where a controller may."""

Code: TypeAlias = Literal[
    "InvalidTopic",
    "InvalidJson",
    "InvalidRequest",
    "InvalidStateTransition",
    "ResourceNotFound",
    "VersionMismatch",
    "InternalError",
    "RequestThrottled",
    "TerminalStateReached",
]
"""Why a request is rejected."""

FILE = "result"
"""The detail in which the last report of a job names the SHA-256 of the file that it has brought."""

MOST_DETAILS = 20
LONGEST_DETAIL = 1024
Details = Annotated[
    dict[
        Annotated[str, Meta(pattern=whole("[a-zA-Z0-9:_-]{1,128}"))],
        Annotated[str, Meta(min_length=1, max_length=LONGEST_DETAIL)],
    ],
    Meta(max_length=MOST_DETAILS, description="How it stands, in words."),
]
Number = Annotated[int, Meta(ge=1, le=2**53)]


class ExecutionState(Message, frozen=True, kw_only=True):
    """How an execution stands."""

    status: State
    version_number: Count
    status_details: Details = {}


class JobExecution(Message, frozen=True, kw_only=True):
    """One job on one device."""

    job_id: JobId
    status: State
    queued_at: Seconds
    last_updated_at: Seconds
    version_number: Count
    """Rises with every change."""
    execution_number: Count
    """Of those that this job ever had on this device."""
    thing_name: Thing | None = None
    """AWS leaves it to the topic."""
    started_at: Seconds | None = None
    status_details: Details = {}
    job_document: Raw | UnsetType = UNSET
    """A signed order: JSON, see signing.py. Left out where it is not wanted."""

    @property
    def state(self) -> ExecutionState:
        """How it stands."""
        return ExecutionState(status=self.status, version_number=self.version_number, status_details=self.status_details)


class Next(Message, frozen=True, kw_only=True):
    """Which execution is next, if one is: said when that changes, and as the answer to StartNext and Get."""

    timestamp: Seconds
    execution: JobExecution | None = None
    client_token: Token = ""


class StartNext(Message, frozen=True, kw_only=True):
    """A device asks for its next job, and begins with it."""

    status_details: Details = {}
    client_token: Token = ""


class Get(Message, frozen=True, kw_only=True):
    """A device asks how an execution stands."""

    execution_number: Number | None = None
    include_job_document: bool = True
    client_token: Token = ""


class Update(Message, frozen=True, kw_only=True):
    """A device tells how an execution goes."""

    status: Reported
    expected_version: Count | None = None
    """The version that it knows; if another one holds, the update is rejected."""
    execution_number: Number | None = None
    status_details: Details | None = None
    """In place of those that were; None: they stay."""
    include_job_execution_state: bool = False
    include_job_document: bool = False
    client_token: Token = ""


class Updated(Message, frozen=True, kw_only=True):
    """An update was accepted."""

    timestamp: Seconds
    execution_state: ExecutionState | None = None
    job_document: Raw | UnsetType = UNSET
    client_token: Token = ""


class Rejected(Message, frozen=True, kw_only=True):
    """A request about jobs was rejected."""

    code: Code
    message: str
    timestamp: Seconds
    execution_state: ExecutionState | None = None
    """How it does stand, where that is the reason."""
    client_token: Token = ""


class Hint(Message, frozen=True, kw_only=True):
    """To a group: there is something to ask for. A lost one costs nothing; what counts is what StartNext gets."""

    spread: Annotated[float, Meta(ge=0.0, le=30.0)] = 0.0
    """Each device waits for a random part of so many seconds, lest all ask at once."""


class _Told(Message, frozen=True, kw_only=True):
    timestamp: Seconds
    execution: dict[str, Raw] | None = None
    client_token: Token = ""


def decode_next(data: bytes) -> Next:
    """A Next. AWS says {} where no execution is next. Raises ProtocolError."""
    told = decode(data, _Told)
    if told.execution:
        return decode(data, Next)
    return Next(timestamp=told.timestamp, client_token=told.client_token)


def spread(devices: int) -> float:
    """The seconds over which so many devices answer a hint: a hundred in each, up to half a minute."""
    return min(devices / 100, 30.0)


def details(**words: str) -> dict[str, str]:
    """Words as `statusDetails` takes them: on one line, cut to length, the empty ones left out."""
    lines = {name: "".join(c if c.isprintable() else " " for c in text).strip() for name, text in words.items()}
    return {name: line[:LONGEST_DETAIL] for name, line in lines.items() if line}
