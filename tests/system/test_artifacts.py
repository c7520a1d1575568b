"""Bundles from an operator to a device's disk: a repository on a real HTTP server, attacks on it, links that are cut."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
import ssl
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trustme
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloud_bridge.agent.source import source
from cloud_bridge.artifacts.bundle import target_path
from cloud_bridge.artifacts.download import Terms, Watch, download, read
from cloud_bridge.artifacts.repository import ROLES, Repository, write
from cloud_bridge.artifacts.trusted import Trusted
from edge_runtime.bundles.store import Store, read_bundle
from edge_runtime.errors import (
    BundleError,
    CancelledError,
    DiskFullError,
    EdgeError,
    InputError,
    LateError,
    NotInstalledError,
    ProtocolError,
    RefusedError,
    UnreachableError,
    UntrustedError,
)
from tests.bundles import write_bundle
from tests.system.artifact_parts import Server, serving

TERMS = Terms(quiet=5.0, patience=5.0, spare=0)
ONCE = Terms(quiet=5.0, patience=0.0, spare=0)
DAY = 86400.0


@pytest.fixture
def made(tmp_path: Path) -> Repository:
    """A repository with one bundle that is published."""
    repository = Repository(tmp_path / "repository", tmp_path / "keys")
    now = time.time()
    repository.init(now)
    repository.add(write_bundle(tmp_path / "one", "1.0"), now)
    repository.publish(now)
    return repository


@pytest.fixture
def server(made: Repository) -> Iterator[Server]:
    """What serves it."""
    with serving(made.folder) as server:
        yield server


@pytest.fixture
def device(tmp_path: Path, made: Repository, server: Server) -> Trusted:
    """A device that came with the first root, and has seen nothing since."""
    return Trusted(tmp_path / "device", (made.folder / "metadata" / "1.root.json").read_bytes(), server.url, terms=ONCE)


def again(device: Trusted) -> Trusted:
    """The same device after a restart."""
    return Trusted(device.folder, device.root, device.url, terms=ONCE)


def refused(device: Trusted) -> str:
    """The trouble for which a refresh fails."""
    with pytest.raises(UntrustedError) as caught:
        device.refresh()
    return caught.value.trouble


def publish(made: Repository, tmp_path: Path, version: str) -> None:
    """Another version."""
    made.add(write_bundle(tmp_path / f"bundle-{version}", version), time.time())
    made.publish(time.time())


def newest(made: Repository, role: str) -> Path:
    """A role's current file."""
    found = (made.folder / "metadata").glob(f"*.{role}.json")
    return max(found, key=lambda path: int(path.name.partition(".")[0]))


def forged(made: Repository, role: str, keys: Repository, change: Callable[[Any], None]) -> bytes:
    """A role's current metadata as who has only these keys would make it."""
    from tuf.api.metadata import Metadata

    path = made.folder / "metadata" / "timestamp.json" if role == "timestamp" else newest(made, role)
    metadata = Metadata[Any].from_bytes(path.read_bytes())
    change(metadata.signed)
    metadata.signatures.clear()
    for file in keys.keys.folder.rglob(f"{role}-*.pem"):
        for standing in keys.standing():
            for signer in keys.keys.at_hand(role, [key for key in standing.keys if key.startswith(file.stem[-16:])]):
                metadata.sign(signer, append=True)
    return metadata.to_bytes()


def test_a_bundle_arrives_and_is_what_was_added(device: Trusted, tmp_path: Path) -> None:
    """Found by name and version, and installed with the manifest digest that was signed."""
    target = device.find("double", "1.0")
    assert target.bundle is not None
    store = Store(tmp_path / "store", create=True)
    assert store.install(device.download(target)).digest == target.bundle.digest
    assert device.find_path("double/double-1.0.bundle") == target
    with pytest.raises(NotInstalledError, match=r"double-2\.0\.bundle: has it been added and published"):
        device.find("double", "2.0")


def test_what_was_fetched_is_not_fetched_again(device: Trusted, server: Server) -> None:
    """Unless its bytes are not right any more."""
    target = device.find("double", "1.0")
    file = device.download(target)
    assert device.download(target) == file
    assert server.targets() == [0]
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    assert hashlib.sha256(device.download(target).read_bytes()).hexdigest() == target.sha256
    assert server.targets() == [0, 0]


def test_one_download_at_most_lies_on_the_disk(device: Trusted, made: Repository, tmp_path: Path) -> None:
    """The next one drops it."""
    first = device.download(device.find("double", "1.0"))
    publish(made, tmp_path, "1.1")
    device.refresh()
    second = device.download(device.find("double", "1.1"))
    assert second.exists()
    assert not first.exists()


