"""A device's two shadows: what is desired of it is fetched, taken as far as it can be, and reported. No I/O but the journal
and a look at the store; time is an argument.

    config    latency budgets and the routing policy: kept in the journal, handed to whoever applies them
    models    which version of each model answers: `wanted` says what is to be activated, `tried` what came of it

Whatever is said of a shadow leads to one thing: the whole of it is asked for, and what differs is reported. A report names
the version that it follows, so that one that comes once more, late, changes nothing back.
"""

from __future__ import annotations

import logging
import random
import secrets
import threading
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import UNSET

from cloud_bridge.agent.desired import Wishes, configured
from cloud_bridge.agent.journal import Journal
from cloud_bridge.agent.when import RETRY, Instant, Patience
from cloud_bridge.control.link import Said, said
from cloud_bridge.protocol.fleet import shadow, topics
from cloud_bridge.protocol.fleet.shadow import CONFIG, MODELS, Config, Models, Section
from cloud_bridge.protocol.fleet.topics import Kind, Tree
from cloud_bridge.protocol.fleet.wire import decode, encode
from edge_runtime.errors import InputError, ProtocolError
from edge_runtime.routing.policy import Policy

NEVER = float("inf")
CONFLICT = 1.0
"""Seconds until a shadow is asked for anew that somebody else has changed meanwhile."""
DESIRED = "shadow/config"
"""What the journal remembers: the config that is desired."""

_log = logging.getLogger(__name__)


class Mirror:
    """What is known of one shadow at the controller."""

    def __init__(self) -> None:
        self.version = 0
        self.desired: Section = {}
        self.reported: Section | None = None
        """None: not known."""
        self.ask = NEVER
        """When it is to be asked for."""
        self.asked = ""
        """The token of the last question, until it is answered."""
        self.told = NEVER
        """Until when a report waits for its answer; NEVER: none does."""
        self.token = ""
        self.sending: Section = {}
        self.ending: dict[str, str] = {}
        """The wishes that it takes out."""
        self.held: tuple[Config | Models | None, Section] = None, {}
        """What was looked at last, and how it is written."""

    def answered(self, token: str) -> bool:
        """Whether this answers the last question; once."""
        answers = self.asked != "" and token == self.asked
        self.asked = "" if answers else self.asked
        return answers


