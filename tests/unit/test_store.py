"""The store: install, activate, rollback, remove, and what is left when a process dies or two of them meet."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.bundles.bundle import MAX_HISTORY, Bundle, State
from edge_runtime.bundles.installed import order as version_order
from edge_runtime.bundles.store import Store, read_bundle
from edge_runtime.errors import BundleError, DigestError, DiskFullError, ManifestError, NotInstalledError
from tests.bundles import file_of, manifest_of, write_bundle


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store(tmp_path / "store", create=True)


@pytest.fixture
def three(store: Store, tmp_path: Path) -> Store:
    """A store in which versions 1.0, 1.1 and 1.2 of a model were activated one after another."""
    for version in ("1.0", "1.1", "1.2"):
        store.install(write_bundle(tmp_path / version, version))
    return store


def test_missing_store(tmp_path: Path) -> None:
    """A store is made only when that is asked for, and never in place of a file."""
    with pytest.raises(BundleError, match="create=True"):
        Store(tmp_path / "store")
    (tmp_path / "file").write_text("")
    with pytest.raises(BundleError, match="cannot make"):
        Store(tmp_path / "file", create=True)


def test_install(store: Store, tmp_path: Path) -> None:
    """An installed bundle is active, whole, and there for the next process too."""
    bundle = store.install(write_bundle(tmp_path / "b"))
    assert Store(store.path).bundle("double") == bundle
    assert bundle.artifact(bundle.manifest.variants[0]).read_bytes() == b"weights"
    assert bundle.labels() == ("", "a", " ")
    assert (store.names(), store.versions("double"), store.active("double")) == (("double",), ("1.0",), "1.0")
    store.verify(bundle)


def test_labels_that_are_white_space(tmp_path: Path) -> None:
    """An ideographic space, a line separator and a plain space are labels like any other."""
    text = "\na\n\u3000\n\u2028\n \n".encode()
    (tmp_path / "labels.txt").write_bytes(text)
    bundle = Bundle(manifest_of(labels=file_of("labels.txt", text)), tmp_path)
    assert bundle.labels() == ("", "a", "\u3000", "\u2028", " ")


def test_install_without_activating(store: Store, tmp_path: Path) -> None:
    """A first version that is not activated can be opened by its number only."""
    store.install(write_bundle(tmp_path / "b"), activate=False)
    assert store.active("double") is None
    with pytest.raises(NotInstalledError, match="activate one"):
        store.bundle("double")
    assert store.bundle("double", "1.0").manifest.version == "1.0"


def test_install_again(store: Store, tmp_path: Path) -> None:
    """Installing a version once more changes no file, and activates it."""
    first = store.install(write_bundle(tmp_path / "1"))
    made = (first.folder / "model.onnx").stat().st_ino
    store.install(write_bundle(tmp_path / "2", "2.0"))
    store.install(tmp_path / "1")
    assert store.active("double") == "1.0"
    assert (first.folder / "model.onnx").stat().st_ino == made


def test_install_another_under_the_same_version(store: Store, tmp_path: Path) -> None:
    """A bundle that differs cannot take the place of an installed version."""
    bundle = store.install(write_bundle(tmp_path / "b"))
    with pytest.raises(BundleError, match="new version"):
        store.install(write_bundle(tmp_path / "c", data=b"other"))
    store.verify(bundle)


def test_install_over_damage(store: Store, tmp_path: Path) -> None:
    """Installing a version whose files are damaged or gone puts them right."""
    bundle = store.install(write_bundle(tmp_path / "b"))
    (bundle.folder / "model.onnx").write_bytes(b"weightz")
    (bundle.folder / "extra" / "weights.bin").unlink()
    with pytest.raises(DigestError):
        store.verify(bundle)
    store.verify(store.install(tmp_path / "b"))


def test_not_installed(three: Store) -> None:
    """What is not there is named together with what is."""
    with pytest.raises(NotInstalledError, match="holds double"):
        three.bundle("triple")
    with pytest.raises(NotInstalledError, match=r"1\.0, 1\.1, 1\.2"):
        three.bundle("double", "9.9")
    with pytest.raises(NotInstalledError):
        three.activate("double", "9.9")
    with pytest.raises(ManifestError):
        three.bundle("../double")
    with pytest.raises(ManifestError):
        three.bundle("double", "../1.0")


def test_rollback(three: Store) -> None:
    """Each rollback goes one version further back, until there is none."""
    assert three.rollback("double").manifest.version == "1.1"
    assert three.rollback("double").manifest.version == "1.0"
    with pytest.raises(NotInstalledError, match="nothing to roll back"):
        three.rollback("double")
    assert three.active("double") == "1.0"


def test_rollback_after_restart(three: Store) -> None:
    """The history is on disk."""
    assert Store(three.path).rollback("double").manifest.version == "1.1"


def test_remove(three: Store) -> None:
    """A version that is removed is gone from the disk and from the history; the active one stays."""
    with pytest.raises(BundleError, match="is active"):
        three.remove("double", "1.2")
    three.remove("double", "1.1")
    assert three.versions("double") == ("1.0", "1.2")
    assert three.rollback("double").manifest.version == "1.0"
    assert not list(three.path.glob(".staging-*"))


def test_damaged_state(three: Store) -> None:
    """A state file that cannot be read is an error that says what to do."""
    for damage in (b'{"active": 3}', b'{"active": "\xff"}', b"", b"[" * 100_000, bytes(100)):
        (three.path / "double" / "state.json").write_bytes(damage)
        for use in (three.bundle, three.rollback):
            with pytest.raises(BundleError, match="delete it and activate"):
                use("double")
    (three.path / "double" / "state.json").unlink()
    assert three.activate("double", "1.1").manifest.version == "1.1"


def test_other_folders(three: Store) -> None:
    """Folders that cannot be a model's or a version's are no trouble to a store: disks and people make them."""
    before = three.names(), three.versions("double")
    for other in ("lost+found", "Backup of double", "__pycache__", "a\nb"):
        for copy in (three.path / other / "1.0", three.path / "double" / other):
            copy.mkdir(parents=True)
            (copy / "manifest.json").write_bytes(b"{}")
    assert (three.names(), three.versions("double")) == before


def test_moved_version(three: Store) -> None:
    """A folder that does not hold the version it is named for is noticed."""
    (three.path / "double" / "1.0").rename(three.path / "double" / "1.5")
    with pytest.raises(BundleError, match="damaged"):
        three.bundle("double", "1.5")


def test_full_disk(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fills up on the way is told with its cause, and nothing half-installed is left."""
    bundle = write_bundle(tmp_path / "b")
    left = iter([True, False])

    def fsync(handle: int) -> None:
        if not next(left):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with pytest.raises(DiskFullError, match="No space left") as caught:
            store.install(bundle)
    assert isinstance(caught.value.__cause__, OSError)
    assert store.names() == ()
    assert not list(store.path.glob(".staging-*"))
    store.verify(store.install(bundle))