def test_what_is_added_is_seen_when_it_is_published(device: Trusted, made: Repository, tmp_path: Path) -> None:
    """And not before."""
    made.add(write_bundle(tmp_path / "two", "2.0"), time.time())
    with pytest.raises(NotInstalledError):
        device.find("double", "2.0")
    assert [bundle.version for bundle in made.published(time.time())] == ["1.0"]
    made.publish(time.time())
    device.refresh()
    assert device.find("double", "2.0").path == "double/double-2.0.bundle"
    assert made.published(time.time()) == made.bundles()


@pytest.mark.parametrize(("days", "role", "remedy"), [(8, "timestamp", "publish it again"), (366, "root", "rotate root")])
def test_an_operator_sees_what_devices_would_refuse(made: Repository, days: int, role: str, remedy: str) -> None:
    """What has expired is not ordered, and it is told what to do."""
    with pytest.raises(InputError, match=f"what {role} signed has expired; {remedy}"):
        made.published(time.time() + days * 86400.0)


def test_a_version_is_what_it_was_first(made: Repository, tmp_path: Path) -> None:
    """Adding it again changes nothing, in whatever form; another one under its name is refused."""
    packed = tmp_path / "x.bundle"
    Store(tmp_path / "store", create=True).pack(read_bundle(tmp_path / "one"), packed)
    before = newest(made, "targets")
    assert made.add(packed, time.time()) == made.bundles()[0]
    assert newest(made, "targets") == before
    with pytest.raises(BundleError, match="give a changed bundle a new version"):
        made.add(write_bundle(tmp_path / "other", "1.0", data=b"others"), time.time())


def test_a_damaged_bundle_is_not_added(made: Repository, tmp_path: Path) -> None:
    """Whatever it is damaged in; nothing of it stays."""
    folder = write_bundle(tmp_path / "two", "2.0")
    (folder / "model.onnx").write_bytes(b"weightz")
    with pytest.raises(BundleError, match="sha256"):
        made.add(folder, time.time())
    assert len(list((made.folder / "targets").rglob("*2.0*"))) == 0


def test_private_keys_are_their_owner_s(made: Repository) -> None:
    """The online ones apart from the others, and none where a server could give it away."""
    files = {path.relative_to(made.keys.folder).as_posix()[:12]: path for path in made.keys.folder.rglob("*.pem")}
    assert {name.partition("/")[0] for name in files} == {"online", "offline"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in files.values()} == {0o600}
    assert {path.name.partition("-")[0] for path in (made.keys.folder / "online").iterdir()} == {"snapshot", "timestamp"}
    assert not list(made.folder.rglob("*.pem"))


def test_publishing_takes_the_online_keys_only(made: Repository, device: Trusted) -> None:
    """So the others may lie in a safe; what needs them says which."""
    shutil.rmtree(made.keys.folder / "offline")
    made.publish(time.time())
    device.refresh()
    with pytest.raises(InputError, match=r"root takes 2 of its keys, and 0 are at hand: put back .*root-"):
        made.rotate("timestamp", time.time())


def test_a_freeze_is_seen(device: Trusted, made: Repository, server: Server) -> None:
    """A server that keeps giving what was current once is found out when that expires; so is a fleet nobody looks after."""
    device.refresh()
    made.publish(time.time() - 8 * DAY)
    assert refused(device) == "expired"
    made.publish(time.time() - 31 * DAY)
    assert refused(device) == "expired"
    made.publish(time.time())
    device.refresh()


@pytest.mark.parametrize("restart", [False, True])
def test_a_rollback_is_seen(device: Trusted, made: Repository, server: Server, tmp_path: Path, restart: bool) -> None:
    """Of the whole repository to a state that was right once, over a restart too."""
    shutil.copytree(made.folder, tmp_path / "old")
    publish(made, tmp_path, "2.0")
    device.refresh()
    server.folder = tmp_path / "old"
    assert refused(again(device) if restart else device) == "rollback"
    server.folder = made.folder
    assert device.find("double", "2.0").bundle is not None


def test_a_rollback_by_who_holds_the_online_keys_is_seen(
    device: Trusted, made: Repository, server: Server, tmp_path: Path
) -> None:
    """They may sign that an older list of bundles is the newest; a device that has seen the newer one does not believe."""
    old = newest(made, "targets")
    publish(made, tmp_path, "2.0")
    device.refresh()
    newest(made, "targets").unlink()
    assert newest(made, "targets") == old
    made.publish(time.time())
    assert refused(device) == "rollback"


