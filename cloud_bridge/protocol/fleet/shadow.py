"""A device's shadows, as AWS IoT words them: what is desired of it, what it reports, and how the two differ. Pure.

A shadow has one version, which rises with every change. Changes are merged as RFC 7396 has it: objects into objects, null
deletes, all else replaces. So one that comes twice changes nothing more.

    config    Config: latency budgets and routing
    models    Models: which versions are active
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from cloud_bridge.protocol.fleet.names import Count, Model, Seconds, Token, Version
from cloud_bridge.protocol.fleet.wire import Message, sorted_json
from edge_runtime.errors import ProtocolError
from edge_runtime.reading import convert
from edge_runtime.routing.policy import Policy

CONFIG, MODELS = "config", "models"

LIMIT = 8 * 1024
"""Bytes of a shadow's state, at most."""

DEPTH = 8
"""Objects and lists in each other, at most."""

Section: TypeAlias = dict[str, Any]
Code: TypeAlias = Literal[400, 404, 409, 413, 500]


class Change(Message, frozen=True, kw_only=True):
    """Of the state: what is left out stays, null deletes."""

    desired: Section | UnsetType | None = UNSET
    reported: Section | UnsetType | None = UNSET


class Update(Message, frozen=True, kw_only=True):
    """A shadow is to change; where a version is given, only if it is the one that holds."""

    state: Change
    version: Count | None = None
    client_token: Token = ""


class Get(Message, frozen=True, kw_only=True):
    """A shadow is asked for."""

    client_token: Token = ""


class Updated(Message, frozen=True, kw_only=True):
    """A change was accepted: what it was, and the version since."""

    state: Change
    version: Count
    timestamp: Seconds
    client_token: Token = ""


class State(Message, frozen=True, kw_only=True):
    """All of a shadow, and how what is desired differs from what is reported."""

    desired: Section = {}
    reported: Section = {}
    delta: Section = {}


class Document(Message, frozen=True, kw_only=True):
    """The answer to a Get."""

    state: State
    version: Count
    timestamp: Seconds
    client_token: Token = ""


class Delta(Message, frozen=True, kw_only=True):
    """To the device: what is desired, and not as it reports. An older version than one seen before tells nothing."""

    state: Section
    version: Count
    timestamp: Seconds


class Rejected(Message, frozen=True, kw_only=True):
    """A request about a shadow was rejected."""

    code: Code
    message: str
    timestamp: Seconds
    client_token: Token = ""


class Config(msgspec.Struct, frozen=True):
    """What the shadow `config` holds."""

    budgets: dict[Model, Annotated[float, Meta(gt=0.0, le=3600.0)]] = {}
    """Seconds that a call of a model may take where it names no budget."""
    policy: Policy = Policy()
    """What answers are worth, what they may cost, and how careful routing is; what is left out is as in Policy."""
    refused: dict[str, str] = {}
    """Reported only: what of the desired this device does not take, and why."""


class Models(msgspec.Struct, frozen=True):
    """What the shadow `models` holds."""

    active: dict[Model, Version] = {}
    """The version of each model that answers."""
    refused: dict[str, str] = {}
    """Reported only: what of the desired this device does not take, and why."""


_Holds = TypeVar("_Holds", Config, Models)


class Shadow(msgspec.Struct, frozen=True):
    """One of a device's shadows. Of version 0 there is none yet."""

    desired: Section = {}
    reported: Section = {}
    version: int = 0


def apply(shadow: Shadow, update: Update, now: float) -> Shadow | Rejected:
    """A shadow after an update. One that changes nothing leaves the version as it is."""
    if update.version not in (None, shadow.version):
        told = f"version conflict: {update.version} was expected, and {shadow.version} holds"
        return _no(409, told, update.client_token, now)
    asked = update.state
    if not (_fits(asked.desired, DEPTH) and _fits(asked.reported, DEPTH)):
        return _no(400, f"the state is nested more than {DEPTH} deep", update.client_token, now)
    desired, reported = _changed(shadow.desired, asked.desired), _changed(shadow.reported, asked.reported)
    try:
        size = len(sorted_json({"desired": desired, "reported": reported}))
    except (msgspec.MsgspecError, OverflowError, TypeError, ValueError) as error:
        return _no(400, f"the state cannot be written as JSON: {error}", update.client_token, now)
    if size > LIMIT:
        return _no(413, f"the state would have {size} bytes; at most {LIMIT} are kept", update.client_token, now)
    if shadow.version and _same([desired, reported], [shadow.desired, shadow.reported]):
        return shadow
    return Shadow(desired, reported, shadow.version + 1)