class Shadows:
    """Both of them. May be called from any thread."""

    def __init__(
        self, tree: Tree, thing: str, journal: Journal, active: Callable[[], Mapping[str, str]],
        apply: Callable[[Config], None], policy: Policy = Policy(), draw: Callable[[], float] = random.random,
    ) -> None:  # fmt: skip
        """`active` tells the active version of each model; `apply` is handed each new config, the kept one at once;
        `policy` rules where none is desired."""
        self._tree, self._thing, self._journal = tree, thing, journal
        self.active, self._apply, self._policy = active, apply, policy
        self._lock = threading.RLock()
        self._mirrors = {CONFIG: Mirror(), MODELS: Mirror()}
        self._wishes, self._patience = Wishes(journal), Patience(draw)
        self._changed = True
        self._desired: Section = msgspec.json.decode(journal.get(DESIRED, "{}"))
        self.config = Config(policy=policy)
        self._configure()

    def up(self, now: Instant) -> list[Said]:
        """The connection is there: what is desired by now?"""
        with self._lock:
            self._patience.answered()
            for mirror in self._mirrors.values():
                mirror.reported, mirror.told = None, NEVER
            return [said for name in self._mirrors for said in self._ask(name, now)]

    def again(self, now: Instant, delay: float) -> None:
        """Ask once more, so many seconds from now: what was said may be lost."""
        with self._lock:
            for mirror in self._mirrors.values():
                mirror.ask = min(mirror.ask, now.mono + delay)

    def heard(self, kind: Kind, name: str, data: bytes, now: Instant) -> list[Said]:
        """What a message about a shadow leads to. Raises ProtocolError."""
        with self._lock:
            mirror = self._mirrors.get(name)
            if mirror is None:
                raise ProtocolError(f"there is no shadow {name!r} here")
            if kind is not topics.SHADOW_DELTA:
                self._patience.answered()
            match kind:
                case topics.SHADOW_GET_ACCEPTED:
                    self._got(name, mirror, decode(data, shadow.Document))
                case topics.SHADOW_GET_REJECTED:
                    self._none(mirror, decode(data, shadow.Rejected))
                case topics.SHADOW_DELTA:
                    if decode(data, shadow.Delta).version > mirror.version:
                        return self._ask(name, now)
                case topics.SHADOW_UPDATE_ACCEPTED:
                    return self._updated(name, mirror, decode(data, shadow.Updated), now)
                case topics.SHADOW_UPDATE_REJECTED:
                    self._not_updated(mirror, decode(data, shadow.Rejected), now)
                case _:
                    raise ProtocolError(f"{kind.path} is nothing that a device is told")
            return self.due(now)

    def due(self, now: Instant) -> list[Said]:
        """What is to be said by now."""
        with self._lock:
            said: list[Said] = []
            for name, mirror in self._mirrors.items():
                if mirror.ask <= now.mono:
                    said += self._ask(name, now)
                if mirror.told <= now.mono:
                    mirror.told, self._changed = NEVER, True
            if self._changed:
                self._changed = False
                said += [each for name in self._mirrors for each in self._report(name, now)]
            return said

    def next(self, now: Instant) -> float:
        """When `due` has something to do, if nothing happens before."""
        with self._lock:
            return min(min(mirror.ask, mirror.told) for mirror in self._mirrors.values())

    def wanted(self) -> tuple[str, str] | None:
        """A model, and the version of it that is desired and was not tried yet."""
        with self._lock:
            return self._wishes.next(self.active())

    def tried(self, model: str, version: str, trouble: str = "") -> None:
        """A version that was wanted is active now, or is not, for this reason."""
        with self._lock:
            self._wishes.tried(model, version, trouble)
            self._changed = True

    def acted(self, model: str | None = None) -> None:
        """A job has changed something. Where it gave a model another version, that ends what was desired of it before, also
        by what this device knew before it started; whatever else is desired and is not so is tried again."""
        with self._lock:
            self._changed = True
            self._wishes.acted(model, self.active())

    def _configure(self) -> None:
        """Take what is desired of the config, and have it applied."""
        self.config = configured(self._desired, self._policy)
        self._apply(self.config)

    def _got(self, name: str, mirror: Mirror, told: shadow.Document) -> None:
        if told.version < mirror.version and (mirror.reported is not None or not mirror.answered(told.client_token)):
            return  # it was overtaken; the answer to the last question is not, where the controller has lost something
        mirror.version, mirror.desired, mirror.reported = told.version, told.state.desired, told.state.reported
        mirror.ask, self._changed = NEVER, True
        if name == CONFIG and mirror.desired != self._desired:
            self._desired = mirror.desired
            self._journal.set(DESIRED, msgspec.json.encode(self._desired).decode())
            self._configure()
        if name == MODELS:
            self._wishes.take(mirror.desired)

    def _none(self, mirror: Mirror, told: shadow.Rejected) -> None:
        if told.code == 404 and mirror.version and not mirror.answered(told.client_token):
            return  # it was overtaken
        if told.code == 404:
            mirror.version, mirror.desired, mirror.reported = 0, {}, {}
            mirror.ask, self._changed = NEVER, True
        else:
            _log.warning("the controller does not tell a shadow: %s", told.message)

    def _updated(self, name: str, mirror: Mirror, told: shadow.Updated, now: Instant) -> list[Said]:
        if told.client_token and told.client_token == mirror.token:
            mirror.version, mirror.token, mirror.told = max(mirror.version, told.version), "", NEVER
            if told.state.desired is not UNSET:
                self._wishes.over(mirror.ending)
                mirror.reported = None  # until all of it is known anew
                return self._ask(name, now)
            mirror.reported = shadow.merge(mirror.reported or {}, mirror.sending)
            self._changed = True
            return self.due(now)
        return self._ask(name, now) if told.version > mirror.version else []

    def _not_updated(self, mirror: Mirror, told: shadow.Rejected, now: Instant) -> None:
        if told.client_token and told.client_token == mirror.token:
            mirror.token, mirror.reported, mirror.told = "", None, NEVER
            mirror.ask = now.mono + (CONFLICT if told.code == 409 else RETRY)
            if told.code != 409:
                _log.warning("the controller does not take what is reported of a shadow: %s", told.message)

    def _ask(self, name: str, now: Instant) -> list[Said]:
        mirror = self._mirrors[name]
        mirror.ask, mirror.asked = self._patience.again(now), self._token()  # unless an answer comes before
        return [self._said(topics.SHADOW_GET, encode(shadow.Get(client_token=mirror.asked)), name)]

    def _report(self, name: str, now: Instant) -> list[Said]:
        """What differs from what the controller knows, if that is known, and nothing is under way."""
        mirror = self._mirrors[name]
        if mirror.reported is None or mirror.told != NEVER:
            return []
        if (held := self._held(name)) != mirror.held[0]:
            mirror.held = held, shadow.write(held)
        changed = shadow.change(mirror.reported, mirror.held[1])
        desired: Any = {"active": dict.fromkeys(ended)} if name == MODELS and (ended := self._wishes.ended) else UNSET
        if not changed and desired is UNSET:
            return []
        mirror.told, mirror.token, mirror.sending = self._patience.again(now), self._token(), changed
        mirror.ending = {} if desired is UNSET else dict(self._wishes.ended)
        update = shadow.Update(
            state=shadow.Change(desired=desired, reported=changed), version=mirror.version or None,
            client_token=mirror.token,
        )  # fmt: skip
        try:
            return [self._said(topics.SHADOW_UPDATE, encode(update), name)]
        except InputError as error:  # of what the controller says that this device has reported: far too much
            _log.warning("the shadow %s cannot be reported: %s", name, error)
            return []

    def _held(self, name: str) -> Config | Models:
        return self.config if name == CONFIG else self._wishes.held(self.active())

    def _token(self) -> str:
        return secrets.token_hex(8)

    def _said(self, kind: Kind, payload: bytes, name: str) -> Said:
        return said(self._tree, kind, payload, thing=self._thing, shadow=name)