def test_leftovers_are_swept(store: Store, tmp_path: Path) -> None:
    """What a killed install left is deleted by the next one."""
    (store.path / ".staging-dead" / "extra").mkdir(parents=True)
    (store.path / ".staging-dead" / "extra" / "half").write_bytes(b"1")
    (store.path / ".staging-file").write_bytes(b"1")
    (store.path / ".staging-link").symlink_to(tmp_path)
    store.install(write_bundle(tmp_path / "b"))
    assert not list(store.path.glob(".staging-*"))


@given(st.lists(st.sampled_from(["1", "2", "3", "back"]), max_size=80))
def test_state_is_a_history(steps: list[str]) -> None:
    """Whatever was activated and rolled back, a rollback brings the version that was active before, and nothing grows."""
    state = State()
    seen: list[str | None] = []
    for step in steps:
        if step != "back":
            if state.active not in (None, step):
                seen = [*seen, state.active][-MAX_HISTORY:]
            state = state.activate(step)
        elif seen:
            state = state.rollback()
            assert state.active == seen.pop()
        assert len(state.history) == len(seen) <= MAX_HISTORY
        assert state.active not in state.history[-1:]


def test_a_trial_ends_in_one_of_two_ways(three: Store, tmp_path: Path) -> None:
    """A version on trial serves; committed it stays, abandoned the one before is back, also for the next process."""
    three.install(write_bundle(tmp_path / "2.0", "2.0"), activate=False)
    three.activate("double", "2.0", trial=True)
    again = Store(three.path)
    assert (again.active("double"), again.trial("double"), again.before("double")) == ("2.0", "2.0", "1.2")
    assert again.abandon("double") == "2.0"
    assert (three.active("double"), three.trial("double"), three.before("double")) == ("1.2", None, "1.1")
    assert three.abandon("double") is None
    three.activate("double", "2.0", trial=True)
    three.commit("double", "2.0")
    assert three.abandon("double") is None
    assert (three.active("double"), three.before("double")) == ("2.0", "1.2")