def test_mixed_snapshots_are_seen(device: Trusted, made: Repository, server: Server, tmp_path: Path) -> None:
    """A timestamp of now with a snapshot of another time, or a snapshot with other targets."""
    old = {role: newest(made, role).read_bytes() for role in ("snapshot", "targets")}
    publish(made, tmp_path, "2.0")
    for role, data in old.items():
        path = f"/metadata/{newest(made, role).name}"
        server.files = {path: data}
        assert refused(device) == "mixed"
    server.files = {}
    device.refresh()


@pytest.mark.parametrize("role", ROLES)
def test_metadata_by_others_keys_is_refused(
    device: Trusted, made: Repository, server: Server, tmp_path: Path, role: str
) -> None:
    """Whoever runs the server may sign with keys of his own: they do not count, for whichever role."""
    mallory = Repository(tmp_path / "mallory", tmp_path / "his-keys")
    mallory.init(time.time())

    def later(signed: Any) -> None:
        signed.version += 1

    if role == "root":
        server.files["/metadata/2.root.json"] = forged(made, "root", mallory, later)
        assert refused(device) == "signature"
        return
    data = forged(made, role, mallory, later)
    path = "timestamp.json" if role == "timestamp" else newest(made, role).name
    server.files[f"/metadata/{path}"] = data
    assert refused(device) == ("signature" if role == "timestamp" else "mixed")


def test_a_root_by_fewer_keys_than_it_takes_is_refused(device: Trusted, made: Repository, server: Server) -> None:
    """One root key of three, stolen, replaces nothing."""
    for key in sorted((made.keys.folder / "offline").glob("root-*.pem"))[1:]:
        key.unlink()

    def later(signed: Any) -> None:
        signed.version += 1

    server.files["/metadata/2.root.json"] = forged(made, "root", made, later)
    assert refused(device) == "signature"


def test_a_lost_root_key_is_replaced(device: Trusted, made: Repository) -> None:
    """While a threshold of them is left, all are replaced; below it nothing can be, and it is said which are missing."""
    keys = sorted((made.keys.folder / "offline").glob("root-*.pem"))
    keys[0].unlink()
    made.rotate("root", time.time())
    device.refresh()
    made.rotate("root", time.time())
    again(device).refresh()
    assert len(made.standing()[0].keys) == 3
    now = [made.keys.path("root", key) for key in made.standing()[0].keys]
    now[0].unlink()
    now[1].unlink()
    with pytest.raises(InputError, match="root takes 2 of its keys, and 1 are at hand"):
        made.rotate("root", time.time())
    device.refresh()


def test_a_device_that_was_off_for_years(tmp_path: Path) -> None:
    """It came with a root that has expired since, and follows the chain to today's; what is to be renewed is told."""
    made, now = Repository(tmp_path / "repository", tmp_path / "keys"), time.time()
    made.init(now - 900 * DAY)
    made.rotate("root", now - 600 * DAY)
    made.rotate("targets", now - 300 * DAY)
    made.publish(now)
    with serving(made.folder) as server:
        root = (made.folder / "metadata" / "1.root.json").read_bytes()
        device = Trusted(tmp_path / "device", root, server.url, terms=ONCE)
        device.refresh()
        assert made.expiring(now + 30 * DAY) == ()
        assert made.expiring(now + 70 * DAY) == ("root", "targets")


def test_an_expired_root_is_told(tmp_path: Path) -> None:
    """Though all else was signed today."""
    made, now = Repository(tmp_path / "repository", tmp_path / "keys"), time.time()
    made.init(now - 400 * DAY)
    made.publish(now)
    with serving(made.folder) as server:
        root = (made.folder / "metadata" / "1.root.json").read_bytes()
        with pytest.raises(UntrustedError, match=r"Final root\.json is expired") as caught:
            Trusted(tmp_path / "device", root, server.url, terms=ONCE).refresh()
    assert caught.value.trouble == "expired"


