"""Where a fleet's messages are said: one table, and its topics below a root or below AWS's. Pure.

    {root}/things/{thing}/...    a device, and what is said to it
    {root}/groups/{group}/...    what is said to many
    {root}/controller/...        what gives the orders

With `aws`, jobs and shadows are those of AWS IoT Core, `$aws/things/{thing}/...`, in the same words.
An access list can pin `thing` to the user: a device writes what the table says is a device's, below its own name only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Literal, TypeAlias

import msgspec

from cloud_bridge.protocol.fleet.names import check
from cloud_bridge.protocol.topics import ROOT, SEGMENT, check_root
from edge_runtime.errors import InputError, ProtocolError

Expiry: TypeAlias = float | Literal["job", "call"] | None
"""After how many seconds a broker may drop a message: as long as the job lives, or as the caller waits; None: never."""

HOUR, DAY = 3600.0, 86_400.0

_AWS = "$aws"
_AWS_BRANCHES = ("things/{thing}/jobs/", "things/{thing}/shadow/")
_AWS_ROOT = 4
"""Segments of a root on AWS IoT Core: it takes 7 slashes, and the longest tail beside jobs and shadows has four."""


class Kind(msgspec.Struct, frozen=True):
    """One kind of message: where it is said, by whom, and how."""

    path: str
    """The topic below the root; what is in braces is a name."""
    sender: Literal["device", "controller"]
    qos: Literal[0, 1] = 1
    retain: bool = False
    expiry: Expiry = HOUR

    @property
    def names(self) -> tuple[str, ...]:
        """What has to be named: ("thing", "job")."""
        return _names(self.path)

    @property
    def on_aws(self) -> bool:
        """Whether AWS has a place of its own for it."""
        return self.path.startswith(_AWS_BRANCHES)


@cache
def _names(path: str) -> tuple[str, ...]:
    return tuple(part[1:-1] for part in path.split("/") if part.startswith("{"))


def _request(path: str) -> tuple[Kind, Kind, Kind]:
    """A device's request, and the two ways in which it is answered."""
    return Kind(path, "device"), Kind(f"{path}/accepted", "controller"), Kind(f"{path}/rejected", "controller")


STATUS = Kind("things/{thing}/status", "device", retain=True, expiry=None)
NOTIFY_NEXT = Kind("things/{thing}/jobs/notify-next", "controller", expiry="job")
START_NEXT, START_NEXT_ACCEPTED, START_NEXT_REJECTED = _request("things/{thing}/jobs/start-next")
JOB_GET, JOB_GET_ACCEPTED, JOB_GET_REJECTED = _request("things/{thing}/jobs/{job}/get")
JOB_UPDATE, JOB_UPDATE_ACCEPTED, JOB_UPDATE_REJECTED = _request("things/{thing}/jobs/{job}/update")
RESULT = Kind("things/{thing}/results/{job}", "device", expiry=DAY)
SHADOW_GET, SHADOW_GET_ACCEPTED, SHADOW_GET_REJECTED = _request("things/{thing}/shadow/name/{shadow}/get")
SHADOW_UPDATE, SHADOW_UPDATE_ACCEPTED, SHADOW_UPDATE_REJECTED = _request("things/{thing}/shadow/name/{shadow}/update")
SHADOW_DELTA = Kind("things/{thing}/shadow/name/{shadow}/update/delta", "controller")
RPC = Kind("things/{thing}/rpc/{method}", "controller", expiry="call")
RPC_ANSWER = Kind("things/{thing}/rpc-rsp", "device", expiry="call")
TELEMETRY = Kind("things/{thing}/tele/{name}", "device", qos=0, expiry=60.0)
GROUP_NOTIFY = Kind("groups/{group}/notify", "controller", expiry=60.0)
CONTROLLER_STATUS = Kind("controller/status", "controller", retain=True, expiry=None)

KINDS = (
    STATUS,
    NOTIFY_NEXT, START_NEXT, START_NEXT_ACCEPTED, START_NEXT_REJECTED,
    JOB_GET, JOB_GET_ACCEPTED, JOB_GET_REJECTED, JOB_UPDATE, JOB_UPDATE_ACCEPTED, JOB_UPDATE_REJECTED, RESULT,
    SHADOW_GET, SHADOW_GET_ACCEPTED, SHADOW_GET_REJECTED,
    SHADOW_UPDATE, SHADOW_UPDATE_ACCEPTED, SHADOW_UPDATE_REJECTED, SHADOW_DELTA,
    RPC, RPC_ANSWER, TELEMETRY, GROUP_NOTIFY, CONTROLLER_STATUS,
)  # fmt: skip