def test_old_versions_are_removed(three: Store, tmp_path: Path) -> None:
    """Beside the active one stay those that were active last, then the newest; what a trial may go back to always."""
    three.install(write_bundle(tmp_path / "0.9", "0.9"), activate=False)
    three.install(write_bundle(tmp_path / "2.0", "2.0"), activate=False)
    assert three.prune("double", 3) == ("0.9",)
    assert three.prune("double", 3) == ()
    assert three.versions("double") == ("1.0", "1.1", "1.2", "2.0")
    three.activate("double", "2.0", trial=True)
    assert three.prune("double", 0) == ("1.1", "1.0")
    assert (three.versions("double"), three.abandon("double"), three.active("double")) == (("1.2", "2.0"), "2.0", "1.2")
    assert three.prune("double", 1) == ()
    assert three.prune("double", 0) == ("2.0",)


def test_where_no_version_is_active_all_stay(store: Store, tmp_path: Path) -> None:
    """Nobody knows yet which one will be."""
    for version in ("1.0", "1.1"):
        store.install(write_bundle(tmp_path / version, version), activate=False)
    assert store.prune("double", 0) == ()
    assert store.versions("double") == ("1.0", "1.1")


@given(
    st.lists(st.sampled_from(["1", "2", "3", "4", "try 1", "try 2", "commit", "abandon", "back"]), max_size=20),
    st.integers(0, 5),
)
def test_what_is_needed_is_never_old(steps: list[str], keep: int) -> None:
    """Neither what serves, nor what a trial goes back to, nor what a rollback brings back where one is to stay."""
    state, versions = State(), ("1", "2", "3", "4")
    for step in steps:
        if step in ("commit", "abandon"):
            state = state.commit() if step == "commit" else state.abandon()
        elif step != "back":
            state = state.activate(step.removeprefix("try "), trial=step.startswith("try "))
        elif state.history:
            state = state.rollback()
    old = state.old(versions, keep)
    assert state.active not in old
    assert not state.trial or state.abandon().active not in old
    if keep and state.history and state.history[-1] != state.active:
        assert state.history[-1] not in old
    if state.active is not None:
        assert len(versions) - len(old) - 1 == min(3, max(keep, int(state.trial)))


def test_a_first_version_on_trial(store: Store, tmp_path: Path) -> None:
    """Where nothing was before, nothing is active after it was abandoned."""
    store.install(write_bundle(tmp_path / "b"), activate=False)
    store.activate("double", "1.0", trial=True)
    assert store.abandon("double") == "1.0"
    assert store.active("double") is None


def test_a_version_that_is_not_active_is_not_committed(three: Store) -> None:
    """Somebody activated another one meanwhile: theirs stays."""
    three.activate("double", "1.0", trial=True)
    three.activate("double", "1.1")
    with pytest.raises(BundleError, match=r"active is 1\.1"):
        three.commit("double", "1.0")
    assert (three.active("double"), three.trial("double")) == ("1.1", None)


