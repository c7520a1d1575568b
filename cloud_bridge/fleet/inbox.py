"""What things say, from topics and bytes to what is answered. Whatever is no message of a fleet is answered if it can be,
noted, and does nothing else.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

import msgspec

from cloud_bridge.control.link import Heard, Said, said
from cloud_bridge.fleet import orders
from cloud_bridge.fleet.registry import Registry
from cloud_bridge.protocol.fleet import jobs, shadow, topics
from cloud_bridge.protocol.fleet.presence import Status
from cloud_bridge.protocol.fleet.shadow import Shadow
from cloud_bridge.protocol.fleet.topics import Kind, Tree
from cloud_bridge.protocol.fleet.wire import LIMIT, decode, encode
from edge_runtime.errors import InputError, ProtocolError, UnreachableError

TRIES = 20
"""Times that a shadow is changed anew since others change it at the same moment."""

Asked: TypeAlias = tuple[str, str, shadow.Update | shadow.Get]
"""A thing, the name of its shadow, and what is asked of that."""

_log = logging.getLogger(__name__)


class _Handled(NamedTuple):
    """A kind of request, and how it is answered."""

    reads: type[msgspec.Struct]
    accepted: Kind
    rejected: Kind


_JOBS: Mapping[Kind, _Handled] = {
    topics.START_NEXT: _Handled(jobs.StartNext, topics.START_NEXT_ACCEPTED, topics.START_NEXT_REJECTED),
    topics.JOB_GET: _Handled(jobs.Get, topics.JOB_GET_ACCEPTED, topics.JOB_GET_REJECTED),
    topics.JOB_UPDATE: _Handled(jobs.Update, topics.JOB_UPDATE_ACCEPTED, topics.JOB_UPDATE_REJECTED),
}
_SHADOWS: Mapping[Kind, _Handled] = {
    topics.SHADOW_GET: _Handled(shadow.Get, topics.SHADOW_GET_ACCEPTED, topics.SHADOW_GET_REJECTED),
    topics.SHADOW_UPDATE: _Handled(shadow.Update, topics.SHADOW_UPDATE_ACCEPTED, topics.SHADOW_UPDATE_REJECTED),
}
_HANDLED = {**_JOBS, **_SHADOWS}


def receive(registry: Registry, tree: Tree, messages: Sequence[Heard], now: float) -> Sequence[Said]:
    """Take in messages, in any number, and give the answers to them. Raises as the registry does: nothing is lost if the
    same messages are given again."""
    answers: list[Said] = []
    statuses: list[tuple[str, Status]] = []
    asked: list[tuple[orders.Request, Kind, Mapping[str, str]]] = []
    shadows: list[Asked] = []
    for message in messages:
        try:
            kind, names = tree.parse(message.topic)
        except ProtocolError as error:
            _log.warning("%s", error)
            continue
        try:
            if kind is topics.STATUS:
                statuses.append((names["thing"], decode(message.payload, Status)))
            elif kind is topics.RESULT:
                _keep(registry, names["job"], names["thing"], message.payload, now)
            elif kind in _JOBS:
                asks = decode(message.payload or b"{}", _JOBS[kind].reads)
                asked.append((orders.Request(names["thing"], names.get("job", ""), asks), kind, names))  # type: ignore[arg-type]
            elif kind in _SHADOWS:
                asks = decode(message.payload or b"{}", _SHADOWS[kind].reads)
                shadows.append((names["thing"], names["shadow"], asks))  # type: ignore[arg-type]
        except ProtocolError as error:
            _log.warning("%s: %s", message.topic, error)
            answers += _refusal(tree, kind, names, str(error), now)
        except InputError as error:  # damage to one entry is no reason to answer nobody
            _log.error("%s: %s", message.topic, error)
            answers += _refusal(tree, kind, names, "the registry's entry is damaged", now, code=500)
    if statuses:
        registry.devices.heard(statuses, now)
    answers += _change_each(registry, tree, shadows, now)
    places = {id(request): (kind, names) for request, kind, names in asked}
    for request, answer in orders.answer(registry, [request for request, _, _ in asked], now):
        kind, names = places[id(request)]
        answers.append(_said(tree, kind, names, answer, good=not isinstance(answer, jobs.Rejected)))
    return answers


def _change(registry: Registry, tree: Tree, asked: Sequence[Asked], now: float) -> Sequence[Said]:
    """Ask for shadows, or change them, be it things that ask or operators, in their order and in one transaction: the
    answers, and after a change how what is desired now differs from what is reported."""
    for _ in range(TRIES):
        before = registry.devices.shadows((thing, name) for thing, name, _ in asked)
        known = dict(before)
        said: list[Said] = []
        for thing, name, asks in asked:
            known[thing, name], answers = _changed(tree, thing, name, known[thing, name], asks, now)
            said += answers
        changes = {key: (was.version, known[key]) for key, was in before.items() if known[key] is not was}
        if not changes or registry.devices.put_all(changes):
            return said
    raise UnreachableError("shadows are changed by others without end: try again")


def _changed(
    tree: Tree, thing: str, name: str, before: Shadow, asks: shadow.Update | shadow.Get, now: float
) -> tuple[Shadow, Sequence[Said]]:
    """A shadow after a request, and what is said to it."""
    names = {"thing": thing, "shadow": name}
    if isinstance(asks, shadow.Get):
        told = shadow.describe(before, asks, now)
        return before, [_said(tree, topics.SHADOW_GET, names, told, good=not isinstance(told, shadow.Rejected))]
    after = shadow.apply(before, asks, now)
    if isinstance(after, shadow.Rejected):
        return before, [_said(tree, topics.SHADOW_UPDATE, names, after, good=False)]
    answers = [_said(tree, topics.SHADOW_UPDATE, names, shadow.confirm(after, asks, now), good=True)]
    delta = shadow.delta(after, now)
    if delta is not None and after is not before:
        answers.append(said(tree, topics.SHADOW_DELTA, encode(delta), **names))
    return after, answers


def _change_each(registry: Registry, tree: Tree, asked: Sequence[Asked], now: float) -> Sequence[Said]:
    """All together, or, where an entry is damaged, each by itself: that is no reason to answer nobody."""
    try:
        return _change(registry, tree, asked, now) if asked else ()
    except InputError:
        answers: list[Said] = []
        for thing, name, asks in asked:
            try:
                answers += _change(registry, tree, [(thing, name, asks)], now)
            except InputError as error:
                _log.error("shadow %s of %s: %s", name, thing, error)
                kind = topics.SHADOW_GET if isinstance(asks, shadow.Get) else topics.SHADOW_UPDATE
                why = "the registry's entry is damaged"
                answers += _refusal(tree, kind, {"thing": thing, "shadow": name}, why, now, code=500)
        return answers


def _keep(registry: Registry, job: str, thing: str, body: bytes, now: float) -> None:
    if len(body) > LIMIT:
        raise ProtocolError(f"a result of {len(body)} bytes: {LIMIT} at most are kept")
    if not registry.jobs.keep(job, thing, body, now):
        _log.warning("%s brings a result of job %s, which it does not carry out; it is passed over", thing, job)


def _said(tree: Tree, kind: Kind, names: Mapping[str, str], answer: msgspec.Struct, *, good: bool) -> Said:
    way = _HANDLED[kind]
    to = way.accepted if good else way.rejected
    return said(tree, to, encode(answer), **names)


def _refusal(
    tree: Tree, kind: Kind, names: Mapping[str, str], why: str, now: float, code: shadow.Code = 400
) -> Sequence[Said]:
    if kind in _JOBS:
        told: msgspec.Struct = jobs.Rejected(code="InvalidJson", message=why, timestamp=now)
    elif kind in _SHADOWS:
        told = shadow.Rejected(code=code, message=why, timestamp=now)
    else:
        return ()
    return [_said(tree, kind, names, told, good=False)]