def _shape(parts: list[str]) -> tuple[int, str]:
    """What a topic is looked up by: its length, and what comes after the first name."""
    return len(parts), parts[2] if len(parts) > 2 else ""


_SHAPES: dict[tuple[int, str], list[tuple[Kind, list[str]]]] = defaultdict(list)
for _kind in KINDS:
    _SHAPES[_shape(_kind.path.split("/"))].append((_kind, _kind.path.split("/")))


class Tree(msgspec.Struct, frozen=True):
    """The topics below one root. Raises InputError for a root that no topic can start with."""

    root: str = ROOT
    aws: bool = False
    """Whether jobs and shadows are AWS IoT Core's."""

    def __post_init__(self) -> None:
        if check_root(self.root).count("/") >= _AWS_ROOT and self.aws:
            raise InputError(f"topic root {self.root!r}: AWS IoT Core takes at most {_AWS_ROOT} segments")

    def topic(self, kind: Kind, **names: str) -> str:
        """Where a message of this kind is said: `tree.topic(JOB_UPDATE, thing="press-17", job="j1")`. Raises InputError for
        a name that a topic cannot hold, or that is missing."""
        if names.keys() != set(kind.names):
            given = ", ".join(names) or "none"
            raise InputError(f"{kind.path} needs {', '.join(kind.names) or 'no names'}; given: {given}")
        return self._place(kind, {what: check(name, what) for what, name in names.items()})

    def filter(self, kind: Kind, *, share: str | None = None, **names: str) -> str:
        """By which it is heard: of every name that is not given, all. `share` names those who deal the messages out among
        themselves."""
        checked = {what: check(name, what) for what, name in names.items()}
        place = self._place(kind, dict.fromkeys(kind.names, "+") | checked)
        return place if share is None else f"$share/{check(share, 'share')}/{place}"

    def parse(self, topic: str) -> tuple[Kind, Mapping[str, str]]:
        """The kind of a message, and the names in its topic. Raises ProtocolError for a topic that is not ours."""
        prefix = _AWS if self.aws and topic.startswith(f"{_AWS}/") else self.root
        parts = topic.removeprefix(f"{prefix}/").split("/")
        if topic.startswith(f"{prefix}/"):
            for kind, wanted in _SHAPES.get(_shape(parts), ()):
                if self._prefix(kind) == prefix and (names := _match(parts, wanted)) is not None:
                    return kind, names
        raise ProtocolError(f"{topic[:300]!r} is no topic of a fleet below {self.root}")

    def heard_by(self, thing: str, groups: Iterable[str] = ()) -> tuple[str, ...]:
        """The filters by which a device hears all that is said to it; no message fits two of them."""
        heard = [_widened(self.filter(kind, thing=thing)) for kind in KINDS if _told(kind) and "thing" in kind.names]
        heard += [self.topic(GROUP_NOTIFY, group=group) for group in groups]
        return tuple(dict.fromkeys([*heard, self.topic(CONTROLLER_STATUS)]))

    def heard_from(self, share: str | None = None) -> tuple[str, ...]:
        """The filters by which controllers hear what all devices ask and tell. Those who `share` deal it out among
        themselves, but for what each has to hear: who is there, and the answers to its own questions."""
        return tuple(
            self.filter(kind, share=None if kind in (STATUS, RPC_ANSWER) else share)
            for kind in KINDS
            if kind.sender == "device"
        )

    def _prefix(self, kind: Kind) -> str:
        return _AWS if self.aws and kind.on_aws else self.root

    def _place(self, kind: Kind, names: Mapping[str, str]) -> str:
        return f"{self._prefix(kind)}/{kind.path.format(**names)}"


def _told(kind: Kind) -> bool:
    return kind.sender == "controller"


def _widened(place: str) -> str:
    """One filter for all answers to a request: brokers count them."""
    head, _, last = place.rpartition("/")
    return f"{head}/+" if last in ("accepted", "rejected", "delta") else place


def _match(parts: list[str], wanted: list[str]) -> dict[str, str] | None:
    """The names in a topic of this form; None for another's."""
    names: dict[str, str] = {}
    for part, pattern in zip(parts, wanted, strict=True):
        if pattern.startswith("{"):
            names[pattern[1:-1]] = part
        elif part != pattern:
            return None
    return names if all(map(SEGMENT.fullmatch, names.values())) else None
