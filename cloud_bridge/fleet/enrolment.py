"""A fleet's certificates, in a folder: who has one, until when, and what a broker is told of it.

    DIR/fleet.json                   the broker: its names, its doors, the root of its topics
    DIR/authority/devices.key .pem   signs for devices
    DIR/authority/control.key .pem   signs for the broker, and for those who run the fleet
    DIR/authority/issued/NAME/       every certificate that counts;  revoked/NAME/ those that do not any more
    DIR/broker/                      what goes to the broker, all of it
    DIR/clients/NAME/                what goes to whom it is for, and is deleted here then

Two authorities, each with a door of its own at the broker: whoever steals the one for devices can make no controller.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import msgspec

from cloud_bridge.fleet.access import (
    STAFF,
    Access,
    Listeners,
    Role,
    access,
    mosquitto_conf,
    mosquitto_patterns,
    mosquitto_users,
)
from cloud_bridge.fleet.authority import SERVER, Authority, Pair, read
from cloud_bridge.protocol.fleet.names import check
from cloud_bridge.protocol.topics import ROOT, Address, check_root
from edge_runtime.errors import InputError
from edge_runtime.whole import create, write_whole

DAY = 86_400.0
SETTINGS = "fleet.json"
DOORS = ("devices", "control")
FILES = {"ca": "ca.pem", "cert": "cert.pem", "key": "key.pem"}
"""What a client is handed, by what a broker's URL calls it."""

LONGEST = 64
"""Characters of a name in a certificate, at most."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What all of a fleet have in common."""

    broker: tuple[str, ...]
    """The names and addresses by which it is reached, the one that clients use first."""
    root: str = ROOT
    listeners: Listeners = Listeners()


class Enrolled(msgspec.Struct, frozen=True):
    """A certificate, and whether it counts."""

    name: str
    role: str
    ends: float
    serial: str
    revoked: bool = False


