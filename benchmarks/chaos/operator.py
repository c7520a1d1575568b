"""Who commands the fleet: signs orders, writes them to the registry, calls them off; and desires state, over the broker."""

from __future__ import annotations

import queue
import time
import uuid
from collections import deque
from pathlib import Path

import msgspec
from msgspec import UNSET

from benchmarks.chaos.plan import Desired, Ordered
from benchmarks.tiny import tiny_bundle
from cloud_bridge.artifacts.bundle import target_path
from cloud_bridge.artifacts.repository import Repository
from cloud_bridge.control.link import Event, Heard, Said, Up
from cloud_bridge.control.paho import PahoLink
from cloud_bridge.fleet.controller import order
from cloud_bridge.fleet.registry import Job, Registry
from cloud_bridge.protocol.fleet import shadow, topics
from cloud_bridge.protocol.fleet.commands import Activate, CollectLog, Command, Deploy, Document, Health, Rollback
from cloud_bridge.protocol.fleet.envelope import Envelope
from cloud_bridge.protocol.fleet.topics import Tree
from cloud_bridge.protocol.fleet.wire import decode, encode
from cloud_bridge.protocol.topics import Address
from cloud_bridge.signing import generate, read_private, sign
from edge_runtime.errors import ProtocolError

MODEL = "tiny"
TREE = Tree()
AGAIN = 3.0
"""Seconds without an answer after which a question is asked again."""

INSTANT = 1e-9
"""Seconds that no run takes: the budget of what is to be too slow."""


