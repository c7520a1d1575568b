"""Routing over real endpoints: what is measured of a link, what a log of real calls replays, and the commands for both."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.tiny import SHAPE, tiny_bundle
from cloud_bridge.client import connect
from edge_runtime import Policy, Runtime
from edge_runtime.bundles.store import Store
from edge_runtime.links import LINKS, load
from tests.contract.transports import TRANSPORTS
from tests.endpoint import endpoint
from tests.system.test_cli import edge, shell

X = {"x": np.zeros(SHAPE, np.float32)}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with the tiny model, which is its own partner."""
    folder = tmp_path_factory.mktemp("routing")
    store = Store(folder / "store", create=True)
    store.install(tiny_bundle(folder / "tiny", partner="tiny").folder)
    return store


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_link_is_measured_and_the_runtime_starts_from_it(served: Store, tmp_path: Path, transport: str) -> None:
    """Over every transport; the first call already knows what to expect."""
    with TRANSPORTS[transport].serve(served.path) as url:
        told = json.loads(shell("cloud_bridge.cli", "bench", url, "--rounds", "3", "--store", served.path, "--json"))
        assert told["per_byte"] > 0
        assert {len(seconds) for seconds in told["seconds"].values()} == {3}
        assert {model: len(seconds) for model, seconds in told["worked"].items()} == {"tiny": 3}
        table = shell("cloud_bridge.cli", "bench", url, "--rounds", "2")
        assert "Mbit/s" in table
        with Runtime(served.path, cloud=url, policy=Policy(probe_after=1e6)) as runtime:
            model = runtime.model("tiny")
            assert runtime.remotes[0].health(20.0)
            result = model.infer(X, budget=5.0)
            assert result.target == "cloud"
            assert "predicted" in result.reason


def test_a_partner_that_is_not_served_there_is_told(served: Store, tmp_path: Path) -> None:
    """And what is known of the link is kept all the same."""
    store = Store(tmp_path / "store", create=True)
    store.install(tiny_bundle(tmp_path / "tiny", partner="somewhere_else").folder)
    with endpoint(served.path) as running:
        assert "somewhere_else: not served there" in shell(
            "cloud_bridge.cli", "bench", running.url, "--rounds", "2", "--store", store.path
        )
        found = load(store.path / LINKS).of(running.url)
        assert found is not None
        assert found.worked == {}


def test_no_rounds_are_wrong_use() -> None:
    """And so is a number of rounds that measures nothing."""
    assert "one or more" in shell("cloud_bridge.cli", "bench", "http://127.0.0.1:9", "--rounds", "0", status=2)


def test_a_log_of_real_calls_gives_the_same_plans_and_a_page(served: Store, tmp_path: Path) -> None:
    """And what a policy that sends nothing would have done."""
    log, page, policy = tmp_path / "log.jsonl", tmp_path / "replay.html", tmp_path / "never.json"
    policy.write_text('{"byte_price": 1.0}')
    with endpoint(served.path) as running, Runtime(served.path, cloud=running.url, log=log) as runtime:
        model = runtime.model("tiny")
        for _ in range(30):
            assert model.infer(X, budget=1.0).met
    found = json.loads(edge("replay", log, "--policy", policy, "--report", page, "--json"))
    assert found["same"] == found["plans"] == 30
    assert set(found["fates"]) == {"as logged", "the same, simulated", "never"}
    assert all(fate["target"] == "local" for fate in found["fates"]["never"])
    assert page.read_text().count("<figure>") == 3
    assert "30 of 30 plans" in edge("replay", log)


def test_what_cannot_be_replayed_is_told(tmp_path: Path) -> None:
    """No log, no policy, a policy with a word that means nothing."""
    assert "can be read" in edge("replay", tmp_path / "nowhere", status=2)
    (tmp_path / "other.jsonl").write_text("hello\n")
    assert "no line of a decision log" in edge("replay", tmp_path / "other.jsonl", status=2)
    (tmp_path / "odd.json").write_text('{"prise": 1}')
    assert "prise" in edge("replay", tmp_path / "other.jsonl", "--policy", tmp_path / "odd.json", status=2)


def test_the_endpoint_tells_how_long_the_bytes_took(served: Store) -> None:
    """Over HTTP, where it can know."""
    with endpoint(served.path) as running:
        remote = connect(running.url)
        try:
            reply = remote.probe(500_000).result(20.0)
        finally:
            remote.close()
    assert reply.uploading is not None
    assert 0 <= reply.uploading < 20.0
