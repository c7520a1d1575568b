"""The things of a fleet: whether each is there, its groups, its shadows."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from cloud_bridge.extra import required
from cloud_bridge.fleet.registry.database import Database, chunks
from cloud_bridge.fleet.registry.tables import members, shadows, things
from cloud_bridge.protocol.fleet.names import check
from cloud_bridge.protocol.fleet.presence import Presence, Status
from cloud_bridge.protocol.fleet.shadow import Shadow
from edge_runtime.errors import InputError
from edge_runtime.reading import decoder

with required("a fleet's registry"):
    from sqlalchemy import Connection, bindparam, delete, select, update

_log = logging.getLogger(__name__)

Key: TypeAlias = tuple[str, str]
"""A thing, and the name of one of its shadows."""

EMPTY = msgspec.json.encode(Presence())


class Device(msgspec.Struct, frozen=True):
    """What is known of a thing."""

    thing: str
    presence: Presence
    seen: float
    """When it last said how it is, or 0.0: never."""
    groups: tuple[str, ...]
    """Those that it has named at its birth, and those that an operator put it in."""


class Devices:
    """In a database; for any number of threads and processes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, names: Iterable[str], groups: Iterable[str] = ()) -> None:
        """Things that are to be there, in these groups. Those that are there already stay, in these groups too. Raises
        InputError."""
        checked = sorted({check(name, "thing") for name in names})
        wanted = sorted({check(group, "group") for group in groups})
        with self._database.writing() as connection:
            self._ensure(connection, checked)
            self._join(connection, [(group, thing) for group in wanted for thing in checked])

    def remove(self, thing: str) -> bool:
        """Forget a thing and its shadows. Whether there was one. Its executions stay, for the record."""
        with self._database.writing() as connection:
            return connection.execute(delete(things).where(things.c.thing == thing)).rowcount == 1

    def leave(self, names: Iterable[str], groups: Iterable[str]) -> int:
        """Take things out of groups; how many memberships that ended. Who names one at his next birth is in it again."""
        wanted, ended = sorted(set(groups)), 0
        with self._database.writing() as connection:
            for some in chunks(sorted(set(names))):
                gone = delete(members).where(members.c.thing.in_(some), members.c.group.in_(wanted))
                ended += connection.execute(gone).rowcount
        return ended

    def heard(self, statuses: Sequence[tuple[str, Status]], now: float) -> None:
        """What things, or the broker for them, said of how they are; in whatever order, however often."""
        said: dict[str, list[Status]] = {}
        for thing, status in statuses:
            said.setdefault(check(thing, "thing"), []).append(status)
        with self._database.writing() as connection:
            self._ensure(connection, sorted(said))
            known = self._presences(connection, sorted(said))
            rows, pairs = [], []
            for thing in sorted(said):
                presence = known[thing]
                for status in said[thing]:
                    presence = presence.fold(status)
                rows.append({"who": thing, "told": msgspec.json.encode(presence), "now": presence.state})
                if presence.birth is not None and presence.birth != known[thing].birth:
                    pairs += [(group, thing) for group in presence.birth.groups]
            change = update(things).where(things.c.thing == bindparam("who"))
            connection.execute(change.values(presence=bindparam("told"), state=bindparam("now"), seen=now), rows)
            self._join(connection, pairs)

    def all(self, *, group: str | None = None, state: str | None = None) -> tuple[Device, ...]:
        """All, or those of a group, or those that are in a state, by name."""
        query = select(things.c.thing, things.c.presence, things.c.seen).order_by(things.c.thing)
        if group is not None:
            query = query.where(things.c.thing.in_(select(members.c.thing).where(members.c.group == group)))
        if state is not None:
            query = query.where(things.c.state == state)
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
            groups: dict[str, list[str]] = {}
            for name, thing in connection.execute(select(members.c.group, members.c.thing).order_by(members.c.group)):
                groups.setdefault(thing, []).append(name)
        return tuple(
            Device(row.thing, _presence(row.presence, row.thing), row.seen, tuple(groups.get(row.thing, ())))
            for row in rows
        )

    def members(self, group: str) -> tuple[str, ...]:
        """The things of a group, by name. Raises InputError for a group of none."""
        query = select(members.c.thing).where(members.c.group == group).order_by(members.c.thing)
        with self._database.reading() as connection:
            found = tuple(connection.execute(query).scalars())
        if not found:
            raise InputError(f"no thing is in group {group!r}: devices name their groups at birth, or are added to them")
        return found

    def shadow(self, thing: str, name: str) -> Shadow:
        """A thing's shadow; of version 0 where there is none."""
        return self.shadows([(thing, name)])[thing, name]

    def shadows(self, keys: Iterable[Key]) -> dict[Key, Shadow]:
        """By thing and name; of version 0 where there is none. Raises InputError for a damaged one."""
        found = dict.fromkeys(keys, Shadow())
        for some in chunks(sorted({thing for thing, _ in found})):
            with self._database.reading() as connection:
                for row in connection.execute(select(shadows).where(shadows.c.thing.in_(some))):
                    if (row.thing, row.name) in found:
                        found[row.thing, row.name] = _shadow(row)
        return found

    def put(self, thing: str, name: str, shadow: Shadow) -> bool:
        """Replace the shadow of the version before this one's. False where another version holds by now: somebody was
        faster, so read it again. A thing that nobody knew is known from now on."""
        return self.put_all({(thing, name): (shadow.version - 1, shadow)})

    def put_all(self, changes: Mapping[Key, tuple[int, Shadow]]) -> bool:
        """Replace shadows of these versions, all of them or none. False where somebody was faster with one."""
        rows = [
            {
                "who": check(thing, "thing"), "what": check(name, "shadow"), "was": was, "version": shadow.version,
                "document": msgspec.json.encode((shadow.desired, shadow.reported)),
            }
            for (thing, name), (was, shadow) in sorted(changes.items(), key=lambda change: change[0])
        ]  # fmt: skip
        try:
            with self._database.writing() as connection:
                self._insert(connection, [row for row in rows if not row["was"]])
                self._replace(connection, [row for row in rows if row["was"]])
        except _OvertakenError:
            return False
        return True

    def _insert(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        if not rows:
            return
        self._ensure(connection, sorted({row["who"] for row in rows}))
        fresh = [
            {"thing": row["who"], "name": row["what"], "document": row["document"], "version": row["version"]}
            for row in rows
        ]
        done = connection.execute(self._database.insert(shadows).on_conflict_do_nothing(), fresh)
        if done.rowcount != len(rows):
            raise _OvertakenError

    def _replace(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        of = shadows.c.thing == bindparam("who"), shadows.c.name == bindparam("what"), shadows.c.version == bindparam("was")
        change = update(shadows).where(*of).values(document=bindparam("document"), version=bindparam("version"))
        if rows and connection.execute(change, rows).rowcount != len(rows):
            raise _OvertakenError

    def _ensure(self, connection: Connection, names: Sequence[str]) -> None:
        rows = [{"thing": name, "presence": EMPTY, "state": "unknown", "seen": 0.0} for name in names]
        if rows:
            connection.execute(self._database.insert(things).on_conflict_do_nothing(), rows)

    def _join(self, connection: Connection, pairs: Sequence[tuple[str, str]]) -> None:
        if pairs:
            rows = [{"group": group, "thing": thing} for group, thing in pairs]
            connection.execute(self._database.insert(members).on_conflict_do_nothing(), rows)

    def _presences(self, connection: Connection, names: Sequence[str]) -> Mapping[str, Presence]:
        """Held until the transaction ends, in one order for all, so that no two wait for each other."""
        found: dict[str, Presence] = {}
        for some in chunks(names):
            query = select(things.c.thing, things.c.presence).where(things.c.thing.in_(some)).order_by(things.c.thing)
            for thing, presence in connection.execute(query.with_for_update()):
                try:
                    found[thing] = _presence(presence, thing)
                except InputError as error:
                    _log.error("%s; what it says now takes its place", error)
                    found[thing] = Presence()
        return found


class _OvertakenError(Exception):
    """Somebody else has changed a shadow meanwhile."""


def _shadow(row: Any) -> Shadow:
    try:
        desired, reported = msgspec.json.decode(row.document)
        return Shadow(desired, reported, row.version)
    except (msgspec.MsgspecError, UnicodeDecodeError, TypeError, ValueError) as error:
        raise InputError(f"the registry's shadow {row.name} of {row.thing} is damaged: {error}; delete it") from error


def _presence(data: bytes, thing: str) -> Presence:
    try:
        return decoder(Presence).decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InputError(f"the registry's entry of {thing} is damaged: {error}; remove the thing") from error