@pytest.mark.parametrize("role", ["snapshot", "timestamp", "targets"])
def test_a_lost_key_is_replaced(device: Trusted, made: Repository, server: Server, tmp_path: Path, role: str) -> None:
    """Without the old one at hand. Devices go along, new ones too; what its finder signs is refused."""
    device.refresh()
    shutil.copytree(made.keys.folder, tmp_path / "stolen")
    next(made.keys.folder.rglob(f"{role}-*.pem")).unlink()
    stolen = Repository(tmp_path / "stolen-repository", tmp_path / "stolen")
    shutil.copytree(made.folder, stolen.folder)
    made.rotate(role, time.time())
    device.refresh()
    assert device.find("double", "1.0").bundle is not None
    Trusted(tmp_path / "new-device", device.root, device.url, terms=ONCE).refresh()

    def ahead(signed: Any) -> None:
        signed.version += 100

    data = forged(made, role, stolen, ahead)
    path = "timestamp.json" if role == "timestamp" else newest(made, role).name
    server.files[f"/metadata/{path}"] = data
    fresh = Trusted(tmp_path / "fresh-device", device.root, device.url, terms=ONCE)
    assert refused(fresh) in ({"signature"} if role == "timestamp" else {"mixed", "length"})
    publish(made, tmp_path, "2.0")
    server.files.clear()
    device.refresh()


def test_a_finder_of_the_online_keys_cannot_lock_devices_out(
    device: Trusted, made: Repository, server: Server, tmp_path: Path
) -> None:
    """He signs a version far ahead; after the rotation devices that have seen it go on with the operator's."""

    def ahead(signed: Any) -> None:
        signed.version += 1_000_000

    server.files["/metadata/timestamp.json"] = forged(made, "timestamp", made, ahead)
    device.refresh()
    server.files.clear()
    assert refused(device) == "rollback"
    made.rotate("timestamp", time.time())
    device.refresh()


def test_a_tampered_target_is_refused(device: Trusted, server: Server) -> None:
    """Of the same length, and nothing of it stays."""
    target = device.find("double", "1.0")
    server.files = dict.fromkeys(served(server), b"x" * target.size)
    with pytest.raises(UntrustedError, match="sha256") as caught:
        device.download(target)
    assert caught.value.trouble == "hash"
    assert left_over(device) == []


@pytest.mark.parametrize("told", [False, True])
def test_an_endless_target_is_refused(device: Trusted, server: Server, told: bool) -> None:
    """As soon as there is a byte too many, or one is promised."""
    target = device.find("double", "1.0")
    if told:
        server.files = dict.fromkeys(served(server), b"x" * (target.size + 1))
    else:
        server.endless = served(server)
    with pytest.raises(UntrustedError) as caught:
        device.download(target)
    assert caught.value.trouble == "length"
    assert left_over(device) == []


def test_endless_metadata_is_refused(device: Trusted, server: Server) -> None:
    """Of every role."""
    names = ("timestamp.json", "2.root.json", "2.snapshot.json", "2.targets.json")
    for name in names:
        server.endless = {f"/metadata/{name}"}
        if name == "2.root.json":
            server.files["/metadata/2.root.json"] = b"{"
        assert refused(device) == "length"
        server.files.clear()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(role=st.sampled_from(ROLES), data=st.data())
def test_garbage_is_refused(device: Trusted, made: Repository, server: Server, role: str, data: st.DataObject) -> None:
    """Bytes of any kind in place of metadata, and metadata with any bytes changed, are refused or are what they were."""
    path = made.folder / "metadata" / "timestamp.json" if role == "timestamp" else newest(made, role)
    whole = path.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    junk = data.draw(st.binary(max_size=20) | st.sampled_from([b"[" * 100_000, b"{}", b'{"signed": {"_type": "root"}}']))
    name = "2.root.json" if role == "root" else path.name
    server.files = {f"/metadata/{name}": data.draw(st.sampled_from([junk, whole[:at] + junk + whole[at + len(junk) :]]))}
    shutil.rmtree(device.folder, ignore_errors=True)
    with suppress(UntrustedError):
        device.refresh()
    server.files = {}


@pytest.mark.parametrize("root", [b"", b"{}", b"[" * 100_000])
def test_a_root_that_is_none(tmp_path: Path, root: bytes) -> None:
    """Is told before anybody is asked."""
    with pytest.raises(UntrustedError, match="the root that this device came with") as caught:
        Trusted(tmp_path / "device", root, "http://127.0.0.1:9", terms=ONCE).refresh()
    assert caught.value.trouble == "malformed"


