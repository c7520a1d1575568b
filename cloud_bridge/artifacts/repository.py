"""The operator's side: a folder for any static server, signed as The Update Framework has it. The adapter of tuf.api.

    REPOSITORY/metadata/N.root.json             which keys sign what; each is signed by the keys of the one before
    REPOSITORY/metadata/N.targets.json          every bundle: length, sha256, and name, version and manifest digest
    REPOSITORY/metadata/N.snapshot.json         which targets are current
    REPOSITORY/metadata/timestamp.json          which snapshot is; the one file that is ever replaced
    REPOSITORY/targets/NAME/SHA256.NAME-VERSION.bundle

Each file is written whole, and only after all that it leads to. So whoever is killed between any two of them leaves a
repository that devices accept: the old one or the new one. What it had signed and not yet published is published next.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias, TypeVar, cast

import msgspec

from cloud_bridge.artifacts.bundle import Described, describe, place, target_path
from cloud_bridge.artifacts.keys import Keys, Signer
from cloud_bridge.extra import required
from edge_runtime.errors import BundleError, InputError
from edge_runtime.whole import sync, write_whole

with required("a repository"):
    from tuf.api.exceptions import RepositoryError
    from tuf.api.metadata import Metadata, MetaFile, Root, Signed, Snapshot, TargetFile, Targets, Timestamp

ROLES = ("root", "targets", "snapshot", "timestamp")

DAYS = {"root": 365, "targets": 365, "snapshot": 30, "timestamp": 7}
"""After how many days what a role signed is not accepted any more. `publish` renews the last two: run it every day."""

Write: TypeAlias = Callable[[Path, bytes], None]
"""Replaces a file in one step that a kill or a power cut cannot halve."""

S = TypeVar("S", bound=Signed)


class Standing(msgspec.Struct, frozen=True):
    """How a role stands."""

    role: str
    version: int
    expires: str
    """ISO 8601, UTC."""
    keys: tuple[str, ...]
    """Ids of the keys that it may be signed with."""
    threshold: int
    """How many of them it takes."""


def write(path: Path, data: bytes) -> None:
    """Replace a file, on the disk with its name when this returns. Raises InputError."""
    write_whole(path, data, "the repository")
    sync(path.parent)


class Repository:
    """A repository in a folder, and the keys that are at hand. Every method takes the time in UNIX seconds as `now`.

    Raises InputError when a key that it takes is not at hand, or the folder holds no repository that can be read.
    """

    def __init__(self, folder: Path, keys: Path, *, write: Write = write) -> None:
        self.folder, self.keys = folder, Keys(keys)
        self._metadata, self._write = folder / "metadata", write

    def init(self, now: float, *, root_keys: int = 3, threshold: int = 2) -> None:
        """A new one without bundles, and keys for it. `threshold` of the root keys are needed to replace any key."""
        if not 1 <= threshold <= root_keys:
            raise InputError(f"{threshold} of {root_keys} root keys can never sign: take 1 to {root_keys}")
        _make(self._metadata)
        with self._locked():
            if self._version("root"):
                raise InputError(f"{self.folder} holds a repository already: add to it, or take another folder")
            root = Root(consistent_snapshot=True)
            for role in ROLES:
                for _ in range(root_keys if role == "root" else 1):
                    root.add_key(self.keys.make(role).public_key, role)
            root.roles["root"].threshold = threshold
            self._save(Targets(), root, now)
            self._publish(root, now)
            self._save(root, root, now)  # the last: from here on it is one

    def add(self, source: Path, now: float) -> Described:
        """Take in a bundle, from its folder or its one-file form. Devices see it once it is published.

        Raises BundleError when it is none, or differs from one of the same name and version that is there.
        """
        with self._locked():
            root, targets = self._current(Root), self._current(Targets)
            self._signers("targets", root)
            described = describe(source)
            path = target_path(described.name, described.version)
            if (known := targets.targets.get(path)) is None:
                placed = place(source, described, self.folder / "targets")
                custom = {"custom": msgspec.to_builtins(described)}
                targets.targets[path] = TargetFile(placed.size, {"sha256": placed.sha256}, path, custom)
                self._save(targets, root, now)
            elif known.custom["digest"] != described.digest:
                raise BundleError(
                    f"{described.name} {described.version} is in the repository already, and this one differs: give a "
                    "changed bundle a new version"
                )
            return described

    def publish(self, now: float) -> None:
        """Sign what is current anew: what was added is seen by devices from now on, and nothing expires for a while."""
        with self._locked():
            self._publish(self._current(Root), now)

    def rotate(self, role: str, now: float) -> tuple[Path, ...]:
        """Replace a role's keys by as many new ones; where the old ones lay, which nobody trusts any more. They need not be
        at hand, but for a threshold of root's."""
        if role not in ROLES:
            raise InputError(f"{role!r} has no keys; there are {', '.join(ROLES)}")
        with self._locked():
            old = self._current(Root)
            for needed in {"root"} if role == "root" else {"root", "snapshot", "timestamp"} - {role}:
                self._signers(needed, old)
            gone = tuple(self.keys.path(role, keyid) for keyid in old.roles[role].keyids)
            if role == "root":
                self._replace_root(old, now)
            else:
                self._replace(role, old, now)
            return gone

    def standing(self) -> tuple[Standing, ...]:
        """How each role stands, root first."""
        root = self._current(Root)
        found: list[Standing] = []
        for kind in (Root, Targets, Snapshot, Timestamp):
            signed, role = self._current(kind), root.roles[kind.type]
            expires = signed.expires.isoformat().replace("+00:00", "Z")
            found.append(Standing(kind.type, signed.version, expires, tuple(role.keyids), role.threshold))
        return tuple(found)

    def expiring(self, before: float) -> tuple[str, ...]:
        """The roles that publishing does not renew and that expire before this time."""
        expires = {kind.type: self._current(kind).expires.timestamp() for kind in (Root, Targets)}
        return tuple(role for role, when in expires.items() if when < before)

    def bundles(self) -> tuple[Described, ...]:
        """What was added, published or not."""
        targets = self._current(Targets).targets
        return tuple(msgspec.convert(targets[path].custom, Described) for path in sorted(targets))

    def published(self, now: float) -> tuple[Described, ...]:
        """What devices can fetch. Raises InputError where they would find that it has expired."""
        timestamp = self._current(Timestamp)
        snapshot = self._read(Snapshot, timestamp.snapshot_meta.version)
        targets = self._read(Targets, snapshot.meta["targets.json"].version)
        for signed in (self._current(Root), targets, snapshot, timestamp):
            if signed.expires.timestamp() <= now:
                raise InputError(
                    f"devices refuse what is in {self.folder}: what {signed.type} signed has expired; "
                    + ("publish it again" if signed.type in ("snapshot", "timestamp") else f"rotate {signed.type}")
                )
        return tuple(msgspec.convert(targets.targets[path].custom, Described) for path in sorted(targets.targets))

    def _replace(self, role: str, root: Root, now: float) -> None:
        """Through a root that trusts the old keys and the new one: so devices accept every state on the way, and the old
        key is needed for none of them."""
        gone = list(root.roles[role].keyids)
        root.add_key(self.keys.make(role).public_key, role)
        self._save(root, root, now)
        if role == "targets":
            self._save(self._current(Targets), root, now)
        self._publish(root, now)
        for keyid in gone:
            root.revoke_key(keyid, role)
        self._save(root, root, now)

    def _replace_root(self, old: Root, now: float) -> None:
        root = self._current(Root)
        gone = list(root.roles["root"].keyids)
        for _ in gone:
            root.add_key(self.keys.make("root").public_key, "root")
        for keyid in gone:
            root.revoke_key(keyid, "root")
        self._save(root, root, now, before=old)

    def _publish(self, root: Root, now: float) -> None:
        for role in ("snapshot", "timestamp"):
            self._signers(role, root)
        snapshot = self._latest(Snapshot) or Snapshot()
        snapshot.meta["targets.json"] = self._file("targets")
        self._save(snapshot, root, now)
        timestamp = self._latest(Timestamp) or Timestamp()
        timestamp.snapshot_meta = self._file("snapshot")
        self._save(timestamp, root, now)

    def _save(self, signed: S, root: Root, now: float, *, before: Root | None = None) -> None:
        """The next version of a role's metadata, signed by all of its keys at hand; that of root by those `before`, too."""
        role = signed.type
        signed.version = self._version(role) + 1
        signed.expires = datetime.fromtimestamp(now, UTC).replace(microsecond=0) + timedelta(days=DAYS[role])
        metadata: Metadata[Any] = Metadata(signed)
        for by in (root,) if before is None else (before, root):
            for signer in self._signers(role, by):
                metadata.sign(signer, append=True)
            by.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
        self._write(self._path(role, signed.version), metadata.to_bytes())

    def _signers(self, role: str, root: Root) -> Sequence[Signer]:
        keyids, threshold = root.roles[role].keyids, root.roles[role].threshold
        found = self.keys.at_hand(role, keyids)
        if len(found) < threshold:
            wanted = ", ".join(str(self.keys.path(role, keyid)) for keyid in keyids)
            raise InputError(f"{role} takes {threshold} of its keys, and {len(found)} are at hand: put back {wanted}")
        return found

    def _current(self, kind: type[S]) -> S:
        if (found := self._latest(kind)) is None:
            raise InputError(f"{self.folder} holds no repository: make one with cloud-bridge repository init")
        return found

    def _latest(self, kind: type[S]) -> S | None:
        return self._read(kind, version) if (version := self._version(kind.type)) else None

    def _version(self, role: str) -> int:
        """The newest that is there; 0 if none is."""
        if role == "timestamp":
            return self._read(Timestamp, 0).version if self._path(role, 0).exists() else 0
        names = (path.name.partition(".")[0] for path in self._metadata.glob(f"*.{role}.json"))
        return max((int(name) for name in names if name.isdecimal()), default=0)

    def _read(self, kind: type[S], version: int) -> S:
        path = self._path(kind.type, version)
        try:
            return cast("S", Metadata[Any].from_bytes(path.read_bytes()).signed)
        except (OSError, RepositoryError) as error:
            raise InputError(f"{path} cannot be read: {error}; bring it back from a copy of the repository") from error

    def _path(self, role: str, version: int) -> Path:
        return self._metadata / ("timestamp.json" if role == "timestamp" else f"{version}.{role}.json")

    def _file(self, role: str) -> MetaFile:
        version = self._version(role)
        return MetaFile.from_data(version, self._path(role, version).read_bytes(), ["sha256"])

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One at a time: two would take the same version."""
        try:
            handle = os.open(self._metadata, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise InputError(f"{self.folder} holds no repository: make one with cloud-bridge repository init") from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder} could not be made: {error.strerror}") from error