class Operator:
    """Has the keys, and the repository that bundles come from."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        generate(folder / "key")
        self._key = read_private(folder / "key")
        self.public = folder / "key.pub"
        self._repository = Repository(folder / "repository", folder / "tuf")
        self._repository.init(time.time())
        self.digests: dict[str, str] = {}
        """Of the versions that were published."""

    @property
    def site(self) -> Path:
        """What a static server gives out."""
        return self._folder / "repository"

    @property
    def root(self) -> Path:
        """What comes to a device with its software."""
        return self.site / "metadata" / "1.root.json"

    def publish(self, versions: dict[str, bool]) -> None:
        """Versions, and whether each is right."""
        for version, right in versions.items():
            bundle = tiny_bundle(self._folder / "bundles" / version, version=version, adds=1.0 if right else 2.0)
            self._repository.add(bundle.folder, time.time())
            self.digests[version] = bundle.digest
        self._repository.publish(time.time())

    def order(self, registry: Registry, what: Ordered) -> None:
        """Write a signed order to the registry."""
        now = time.time()
        document = Document(
            job_id=what.job, issued_at=now, expires_at=now + what.life, groups=what.groups,
            things=() if what.groups else what.things, command=self._command(what),
        )  # fmt: skip
        envelope = sign(document, self._key)
        payload = msgspec.json.decode(envelope, type=Envelope).payload
        order(registry, Job(what.job, payload, envelope, what.rollout, now, now + what.life))

    def _command(self, what: Ordered) -> Command:
        match what.kind:
            case "rollback":
                return Rollback(model=MODEL)
            case "collect":
                return CollectLog()
            case "activate" | "missing":
                return Activate(model=MODEL, version=what.version, soak=what.soak)
        health = Health(p99=INSTANT) if what.kind == "slow" else Health(p99=60.0)
        return Deploy(
            model=MODEL, version=what.version, digest=self.digests[what.version], health=health, soak=what.soak,
            target=target_path(MODEL, what.version),
        )  # fmt: skip


class _Wish(msgspec.Struct):
    """What is to be desired of one shadow, one change after another."""

    changes: deque[shadow.Section]
    token: str = ""
    until: float = 0.0
    """When it is asked again."""


class Desires:
    """Desires state as an operator has to over links that lose, double and reorder: it reads a shadow, changes the version
    that it has read, and reads again until what it wants is there."""

    def __init__(self, broker: str) -> None:
        filters = [
            TREE.filter(kind)
            for kind in (
                topics.SHADOW_GET_ACCEPTED, topics.SHADOW_GET_REJECTED, topics.SHADOW_UPDATE_ACCEPTED,
                topics.SHADOW_UPDATE_REJECTED,
            )
        ]  # fmt: skip
        self._link = PahoLink(Address.parse(broker), "operator", filters, session=0, window=1000, longest=1.0)
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._wishes: dict[tuple[str, str], _Wish] = {}
        self.wanted: dict[tuple[str, str], shadow.Section] = {}
        """By thing and shadow, all that was ever desired, merged."""
        self._link.open(lambda: None, self._events.put)

    @property
    def open(self) -> tuple[tuple[str, str], ...]:
        """Of whom something is to be desired yet."""
        return tuple(self._wishes)

    def desire(self, what: Desired) -> None:
        """From now on."""
        for thing in what.things:
            key = thing, what.shadow
            self.wanted[key] = shadow.merge(self.wanted.get(key, {}), what.change)
            self._wishes.setdefault(key, _Wish(deque())).changes.append(what.change)

    def step(self, now: float) -> None:
        """Hear what has come, and ask what is to be asked by now."""
        while not self._events.empty():
            event = self._events.get()
            if isinstance(event, Heard):
                self._link.ack(event)
                self._hear(event, now)
            elif isinstance(event, Up):
                for wish in self._wishes.values():
                    wish.until = 0.0
        for key, wish in self._wishes.items():
            if wish.until <= now:
                wish.token, wish.until = uuid.uuid4().hex, now + AGAIN
                self._say(topics.SHADOW_GET, key, shadow.Get(client_token=wish.token))

    def close(self) -> None:
        """Leave."""
        self._link.close()

    def _hear(self, message: Heard, now: float) -> None:
        kind, names = TREE.parse(message.topic)
        key = names["thing"], names["shadow"]
        wish = self._wishes.get(key)
        if wish is None or (told := _told(kind, message.payload)).client_token != wish.token:
            return
        if isinstance(told, shadow.Updated):
            self._is_so(key, wish)
        elif isinstance(told, shadow.Document):
            self._change(key, wish, told.state.desired, told.version, now)
        elif told.code == 404:
            self._change(key, wish, {}, 0, now)
        else:
            wish.until = 0.0

    def _change(self, key: tuple[str, str], wish: _Wish, desired: shadow.Section, version: int, now: float) -> None:
        after = shadow.merge(desired, wish.changes[0])
        if version and after == desired:
            self._is_so(key, wish)
            return
        wish.token, wish.until = uuid.uuid4().hex, now + AGAIN
        change = shadow.Change(desired=wish.changes[0], reported=UNSET)
        self._say(topics.SHADOW_UPDATE, key, shadow.Update(state=change, version=version, client_token=wish.token))

    def _is_so(self, key: tuple[str, str], wish: _Wish) -> None:
        wish.changes.popleft()
        wish.token, wish.until = "", 0.0
        if not wish.changes:
            del self._wishes[key]

    def _say(self, kind: topics.Kind, key: tuple[str, str], what: msgspec.Struct) -> None:
        topic = TREE.topic(kind, thing=key[0], shadow=key[1])
        self._link.say(Said(topic=topic, payload=encode(what), expiry=60.0))


def _told(kind: topics.Kind, data: bytes) -> shadow.Document | shadow.Updated | shadow.Rejected:
    match kind:
        case topics.SHADOW_GET_ACCEPTED:
            return decode(data, shadow.Document)
        case topics.SHADOW_UPDATE_ACCEPTED:
            return decode(data, shadow.Updated)
        case topics.SHADOW_GET_REJECTED | topics.SHADOW_UPDATE_REJECTED:
            return decode(data, shadow.Rejected)
    raise ProtocolError(f"{kind.path} was not asked for")