@given(
    st.lists(st.sampled_from(["1", "2", "3", "try 1", "try 2", "try 3", "commit", "abandon"]), max_size=40), st.booleans()
)
def test_a_version_on_trial_is_never_one_to_go_back_to(steps: list[str], full: bool) -> None:
    """Whatever happens, abandoning gives the last state in which nothing was on trial, and only that was active before
    which was committed or activated outright."""
    state = settled = State("3", tuple("12" * (MAX_HISTORY // 2))) if full else State()
    for step in steps:
        if step in ("commit", "abandon"):
            state = state.commit() if step == "commit" else state.abandon()
        else:
            state = state.activate(step.removeprefix("try "), trial=step.startswith("try "))
        if state.trial:
            assert state.abandon() == settled
        else:
            settled = state


def test_version_order() -> None:
    """Versions sort by number; a -tag comes before the plain version and a +tag after it."""
    versions = ["2", "10", "1.10", "1.9", "1.9-rc1", "1.9+cpu", "1"]
    assert sorted(versions, key=version_order) == ["1", "1.9-rc1", "1.9", "1.9+cpu", "1.10", "2", "10"]


LOOP = """
import sys
from pathlib import Path
from edge_runtime.bundles.store import Store
store, source = Store(sys.argv[1]), Path(sys.argv[2])
print("ready", flush=True)
while True:
    for version in ("2.0", "1.0", "3.0"):
        store.install(source / version)
    store.activate("double", "1.0")
    store.rollback("double")
    store.prune("double", 1)
"""


def killed_after(seconds: float, *arguments: str) -> None:
    """Run the loop above in a process of its own and kill it without warning."""
    process = subprocess.Popen([sys.executable, "-c", LOOP, *arguments], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        time.sleep(seconds)  # not to wait for something: the moment of the kill
        assert process.poll() is None, "the loop ended by itself"
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def whole(store: Store) -> None:
    """Every version that a reader finds is whole, and the active one is among them."""
    for name in store.names():
        for version in store.versions(name):
            store.verify(store.bundle(name, version))
        if store.active(name) is not None:
            store.bundle(name)


def test_killed_at_any_point(tmp_path: Path) -> None:
    """A process that is killed while it installs, activates and removes leaves a whole store, and the next one goes on."""
    for version in ("1.0", "2.0", "3.0"):
        write_bundle(tmp_path / version, version, data=version.encode() * 50_000)
    store = Store(tmp_path / "store", create=True)
    dice = random.Random(7)
    for _ in range(8):
        killed_after(dice.uniform(0.0, 0.15), str(store.path), str(tmp_path))
        whole(store)
    store.install(tmp_path / "1.0")
    store.verify(store.bundle("double", "1.0"))
    assert not list(store.path.glob(".staging-*"))


def test_two_at_once(store: Store, tmp_path: Path) -> None:
    """Two writers that install and activate the same versions, and a reader beside them, never meet half a version."""
    for version in ("1.0", "2.0"):
        write_bundle(tmp_path / version, version)
    troubles: list[BaseException] = []
    done = threading.Event()

    def work(versions: tuple[str, ...]) -> None:
        try:
            for _ in range(10):
                for version in versions:
                    Store(store.path).install(tmp_path / version)
        except BaseException as error:  # noqa: BLE001  # shown by the assertion below
            troubles.append(error)

    def read() -> None:
        try:
            while not done.is_set():
                whole(Store(store.path))
        except BaseException as error:  # noqa: BLE001  # shown by the assertion below
            troubles.append(error)

    writers = [threading.Thread(target=work, args=(order,)) for order in (("1.0", "2.0"), ("2.0", "1.0"))]
    reader = threading.Thread(target=read)
    for thread in (*writers, reader):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    reader.join()
    assert troubles == []
    assert store.versions("double") == ("1.0", "2.0")
    assert not list(store.path.glob(".staging-*"))


def test_a_live_install_is_not_swept(store: Store, tmp_path: Path) -> None:
    """An install that is under way in another thread or process keeps its folder while others install."""
    with store._staged() as staging:
        (staging / "half").write_bytes(b"1")
        store.install(write_bundle(tmp_path / "b"))
        assert (staging / "half").exists()


def test_read_only_store(three: Store) -> None:
    """Reading needs no write to the store: no lock file is made for it."""
    (three.path / ".lock").unlink()
    whole(Store(three.path))
    assert not (three.path / ".lock").exists()


def test_read_bundle(tmp_path: Path) -> None:
    """A bundle's folder can be read where it lies; anything else raises BundleError."""
    assert read_bundle(write_bundle(tmp_path / "b")).manifest.name == "double"
    with pytest.raises(BundleError, match="is not a bundle"):
        read_bundle(tmp_path)