def confirm(shadow: Shadow, update: Update, now: float) -> Updated:
    """The answer to an update that was accepted."""
    return Updated(state=update.state, version=shadow.version, timestamp=now, client_token=update.client_token)


def describe(shadow: Shadow, request: Get, now: float) -> Document | Rejected:
    """The answer to a Get."""
    if not shadow.version:
        return _no(404, "there is no such shadow yet: report something, or desire something", request.client_token, now)
    state = State(desired=shadow.desired, reported=shadow.reported, delta=difference(shadow.desired, shadow.reported))
    return Document(state=state, version=shadow.version, timestamp=now, client_token=request.client_token)


def delta(shadow: Shadow, now: float) -> Delta | None:
    """What the device is to be told; None where it is as desired."""
    found = difference(shadow.desired, shadow.reported)
    return Delta(state=found, version=shadow.version, timestamp=now) if found else None


def read(section: Section, kind: type[_Holds]) -> _Holds:
    """What a shadow's section says, as Config or Models. Raises ProtocolError."""
    try:
        return convert(section, kind)
    except msgspec.ValidationError as error:
        raise ProtocolError(f"this is no state of the shadow {kind.__name__.lower()!r}: {str(error)[:300]}") from error


def write(holds: Config | Models) -> Section:
    """A Config or Models as a section, whole: what is as by default is said too, or it would never be as desired."""
    return merge({}, msgspec.to_builtins(holds))


def merge(base: Mapping[str, Any], changed: Mapping[str, Any]) -> Section:
    """An object with a change merged into it (RFC 7396); neither is touched."""
    merged = dict(base)
    for name, value in changed.items():
        if value is None:
            merged.pop(name, None)
        elif isinstance(value, Mapping):
            before = merged.get(name)
            merged[name] = merge(before if isinstance(before, Mapping) else {}, value)
        else:
            merged[name] = value
    return merged


def change(before: Mapping[str, Any], after: Mapping[str, Any]) -> Section:
    """What has to be merged into the one to get the other."""
    if sorted_json(before) == sorted_json(after):  # as it mostly is, and ten times faster than entry by entry
        return {}
    changed: Section = {name: None for name in before if name not in after}
    for name, value in after.items():
        known = before.get(name)
        if isinstance(value, Mapping) and isinstance(known, Mapping):
            if inner := change(known, value):
                changed[name] = inner
        elif name not in before or not _same(value, known):
            changed[name] = value
    return changed


def difference(desired: Mapping[str, Any], reported: Mapping[str, Any]) -> Section:
    """What of the desired is not so in the reported: of objects the part that differs, of all else the whole."""
    found: Section = {}
    for name, value in desired.items():
        known = reported.get(name)
        if isinstance(value, Mapping) and isinstance(known, Mapping):
            if inner := difference(value, known):
                found[name] = inner
        elif name not in reported or not _same(value, known):
            found[name] = value
    return found


def _changed(section: Section, asked: Section | UnsetType | None) -> Section:
    if asked is None:
        return {}
    return section if asked is UNSET else merge(section, asked)


def _same(one: Any, other: Any) -> bool:
    """Whether JSON holds them to be one value: 1 is 1.0, and true is not 1."""
    return sorted_json(_plain(one)) == sorted_json(_plain(other))


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    return float(value) if type(value) is int and abs(value) < 2**53 else value


def _fits(value: object, depth: int) -> bool:
    """Whether no more than so many objects and lists lie in each other."""
    if not isinstance(value, (Mapping, list)):
        return True
    inside = value.values() if isinstance(value, Mapping) else value
    return depth > 0 and all(_fits(each, depth - 1) for each in inside)


def _no(code: Code, message: str, token: str, now: float) -> Rejected:
    return Rejected(code=code, message=message, timestamp=now, client_token=token)
