"""The versions that a service answers with: by rule, by share, loaded and unloaded, with sessions in Python."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from cloud_bridge.endpoint.service import Service
from cloud_bridge.endpoint.versions import FILE, Rule, write
from cloud_bridge.protocol import oip
from edge_runtime.bundles.store import Bundle, Store
from edge_runtime.engines import Candidate, Loaded
from edge_runtime.errors import ArtifactError, NotInstalledError, RefusedError
from edge_runtime.remote import Call
from tests.bundles import write_bundle
from tests.doubles import HERE, PythonSession
from tests.endpoint import eventually

AMPLE = 30.0
MESSAGE = oip.encode_request(Call("double", {"x": np.ones((1, 2), np.float32)}))

Opened = list[str]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store", create=True)
    for version in ("1.0", "1.1", "2.0"):
        store.install(write_bundle(tmp_path / version, version), activate=version == "1.0")
    return store


@pytest.fixture
def opened() -> Opened:
    """The versions that were opened, in their order."""
    return []


@pytest.fixture
def service(store: Store, opened: Opened) -> Iterator[Service]:
    """One that opens every version but 2.0, which no engine loads."""

    def opener(bundle: Bundle) -> Loaded:
        opened.append(bundle.manifest.version)
        if bundle.manifest.version == "2.0":
            raise ArtifactError("model.onnx is damaged")
        return Loaded(bundle, Candidate(bundle.manifest.variants[0], HERE), PythonSession(), "a test")

    service = Service(store, workers=1, rows=1, control=True, opener=opener)
    yield service
    service.close()


Ask = Callable[[str | None], str | int]


@pytest.fixture
def ask(service: Service) -> Ask:
    """Gives the version that answered, or the status of the error."""

    def ask(version: str | None = None) -> str | int:
        answer = service.submit("double", version, MESSAGE, received=time.monotonic()).result(AMPLE)
        if answer.status != 200:
            return answer.status
        length = int(answer.message.headers["inference-header-content-length"])
        return str(json.loads(bytes(answer.message.body[:length]))["model_version"])

    return ask


def test_a_version_that_is_not_served_is_not_there(service: Service, store: Store, ask: Ask) -> None:
    """Neither called nor described nor listed; and it is there again when the rule is gone."""
    write(store.path / FILE, {"double": Rule(("1.0",))})
    assert (ask("1.0"), ask("1.1")) == ("1.0", 404)
    assert service.metadata("double").versions == ("1.0",)
    with pytest.raises(NotInstalledError, match=r"1\.1 of double is not served here; served are 1\.0"):
        service.metadata("double", "1.1")
    with pytest.raises(NotInstalledError):
        service.open("double", "1.1")
    assert "not among" in {entry.version: entry.reason for entry in service.index()}["1.1"]
    (store.path / FILE).unlink()
    assert ask("1.1") == "1.1"


def test_a_canary_gets_its_share(store: Store, ask: Ask) -> None:
    """Once it is open: every tenth call, and after that none."""
    assert ask(None) == "1.0"
    write(store.path / FILE, {"double": Rule(traffic={"1.0": 90.0, "1.1": 10.0})})
    eventually(lambda: ask(None) == "1.1", "the canary answers")
    assert Counter(ask(None) for _ in range(200)) == {"1.0": 180, "1.1": 20}
    write(store.path / FILE, {})
    assert {ask(None) for _ in range(20)} == {"1.0"}


def test_nobody_waits_for_a_canary_to_open(store: Store, service: Service, ask: Ask) -> None:
    """It is opened with the others, where it had its share before the endpoint began."""
    write(store.path / FILE, {"double": Rule(traffic={"1.0": 1.0, "1.1": 1.0})})
    service.preload()
    assert Counter(ask(None) for _ in range(10)) == {"1.0": 5, "1.1": 5}


def test_a_bad_canary_never_answers(store: Store, service: Service, ask: Ask, opened: Opened) -> None:
    """Its share goes to the others, it is tried once, and the index says why."""
    assert ask(None) == "1.0"
    write(store.path / FILE, {"double": Rule(traffic={"1.0": 1.0, "2.0": 1.0})})

    def given_up() -> bool:
        assert ask(None) == "1.0"
        return any("damaged" in entry.reason for entry in service.index())

    eventually(given_up, "the index says why")
    assert {ask(None) for _ in range(20)} == {"1.0"}
    assert opened == ["1.0", "2.0"]


def test_unloaded_and_loaded(service: Service, ask: Ask, opened: Opened) -> None:
    """An unloaded model is not there until it is loaded again."""
    assert ask(None) == "1.0"
    service.unload("double")
    assert (ask(None), ask("1.1")) == (404, 404)
    assert {entry.reason for entry in service.index()} == {"unloaded"}
    service.load("double")
    assert ask(None) == "1.0"
    assert opened == ["1.0", "1.0"]


def test_load_takes_the_active_version_at_once(service: Service, store: Store, ask: Ask) -> None:
    """The next call is answered by it."""
    assert ask(None) == "1.0"
    store.activate("double", "1.1")
    service.load("double")
    assert ask(None) == "1.1"


def test_a_load_that_fails_changes_nothing(service: Service, store: Store, ask: Ask) -> None:
    """What answered before answers on; whoever asked for the load is told why."""
    assert ask(None) == "1.0"
    store.activate("double", "2.0")
    with pytest.raises(ArtifactError, match="damaged"):
        service.load("double")
    assert ask(None) == "1.0"


def test_a_version_whose_files_were_changed_is_not_loaded(service: Service, store: Store, ask: Ask) -> None:
    """Neither when it is the first: its digests are looked at before it is opened."""
    (store.bundle("double", "1.1").folder / "model.onnx").write_bytes(b"changed")
    assert ask("1.1") == 500


def test_only_with_control(store: Store) -> None:
    """Models are loaded and unloaded from outside only where the operator allowed it, and the extensions say which."""
    service = Service(store, rows=1)
    for order in (service.load, service.unload):
        with pytest.raises(RefusedError, match="--control") as refused:
            order("double")
        assert refused.value.status == 403
    assert "model_repository(index)" in service.server().extensions
    service.close()
    service = Service(store, rows=1, control=True)
    assert "model_repository" in service.server().extensions
    with pytest.raises(NotInstalledError):
        service.unload("other")
    service.close()