def test_nobody_there(device: Trusted, server: Server, tmp_path: Path, made: Repository) -> None:
    """A server that is down, that says nothing, that has no repository, or that talks of something else."""
    with pytest.raises(UnreachableError, match=r"127\.0\.0\.1:9"):
        Trusted(tmp_path / "d", device.root, "http://127.0.0.1:9", terms=ONCE).refresh()
    server.silent = {"/metadata/timestamp.json"}
    with pytest.raises(UnreachableError, match=r"said nothing for 0\.3 s"):
        Trusted(tmp_path / "d", device.root, server.url, terms=Terms(quiet=0.3, patience=0.0)).refresh()
    with pytest.raises(LateError):
        device.refresh(deadline=time.monotonic() + 0.3)
    with pytest.raises(RefusedError, match=r"nowhere/metadata/timestamp\.json: .*404"):
        Trusted(tmp_path / "d", device.root, f"{server.url}/nowhere", terms=ONCE).refresh()
    server.silent.clear()
    server.answers["/metadata/timestamp.json"] = b"SSH-2.0-OpenSSH_9.2\r\n"
    with pytest.raises(ProtocolError, match="does not speak HTTP"):
        device.refresh()


@pytest.mark.parametrize("file", ["metadata", "target"])
def test_slow_retrieval(device: Trusted, server: Server, file: str) -> None:
    """A server that gives a byte now and then, for ever, holds a device until the deadline only."""
    target = device.find("double", "1.0")
    server.dripping = served(server) | {"/metadata/timestamp.json"}
    fetched: Callable[..., object] = device.refresh if file == "metadata" else partial(device.download, target)
    with pytest.raises(LateError):
        fetched(deadline=time.monotonic() + 0.5)


def test_an_agent_s_fetch_ends(made: Repository, server: Server, tmp_path: Path) -> None:
    """At its limit, whatever a server does; and soon after it is called off, be it metadata or the bundle that comes."""
    root, path = made.folder / "metadata" / "1.root.json", target_path("double", "1.0")
    for dripping in (served(server), {"/metadata/timestamp.json"}):
        server.dripping = dripping
        with pytest.raises(LateError):
            source(tmp_path / "device", server.url, root, 0.5)(path, threading.Event())
        halt = threading.Event()
        timer = threading.Timer(0.3, halt.set)
        timer.start()
        with pytest.raises(CancelledError):
            source(tmp_path / "device", server.url, root)(path, halt)
        timer.join()
    server.dripping = set()
    with pytest.raises(DiskFullError, match="stay free"):
        source(tmp_path / "full", server.url, root, spare=1 << 60)(path, threading.Event())
    assert source(tmp_path / "device", server.url, root)(path, threading.Event()).is_file()


def test_two_operators_at_once(device: Trusted, made: Repository, tmp_path: Path) -> None:
    """Take turns: none overwrites what another has signed."""
    bundles = [write_bundle(tmp_path / f"b{number}", f"2.{number}") for number in range(4)]

    def work(bundle: Path) -> None:
        made.add(bundle, time.time())
        made.publish(time.time())

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, bundles))
    assert [role.version for role in made.standing()] == [1, 6, 6, 6]
    device.refresh()
    assert all(device.find("double", f"2.{number}").bundle for number in range(4))


@pytest.mark.parametrize(
    "wrong", [{"rate": 0.0}, {"rate": float("nan")}, {"spare": -1}, {"quiet": 0.0}, {"patience": -1.0}], ids=str
)
def test_terms_that_cannot_be_kept(wrong: dict[str, Any]) -> None:
    """Are refused where they are made."""
    with pytest.raises(InputError, match="terms"):
        Terms(**wrong)


def test_a_disk_that_takes_no_metadata(device: Trusted) -> None:
    """Is a BundleError that names the folder."""
    device.folder.parent.mkdir(exist_ok=True)
    device.folder.write_text("a file")
    with pytest.raises(BundleError, match="device/metadata cannot be used"):
        device.refresh()