class Enrolment:
    """A folder that was made by `init`. Every error is an InputError."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._authority = folder, folder / "authority"
        try:
            self.settings = msgspec.json.decode((folder / SETTINGS).read_bytes(), type=Settings)
        except OSError as error:
            raise InputError(
                f"{folder} holds no authority: cloud-bridge fleet enroll init {folder} --broker-name NAME"
            ) from error
        except msgspec.MsgspecError as error:
            raise InputError(f"{folder / SETTINGS} is damaged: {error}") from error

    @classmethod
    def init(cls, folder: Path, settings: Settings, life: float) -> Enrolment:
        """Make the authorities, and what the broker needs."""
        check_root(settings.root)
        for host in settings.broker:
            Address.parse(f"mqtts://[{host}]" if ":" in host else f"mqtts://{host}")
            if len(host) > LONGEST:
                raise InputError(f"{host[:80]!r} is too long: a certificate's name has at most {LONGEST} characters")
        with _told(folder):
            (folder / "authority").mkdir(mode=0o700, parents=True, exist_ok=True)
            for door in DOORS:
                pair = Authority.make(f"edge fleet {door}", time.time())
                _keep(folder / "authority" / f"{door}.key", pair.key or b"", 0o600)
                _keep(folder / "authority" / f"{door}.pem", pair.certificate, 0o644)
            _keep(folder / SETTINGS, msgspec.json.format(msgspec.json.encode(settings)) + b"\n", 0o644)
        made = cls(folder)
        with made._alone():
            made._issue(settings.broker[0], SERVER, life, None)
            made._tell_broker()
        return made

    def add(self, name: str, role: Role, life: float, request: bytes | None = None) -> Path:
        """Certify a new name: the folder that goes to its holder."""
        check(name, role)
        with self._alone():
            if self._held("issued", name):
                raise InputError(
                    f"{name} has a certificate already: `renew` gives it another one, and `revoke` ends what it has"
                )
            made = self._issue(name, role, life, request)
            if role != "device":
                self._tell_broker()
            return made

    def renew(self, name: str, life: float, request: bytes | None = None) -> Path:
        """Another certificate, and another key, for a name that has one. The old one counts until it ends."""
        with self._alone():
            if not (held := self._held("issued", name)):
                raise InputError(f"{name!r} has no certificate that counts: `add` gives it one")
            return self._issue(name, read(held[0].read_bytes()).role, life, request)

    def revoke(self, name: str) -> int:
        """No certificate of this name counts any more, once the broker has been told: how many did."""
        with self._alone():
            held = self._held("issued", name)
            if not held or name in self.settings.broker:
                raise InputError(f"{name!r} has no certificate that could be revoked: `list` shows those that can")
            gone = self._authority / "revoked" / name
            gone.mkdir(parents=True, exist_ok=True)
            for path in held:
                path.replace(gone / path.name)
            self._tell_broker()
            return len(held)

    def all(self) -> list[Enrolled]:
        """Every certificate, those first that end first."""
        with _told(self.folder):
            found = [
                Enrolled(said.name, said.role, said.ends, said.serial, state == "revoked")
                for state in ("issued", "revoked")
                for path in self._all(state)
                for said in [read(path.read_bytes())]
            ]
        return sorted(found, key=lambda each: (each.revoked, each.ends, each.name))

    def newest(self) -> list[Enrolled]:
        """Of each name that counts, the certificate that ends last; those first that end first."""
        last = {each.name: each for each in self.all() if not each.revoked}
        return sorted(last.values(), key=lambda each: (each.ends, each.name))

    def users(self) -> list[tuple[str, Role]]:
        """Those who run the fleet, by name."""
        return sorted((each.name, role) for each in self.newest() for role in STAFF if each.role == role)

    def access(self, role: Role) -> Access:
        """What a role may say and hear on this fleet's broker."""
        return access(role, self.settings.root)

    def url(self, role: str, at: str) -> str:
        """The broker's URL for somebody who has its folder `at` this place."""
        host, doors = self.settings.broker[0], self.settings.listeners
        port = doors.devices if role == "device" else doors.control
        where = (f"[{host}]" if ":" in host else host) + (f":{port}" if port != Listeners().devices else "")
        root = "" if self.settings.root == ROOT else f"/{self.settings.root}"
        files = "&".join(f"{what}={quote(at)}/{file}" for what, file in FILES.items())
        return f"mqtts://{where}{root}?{files}"

    def _issue(self, name: str, role: str, life: float, request: bytes | None) -> Path:
        """A certificate, on the disk among those that count before anybody has it."""
        hosts = self.settings.broker if role == SERVER else ()
        with _told(self.folder):
            pair = self._sign("devices" if role == "device" else "control").issue(
                name, role, time.time(), life, hosts=hosts, request=request
            )
            record = self._authority / "issued" / name / f"{read(pair.certificate).serial}.pem"
            record.parent.mkdir(parents=True, exist_ok=True)
            _keep(record, pair.certificate, 0o644)
            if role == SERVER:
                return self._hand_over(self.folder / "broker", "server.pem", "server.key", pair)
            made = self._hand_over(self.folder / "clients" / name, FILES["cert"], FILES["key"], pair)
            write_whole(made / FILES["ca"], self._certificate("control"), "the broker's authority")
            return made

    def _hand_over(self, folder: Path, certificate: str, key: str, pair: Pair) -> Path:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / key).unlink(missing_ok=True)
        if pair.key is not None:
            _keep(folder / key, pair.key, 0o600)
        write_whole(folder / certificate, pair.certificate, "a certificate")
        return folder

    def _tell_broker(self) -> None:
        """Write what the broker is told: how it listens, who may do what, and who does not count any more."""
        broker, now = self.folder / "broker", time.time()
        told = {
            "mosquitto.conf": mosquitto_conf(self.settings.listeners).encode(),
            "devices.acl": mosquitto_patterns(self.access("device")).encode(),
            "control.acl": mosquitto_users((name, self.access(role)) for name, role in self.users()).encode(),
        }
        with _told(self.folder):
            gone = [path.read_bytes() for path in self._all("revoked")]
            for door in DOORS:
                theirs = [each for each in gone if (read(each).role == "device") == (door == "devices")]
                told[f"{door}.pem"] = self._certificate(door)
                told[f"{door}.crl"] = self._sign(door).revocations(theirs, now)
        for name, data in told.items():
            write_whole(broker / name, data, "what the broker is told")

    def _held(self, state: str, name: str) -> Sequence[Path]:
        if name not in self.settings.broker:
            check(name, "name")
        return sorted((self._authority / state / name).glob("*.pem"))

    def _all(self, state: str) -> Sequence[Path]:
        return sorted((self._authority / state).glob("*/*.pem"))

    def _certificate(self, door: str) -> bytes:
        return (self._authority / f"{door}.pem").read_bytes()

    def _sign(self, door: str) -> Authority:
        key = self._authority / f"{door}.key"
        if not key.exists():
            raise InputError(f"{key} is not here: the authority's keys are needed for this, fetch them from where they lie")
        return Authority(self._certificate(door), key.read_bytes())

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """While nobody else changes this folder."""
        with _told(self.folder):
            handle = os.open(self._authority, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def _keep(path: Path, data: bytes, mode: int) -> None:
    """A new file; one that is there is not replaced."""
    try:
        create(path, data, mode)
    except FileExistsError:
        raise InputError(f"{path} is there already, and is not replaced: give another folder") from None


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"{error.filename or folder} cannot be used: {error.strerror}") from error