def test_over_tls(device: Trusted, made: Repository, tmp_path: Path) -> None:
    """By certificates that the caller trusts; a server with another is not talked to, whatever it would have given."""
    authority = trustme.CA()
    here, theirs = ssl.create_default_context(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.configure_trust(here)
    authority.issue_cert("127.0.0.1").configure_cert(theirs)
    with serving(made.folder, theirs) as server:
        assert server.url.startswith("https://")
        secure = Trusted(tmp_path / "d", device.root, server.url, terms=ONCE, tls=here)
        assert secure.download(secure.find("double", "1.0")).exists()
        with pytest.raises(UnreachableError, match="certificate"):
            Trusted(tmp_path / "e", device.root, server.url, terms=ONCE).refresh()


class Killed(BaseException):
    """What no code catches."""


@dataclasses.dataclass
class Fuse:
    """A writer that is killed at its n-th write: before it, after it, or halfway into the file beside."""

    at: int
    when: str

    def __call__(self, path: Path, data: bytes) -> None:
        self.at -= 1
        if self.at == 0 and self.when == "half":
            path.with_name(f".{path.name}-1").write_bytes(data[: len(data) // 2])
        if self.at == 0 and self.when != "after":
            raise Killed
        write(path, data)
        if self.at == 0:
            raise Killed


@pytest.mark.parametrize("when", ["before", "half", "after"])
@pytest.mark.parametrize("act", ["publish", "add", *(f"rotate {role}" for role in ROLES)])
def test_killed_at_every_write(
    device: Trusted, made: Repository, tmp_path: Path, server: Server, act: str, when: str
) -> None:
    """Whatever was being done, whoever refreshes then, old device or new, finds a repository that is right; done again it
    succeeds."""
    device.refresh()
    bundle = write_bundle(tmp_path / "two", "2.0")
    made.add(write_bundle(tmp_path / "three", "3.0"), time.time())

    def do(repository: Repository) -> None:
        name, _, role = act.partition(" ")
        if name == "add":
            repository.add(bundle, time.time())
        elif name == "publish":
            repository.publish(time.time())
        else:
            repository.rotate(role, time.time())

    kills = 0
    for number in range(1, 20):
        try:
            do(Repository(made.folder, made.keys.folder, write=Fuse(number, when)))
        except Killed:
            kills += 1
        for seen in (device, Trusted(tmp_path / f"new-{number}", device.root, device.url, terms=ONCE)):
            seen.refresh()
            assert seen.find("double", "1.0").bundle is not None
        if kills < number:
            break
    assert kills == {"publish": 2, "add": 1, "rotate root": 1, "rotate targets": 5}.get(act, 4)
    do(made)
    made.publish(time.time())
    device.refresh()
    assert device.find("double", "3.0").bundle is not None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=12)
@given(
    acts=st.lists(
        st.tuples(st.sampled_from(["add", "publish", *ROLES]), st.integers(1, 7), st.sampled_from(["before", "after"])),
        max_size=8,
    )
)
def test_any_acts_killed_anywhere(tmp_path_factory: pytest.TempPathFactory, acts: list[tuple[str, int, str]]) -> None:
    """In any order: the device follows every state, and what it has once found stays there, until all is done once more."""
    here = tmp_path_factory.mktemp("acts")
    made = Repository(here / "repository", here / "keys")
    made.init(time.time())
    with serving(made.folder) as server:
        root = (made.folder / "metadata" / "1.root.json").read_bytes()
        device = Trusted(here / "device", root, server.url, terms=ONCE)
        found: set[str] = set()
        for number, (act, write_number, when) in enumerate(acts):
            repository = Repository(made.folder, made.keys.folder, write=Fuse(write_number, when))
            with suppress(Killed):
                if act == "add":
                    repository.add(write_bundle(here / f"b{number}", f"1.{number}"), time.time())
                elif act == "publish":
                    repository.publish(time.time())
                else:
                    repository.rotate(act, time.time())
            device.refresh()
            for bundle in made.bundles():
                with suppress(NotInstalledError):
                    device.find(bundle.name, bundle.version)
                    found.add(bundle.version)
            assert all(device.find("double", version).bundle for version in found)
        made.publish(time.time())
        device.refresh()
        assert all(device.download(device.find(bundle.name, bundle.version)) for bundle in made.bundles())


def test_killed_while_it_is_made(tmp_path: Path) -> None:
    """Until its last write there is no repository, and making it again makes one."""
    for number in range(1, 5):
        with pytest.raises(Killed):
            Repository(tmp_path / "r", tmp_path / "k", write=Fuse(number, "before")).init(time.time())
        with pytest.raises(InputError, match="holds no repository"):
            Repository(tmp_path / "r", tmp_path / "k").publish(time.time())
    made = Repository(tmp_path / "r", tmp_path / "k")
    made.init(time.time())
    with pytest.raises(InputError, match="holds a repository already"):
        made.init(time.time())
    with serving(made.folder) as server:
        root = (made.folder / "metadata" / "1.root.json").read_bytes()
        Trusted(tmp_path / "device", root, server.url, terms=ONCE).refresh()


def served(server: Server) -> set[str]:
    """The paths of all targets."""
    return {f"/{path.relative_to(server.folder).as_posix()}" for path in (server.folder / "targets").rglob("*.bundle")}


def left_over(device: Trusted) -> list[str]:
    """What lies in a device's downloads."""
    return [path.name for path in (device.folder / "downloads").iterdir()]


@pytest.fixture
def file(tmp_path: Path) -> Iterator[tuple[Server, bytes, str]]:
    """A server of one file, its bytes and their sha256."""
    data = bytes(range(256)) * 2000
    (tmp_path / "www" / "targets").mkdir(parents=True)
    (tmp_path / "www" / "targets" / "f").write_bytes(data)
    with serving(tmp_path / "www") as server:
        yield server, data, hashlib.sha256(data).hexdigest()


def fetch(server: Server, tmp_path: Path, data: bytes, sha256: str, terms: Terms = TERMS, **watch: Any) -> bytes:
    """Download that file."""
    target = tmp_path / "here"
    download(f"{server.url}/targets/f", target, len(data), sha256, Watch(terms, **watch))
    return target.read_bytes()


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("lengths", [True, False])
def test_cut_links(file: tuple[Server, bytes, str], tmp_path: Path, ranges: bool, lengths: bool) -> None:
    """Amid the head, the body, at once: it goes on from there where the server knows ranges, else from the beginning."""
    server, data, sha256 = file
    server.ranges, server.lengths = ranges, lengths
    server.cuts = [0, 10, 100_000, 30, 200_000, 50_000]
    assert fetch(server, tmp_path, data, sha256) == data
    starts = server.targets()
    assert len(starts) == 7
    assert all(start > 0 for start in starts[3:])
    assert starts == sorted(starts) or not ranges
    assert not (tmp_path / "here.part").exists()


def test_a_kill_between(file: tuple[Server, bytes, str], tmp_path: Path) -> None:
    """Another process goes on where the killed one was; what a power cut damaged is fetched whole."""
    server, data, sha256 = file
    (tmp_path / "here.part").write_bytes(data[:300_000])
    assert fetch(server, tmp_path, data, sha256) == data
    assert server.targets() == [300_000]
    (tmp_path / "here.part").write_bytes(bytes(300_000))
    assert fetch(server, tmp_path, data, sha256) == data
    (tmp_path / "here.part").write_bytes(data)
    assert fetch(server, tmp_path, data, sha256) == data
    assert server.targets() == [300_000, 300_000, 0]


def test_a_server_that_forgot_its_range(file: tuple[Server, bytes, str], tmp_path: Path) -> None:
    """Answers 416 where it said it had more: the whole is asked for."""
    server, data, sha256 = file
    (tmp_path / "here.part").write_bytes(data[:1000])
    server.files["/targets/f"] = data[:500]
    with pytest.raises(UntrustedError, match="500 bytes"):
        fetch(server, tmp_path, data, sha256)


def test_a_server_that_always_cuts(file: tuple[Server, bytes, str], tmp_path: Path) -> None:
    """At the same byte, and knows no ranges: it is given up when nothing new has come for too long; what came is kept."""
    server, data, sha256 = file
    server.ranges = False
    server.cuts = [50_000] * 1000
    with pytest.raises(UnreachableError):
        fetch(server, tmp_path, data, sha256, Terms(patience=0.5, spare=0))
    assert 40_000 < (tmp_path / "here.part").stat().st_size < 50_000


@pytest.mark.parametrize("status", ["503 Busy", "429 Too Many", "404 Not Found"])
def test_refusals(file: tuple[Server, bytes, str], tmp_path: Path, status: str) -> None:
    """A busy server is asked again until patience ends; one that has no such file is not."""
    server, data, sha256 = file
    server.answers["/targets/f"] = f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode()
    with pytest.raises(RefusedError, match=rf"/targets/f: .*{status[:3]}"):
        fetch(server, tmp_path, data, sha256, Terms(patience=0.5, spare=0))
    assert (len(server.asked) > 1) == (status[:3] != "404")


@pytest.mark.parametrize(
    ("location", "told"),
    [
        ("/targets/f", "over and over"),
        ("https://127.0.0.1:9/f", "from http to https"),
        ("file:///etc/passwd", "no place"),
        ("ftp://127.0.0.1/f", "no place"),
        ("http://[::1", "no place"),
    ],
)
def test_redirects(file: tuple[Server, bytes, str], tmp_path: Path, location: str, told: str) -> None:
    """A few are followed; none in a circle, and none to another scheme."""
    server, data, sha256 = file

    def moved(to: str) -> bytes:
        return f"HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n".encode()

    server.answers["/targets/f"] = moved(location)
    with pytest.raises(ProtocolError, match=told):
        fetch(server, tmp_path, data, sha256)
    server.answers["/targets/f"] = moved(f"{server.url}/targets/there?a=b%20c d")
    server.files["/targets/there?a=b%20c%20d"] = data
    assert fetch(server, tmp_path, data, sha256) == data


def test_chunks(file: tuple[Server, bytes, str], tmp_path: Path) -> None:
    """A server may send them; a nonsense of them is an error of the tree."""
    server, data, sha256 = file
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    server.answers["/targets/f"] = head + b"".join(
        b"%x\r\n%b\r\n" % (len(part), part) for part in (data[:7], data[7:])
    ) + b"0\r\n\r\n"  # fmt: skip
    assert fetch(server, tmp_path, data, sha256) == data
    server.answers["/targets/f"] = head + b"zz\r\n"
    with pytest.raises(UnreachableError):
        fetch(server, tmp_path, data, sha256, ONCE)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(
    st.binary(max_size=200)
    | st.builds(b"HTTP/1.1 ".__add__, st.binary(max_size=100))
    | st.builds(b"HTTP/1.1 200 OK\r\n".__add__, st.binary(max_size=100))
)
def test_any_answer(file: tuple[Server, bytes, str], tmp_path: Path, answer: bytes) -> None:
    """Is a file within its limit or an error of the tree."""
    server, _, _ = file
    server.answers["/x"] = answer
    with suppress(EdgeError):
        assert len(read(f"{server.url}/x", 50, Watch(ONCE))) <= 50


def test_deadline_and_cancel(file: tuple[Server, bytes, str], tmp_path: Path) -> None:
    """Each stops it amid the bytes, and the next try goes on from there."""
    server, data, sha256 = file
    slow = Terms(rate=200_000.0, spare=0)
    with pytest.raises(LateError):
        fetch(server, tmp_path, data, sha256, slow, deadline=time.monotonic() + 0.5)
    first = (tmp_path / "here.part").stat().st_size
    assert 0 < first < len(data) / 2
    cancel = threading.Event()
    timer = threading.Timer(0.5, cancel.set)
    timer.start()
    with pytest.raises(CancelledError):
        fetch(server, tmp_path, data, sha256, slow, cancel=cancel)
    timer.join()
    assert first < (tmp_path / "here.part").stat().st_size < len(data)
    server.silent = {"/targets/f"}
    with pytest.raises(CancelledError):
        fetch(server, tmp_path, data, sha256, slow, cancel=cancel)
    server.silent = set()
    assert fetch(server, tmp_path, data, sha256) == data


def test_cancelled_while_nothing_comes(file: tuple[Server, bytes, str], tmp_path: Path) -> None:
    """From another thread, long before the connection counts as dead."""
    server, data, sha256 = file
    server.silent = {"/targets/f"}
    cancel = threading.Event()
    timer = threading.Timer(0.2, cancel.set)
    timer.start()
    begun = time.monotonic()
    with pytest.raises(CancelledError):
        fetch(server, tmp_path, data, sha256, Terms(quiet=25.0, patience=0.0, spare=0), cancel=cancel)
    assert time.monotonic() - begun < 20.0
    timer.join()


def test_a_disk_that_is_to_stay_free(file: tuple[Server, bytes, str], tmp_path: Path) -> None:
    """Nothing is asked for when the file would not leave as much as it should."""
    server, data, sha256 = file
    with pytest.raises(DiskFullError, match="make room on the disk"):
        fetch(server, tmp_path, data, sha256, Terms(spare=1 << 60))
    assert server.asked == []
    assert not (tmp_path / "here.part").exists()


FULL = """
import resource, sys
from pathlib import Path
from cloud_bridge.artifacts.download import Terms, Watch, download
from edge_runtime.errors import BundleError
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    download(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4], Watch(Terms(spare=0)))
except BundleError as error:
    print(error)
"""


def test_a_disk_that_fails(file: tuple[Server, bytes, str], tmp_path: Path) -> None:
    """Amid the file, as a full one does: a BundleError, and what had come is dropped to make room."""
    server, data, sha256 = file
    done = subprocess.run(
        [sys.executable, "-c", FULL, f"{server.url}/targets/f", tmp_path / "here", str(len(data)), sha256],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert "could not be written: File too large; make room on the disk" in done.stdout
    assert list(tmp_path.glob("here*")) == []


def test_a_link_in_place_of_the_part(file: tuple[Server, bytes, str], tmp_path: Path) -> None:
    """Is not written through."""
    server, data, sha256 = file
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "here.part").symlink_to(tmp_path / "victim")
    with pytest.raises(BundleError):
        fetch(server, tmp_path, data, sha256)
    assert (tmp_path / "victim").read_text() == "mine"
